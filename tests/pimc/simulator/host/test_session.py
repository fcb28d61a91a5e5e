"""The host side: ports, chunks, the resident cache, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import bfloat16
from token_program import CHUNK, CONTEXT, MASK, token_program

from isa import InputError, PimcError, ResourceLimitError, UnsupportedError
from pimc.simulator import Session, total


def arrays(tokens, seed=0):
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 100, (1, tokens))
    states = generator.integers(-20, 20, (1, tokens, 3)).astype(np.float32)
    return {"ids": ids, "states": states}


def expected_sums(inputs, start):
    ids, states = inputs["ids"][0], inputs["states"][0]
    positions = start + np.arange(ids.size)
    return np.stack([ids, positions, states.sum(axis=1)], axis=1)[None].astype(np.float32)


def keys_of(inputs):
    padded = np.zeros((1, 1, inputs["ids"].size, 16), np.float32)
    padded[0, 0, :, :3] = inputs["states"][0]
    return padded


@pytest.mark.parametrize("numerics", ["machine", "fp32"])
@settings(max_examples=10)
@given(lengths=st.lists(st.integers(1, 11), min_size=1, max_size=3))
def test_steps_of_any_length_go_behind_one_another(numerics, lengths):
    session = Session(token_program(numerics))
    start, keys = 0, []
    for seed, tokens in enumerate(lengths):
        inputs = arrays(tokens, seed)
        found = session.run(inputs)
        np.testing.assert_array_equal(found["sums"], expected_sums(inputs, start))
        np.testing.assert_array_equal(found["rows"][..., :3], found["sums"])
        keys.append(keys_of(inputs))
        np.testing.assert_array_equal(found["present"], np.concatenate(keys, axis=2))
        start += tokens
        assert session.kv_length == start
        assert list(found) == ["sums", "rows", "present"]
        assert {name: array.dtype for name, array in found.items()} == dict.fromkeys(found, np.float32)


def test_a_prompt_is_cut_into_chunks_and_one_token_is_decoded():
    session = Session(token_program())
    session.run(arrays(2 * CHUNK + 1))
    assert session.statistics.mnemonics["halt"].count == 3
    assert session.statistics.tokens == 2 * CHUNK + 1
    assert session.statistics.time_to_first_token_s == session.statistics.time_s
    session.run(arrays(1))
    assert session.statistics.provenance["entry"] == "decode"
    assert session.total.tokens == 2 * CHUNK + 2
    assert session.total == total([session.total]) != session.statistics
    assert session.total.time_per_token_s == session.statistics.time_s


def test_chosen_outputs_and_last_only():
    inputs = arrays(2 * CHUNK + 3)
    session = Session(token_program())
    found = session.run(inputs, outputs=["sums"], last_only=True)
    np.testing.assert_array_equal(found["sums"], expected_sums(inputs, 0)[:, -1:])
    assert list(found) == ["sums"]
    assert session.statistics.mnemonics["rsum"].count == 1
    session.reset()
    assert list(session.run(inputs, outputs=["present"])) == ["present"]
    assert "rsum" not in session.statistics.mnemonics


def test_steps_take_token_numbers_and_give_the_last_output():
    session = Session(token_program())
    found = session.step([5, 6, 7])
    assert found["sums"].tolist() == [[[7.0, 2.0, 0.0]]]
    assert session.step(np.array([9]))["sums"].tolist() == [[[9.0, 3.0, 0.0]]]
    assert session.kv_length == 4


@pytest.mark.parametrize("length", [0, 1, 16, 17, 30])
def test_past_inputs_replace_the_cache(length):
    past = np.random.default_rng(1).standard_normal((1, 1, length, 16)).astype(np.float32)
    session = Session(token_program())
    session.run(arrays(5))
    inputs = arrays(3)
    found = session.run({**inputs, "past": past})
    assert session.kv_length == length + 3
    np.testing.assert_array_equal(found["present"], np.concatenate([bfloat16(past), keys_of(inputs)], axis=2))
    np.testing.assert_array_equal(found["sums"], expected_sums(inputs, length))


def test_given_positions_and_ignored_inputs():
    inputs = {**arrays(2), "position_ids": np.array([[30, 31]]), "unused": np.zeros((1, 2), np.float32)}
    assert Session(token_program()).run(inputs)["sums"][0, :, 1].tolist() == [30.0, 31.0]


@pytest.mark.parametrize(("mask", "masked"), [([1, 1, 1], 0), ([0, 1, 1], 1), ([1, 1, 0], 1)])
def test_a_mask_is_written_and_announced(mask, masked):
    found = Session(token_program()).run({**arrays(3), "mask": np.array([mask])})
    assert found["rows"][0, :, 3:].tolist() == [[masked, mask[0]]] * 3


@pytest.mark.parametrize(
    "mask",
    [
        np.array([[2, 0, -1]]),
        np.array([[1 << 40, 0, 1]]),
        np.array([[0.5, 0.0, -2.0]], np.float32),
        np.array([[True, False, True]]),
        np.array([[255, 0, 1]], np.uint8),
    ],
    ids=lambda mask: mask.dtype.name,
)
def test_whatever_a_mask_holds_the_program_sees_zeros_and_ones(mask):
    session = Session(token_program())
    found = session.run({**arrays(3), "mask": mask})
    assert found["rows"][0, :, 3:].tolist() == [[1, 1]] * 3
    assert session.simulator.state.shared_integers[MASK : MASK + 3].tolist() == [1, 0, 1]
    unmasked = session.run({**arrays(1), "mask": np.full((1, 4), 7, mask.dtype)})
    assert unmasked["rows"][0, :, 3:].tolist() == [[0, 1]]


@pytest.mark.parametrize("length", [0, 1, 17])
def test_nothing_of_a_longer_cache_stays_behind_a_shorter_one(length):
    session = Session(token_program("fp32"))
    session.run({**arrays(1), "past": np.full((1, 1, 30, 16), np.nan, np.float32)})
    past = np.ones((1, 1, length, 16), np.float32)
    session.run({**arrays(3), "past": past})
    stored = session.simulator.state.bank_region("cache").data
    assert np.isfinite(stored).all()
    assert np.count_nonzero(stored) == np.count_nonzero(past) + np.count_nonzero(arrays(3)["states"])


def test_a_model_without_cache_inputs_begins_anew_in_every_step():
    session = Session(token_program(cached=False))
    for _ in range(2):
        assert session.step([5, 6])["sums"].tolist() == [[[6.0, 1.0, 0.0]]]
        assert session.kv_length == 2


def test_attention_without_a_causal_mask_takes_no_past():
    whole = token_program(encoder=True)
    session = Session(replace(whole, ports=token_program().ports))
    with pytest.raises(UnsupportedError, match="the cache inputs have 2 tokens"):
        session.run({**arrays(3), "past": np.zeros((1, 1, 2, 16), np.float32)})
    inputs = arrays(3)
    found = session.run({**inputs, "past": np.zeros((1, 1, 0, 16), np.float32)})
    np.testing.assert_array_equal(found["present"], keys_of(inputs))
    assert session.kv_length == 0


def test_an_encoder_runs_once_and_keeps_nothing():
    session = Session(token_program(encoder=True))
    for seed in (0, 1):
        inputs = arrays(3, seed)
        np.testing.assert_array_equal(session.run(inputs)["sums"], expected_sums(inputs, 0))
    assert session.kv_length == 0
    with pytest.raises(ResourceLimitError) as error:
        session.run(arrays(CHUNK + 1))
    assert error.value.notes == ("demand: 5 tokens", "bound: 4 tokens in one run")


def test_reset_empties_the_cache_and_repeats_everything():
    session = Session(token_program())
    first = session.run(arrays(5))
    statistics = session.statistics
    session.reset()
    again = session.run(arrays(5))
    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)
    assert session.statistics == statistics


def test_timing_only_takes_the_same_time_and_gives_no_outputs():
    full, bare = Session(token_program()), Session(token_program(), timing_only=True)
    full.run(arrays(7))
    assert bare.run(arrays(7)) == {}
    assert bare.statistics.cycles == full.statistics.cycles
    assert bare.kv_length == 7


def test_the_context_is_a_limit():
    session = Session(token_program())
    session.run(arrays(CONTEXT - 2))
    with pytest.raises(ResourceLimitError) as error:
        session.run(arrays(3))
    assert str(error.value) == (
        "error: the context is too long for the program\n"
        "note: demand: 38 tokens in the cache and 3 new ones\n"
        "note: bound: 40 tokens\n"
        "help: compile with a larger --max-context"
    )
    assert error.value.exit_code == 6
    session.run(arrays(2))
    with pytest.raises(ResourceLimitError):
        session.run({**arrays(1), "past": np.zeros((1, 1, CONTEXT + 1, 16), np.float32)})


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        ({"ids": None}, ["'ids' is missing: int64 [1, seq]"]),
        ({"ids": np.zeros((2, 3), np.int64)}, ["'ids' has the shape [2, 3], allowed: [1, seq]"]),
        ({"ids": np.zeros(3, np.int64)}, ["'ids' has the shape [3], allowed: [1, seq]"]),
        ({"ids": np.zeros((1, 3))}, ["'ids' is float64, allowed: int64"]),
        (
            {"ids": np.full((1, 3), 1 << 31)},
            ["'ids' has values from 2147483648 to 2147483648, which do not fit 32 bits"],
        ),
        ({"states": np.zeros((1, 3, 3))}, ["'states' is float64, allowed: float32"]),
        (
            {"ids": np.zeros((1, 3)), "states": np.zeros((1, 3, 4), np.float32)},
            ["'ids' is float64, allowed: int64", "'states' has the shape [1, 3, 4], allowed: [1, seq, 3]"],
        ),
        ({"ids": np.zeros((1, 2), np.int64)}, ["'ids': 2 tokens", "'states': 3 tokens"]),
        ({"mask": np.ones((1, 2), np.int64)}, ["allowed: 3, for past + seq keys"]),
        ({"token": np.zeros(1)}, ["its inputs are 'ids', 'position_ids', 'states', 'mask', 'unused', 'past'"]),
    ],
)
def test_inputs_that_the_model_does_not_have_are_refused(change, notes):
    given = {name: array for name, array in {**arrays(3), **change}.items() if array is not None}
    session = Session(token_program())
    with pytest.raises(InputError) as error:
        session.run(given)
    assert list(error.value.notes) == notes
    session.run(arrays(3))
    assert session.kv_length == 3


def test_some_input_must_have_tokens():
    with pytest.raises(InputError) as error:
        Session(token_program()).run({})
    assert error.value.notes == (
        "'ids' is missing: int64 [1, seq]",
        "no input says how many tokens there are: give one of 'ids', 'position_ids', 'states'",
    )
    with pytest.raises(InputError, match="the inputs have no tokens"):
        Session(token_program()).run(arrays(0))


def test_unknown_outputs_are_refused():
    with pytest.raises(InputError) as error:
        Session(token_program()).run(arrays(1), outputs=["logits", "sums"])
    assert error.value.message == "the model has no output 'logits'"
    assert error.value.notes == ("its outputs are 'sums', 'rows', 'present'",)


def test_token_numbers_are_integers():
    with pytest.raises(InputError, match="token numbers are 1 values of type float64"):
        Session(token_program()).step([0.5])


def test_statistics_need_a_run():
    with pytest.raises(InputError, match="nothing has run yet"):
        _ = Session(token_program()).statistics


def test_narrower_integers_are_welcome():
    inputs = {"ids": np.array([[3]], np.int32)}
    assert Session(token_program()).run(inputs)["sums"].tolist() == [[[3.0, 0.0, 0.0]]]


VALUES = st.sampled_from([0, 1, 2, 3, 5, 16, 17, 31, 33, 64, 1 << 20, 1 << 31, -1, 1.5, True, None, "position", "key"])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_layout_works_or_is_refused(data):
    program = token_program()
    number = data.draw(st.integers(0, len(program.symbols) - 1))
    symbol = program.symbols[number]
    key = data.draw(st.sampled_from([*symbol.layout, "default"]))
    changed = replace(symbol, layout={**symbol.layout, key: data.draw(VALUES)})
    symbols = (*program.symbols[:number], changed, *program.symbols[number + 1 :])
    past = np.zeros((1, 1, 2, 16), np.float32)
    try:
        session = Session(replace(program, symbols=symbols))
        session.run({**arrays(9), "past": past})
        session.run(arrays(1))
    except PimcError:
        return
