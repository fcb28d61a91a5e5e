"""Quantised caches: outputs against numpy, codes and meta words in the banks bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from attention_only import MACHINE, Attention, AttentionUnderTest
from stored_codes import assert_codes

from isa import UnsupportedError
from passes import Compression, Quantized, Ring
from pimc.simulator import Session

BORDERS = (1, 30, 1, 1, 31, 1, 1, 62, 1)
"""Runs around the borders of groups of 16 and 32 tokens, single tokens and chunks."""

SHAPES = {
    "kivi 4": Attention(Compression(encoding=Quantized(4, 4, "channel", 32, 32, 32))),
    "kivi 2": Attention(Compression(encoding=Quantized(2, 2, "channel", 32, 16, 32))),
    "kivi 8, no residual": Attention(Compression(encoding=Quantized(8, 8, "channel", 32, 32, 0))),
    "int 8": Attention(Compression(encoding=Quantized(8, 8, "token", 16, 32, 0))),
    "int 4, runs": Attention(Compression(encoding=Quantized(4, 4, "token", 16, 16, 0)), head_dim=64),
    "int 2, channels": Attention(Compression(encoding=Quantized(2, 2, "channel", 16, 32, 0))),
    "keys and values of different bits": Attention(Compression(encoding=Quantized(8, 2, "token", 16, 16, 32))),
    "keys and values of different widths": Attention(
        Compression(encoding=Quantized(4, 8, "channel", 32, 16, 0)), head_dim=16, value_dim=48
    ),
    "query heads share keys of another width than values": Attention(
        Compression(encoding=Quantized(8, 2, "token", 16, 16, 16)), heads=12, kv_heads=4, head_dim=64, value_dim=32
    ),
    "query heads share keys": Attention(
        Compression(encoding=Quantized(4, 4, "channel", 32, 32, 64)), heads=6, kv_heads=2
    ),
    "heads of 96": Attention(Compression(encoding=Quantized(4, 4, "channel", 32, 32, 0)), head_dim=96),
    "heads of 80, runs": Attention(Compression(encoding=Quantized(2, 4, "token", 16, 16, 0)), head_dim=80),
    "heads share a group of channels": Attention(
        Compression(encoding=Quantized(4, 4, "channel", 32, 16, 0)), heads=12, kv_heads=12, context=1200
    ),
    "heads share a group of channels, per token": Attention(
        Compression(encoding=Quantized(8, 8, "token", 16, 16, 0)), heads=12, kv_heads=12, head_dim=16, context=600
    ),
    "keys of more channels than a step goes over": Attention(
        Compression(encoding=Quantized(4, 4, "channel", 16, 16, 0)), heads=16, kv_heads=16, head_dim=128, value_dim=16
    ),
    "capped scores": Attention(Compression(encoding=Quantized(8, 8, "token", 16, 32, 16)), softcap=1.5),
    "channels that do not divide the units": Attention(
        Compression(encoding=Quantized(4, 4, "channel", 48, 32, 0)), heads=3, kv_heads=3
    ),
}


ROUNDED = ("kivi 4", "int 4, runs", "query heads share keys")


@pytest.mark.parametrize(
    ("name", "numerics"), [*((name, "fp32") for name in SHAPES), *((name, "machine") for name in ROUNDED)]
)
def test_codes_and_outputs_are_those_of_numpy(name: str, numerics: str) -> None:
    test, groups = AttentionUnderTest(replace(SHAPES[name], numerics=numerics)), 0
    for count in BORDERS:
        test.run(count)
        groups = assert_codes(test)
    encoding = SHAPES[name].compression.encoding  # type: ignore[union-attr]
    assert groups == (sum(BORDERS) - encoding.residual) // encoding.group  # type: ignore[union-attr]


RINGS = {
    "window and kivi": (Ring(72, 4), Quantized(4, 4, "channel", 32, 16, 32)),
    "no sinks": (Ring(40, 0), Quantized(8, 8, "token", 16, 32, 16)),
    "a whole group of sinks": (Ring(70, 16), Quantized(2, 4, "channel", 16, 32, 0)),
    "a window of whole groups": (Ring(36, 4), Quantized(4, 4, "token", 16, 32, 16)),
    "longer than the context": (Ring(150, 4), Quantized(4, 4, "channel", 32, 32, 0)),
}


@pytest.mark.parametrize("name", RINGS)
def test_window_over_codes_is_that_of_numpy(name: str) -> None:
    ring, encoding = RINGS[name]
    test = AttentionUnderTest(Attention(Compression(ring, encoding), heads=4, kv_heads=2))
    turning = -(-(ring.budget - ring.sinks) // encoding.group) + 1
    for count in (*BORDERS, 20, 1, 1, 40, 8):
        test.run(count)
        held = test.session.kv_length - encoding.residual
        number = max(held // encoding.group, 0)
        latest = {1 + (index - 1) % turning if index else 0: index for index in range(number)}
        assert_codes(test, latest)
    assert test.session.kv_length == 199


def test_a_new_sequence_forgets_the_codes() -> None:
    test = AttentionUnderTest(SHAPES["kivi 4"])
    test.run(150)
    test.reset()
    for count in (40, 60):
        test.run(count)
    assert assert_codes(test) == 2


def test_a_context_of_exact_tokens_has_no_codes() -> None:
    shape = SHAPES["kivi 4"]
    exact = AttentionUnderTest(replace(shape, context=64))
    assert [region.name for region in exact.program.regions if region.space == "bank"] == ["kv_cache"]
    exact.run(64)
    one_more = AttentionUnderTest(replace(shape, context=65))
    one_more.run(65)
    assert assert_codes(one_more) == 1


@pytest.mark.parametrize("name", ["kivi 4", "int 8"])
def test_time_is_the_same_without_data(name: str) -> None:
    test = AttentionUnderTest(SHAPES[name])
    timed = Session(test.program, MACHINE, timing_only=True)
    for count in (30, 70, 1, 1, 40):
        inputs = test.inputs(count)
        test.step(inputs)
        timed.run(inputs)
        assert timed.statistics.cycles == test.session.statistics.cycles


def test_tokens_one_by_one_leave_what_chunks_leave() -> None:
    chunks, single = (AttentionUnderTest(SHAPES["int 8"]) for _ in range(2))
    for inputs in (chunks.inputs(40), chunks.inputs(30)):
        chunks.step(inputs)
        for token in range(inputs["query"].shape[1]):
            single.step({name: array[:, token : token + 1] for name, array in inputs.items()})
    assert assert_codes(chunks) == assert_codes(single) == 4
    held = [test.session.simulator.state.bank_region("kv_codes").data for test in (chunks, single)]
    np.testing.assert_array_equal(*held)


def test_windows_shorter_than_the_exact_tokens_are_refused() -> None:
    shape = Attention(Compression(Ring(66, 4), Quantized(4, 4, "channel", 32, 32, 32)))
    with pytest.raises(UnsupportedError, match=r"a window of 62 tokens behind the sinks has no room for 64 exact ones"):
        AttentionUnderTest(shape)


def test_codes_move_fewer_bytes_at_long_contexts() -> None:
    def moved(encoding: Quantized | None) -> int:
        compression = encoding and Compression(encoding=encoding)
        test = AttentionUnderTest(Attention(compression, 9, 3, 64, context=2048, numerics="machine"))
        session = Session(test.program, MACHINE, timing_only=True)
        session.kv_length = 2032
        session.run(test.inputs(16))  # one of them quantises a group
        kept = session.statistics.cache
        return kept.bytes_read + kept.bytes_written

    exact = moved(None)
    assert exact > 2.8 * moved(Quantized(4, 4, "channel", 32, 32, 128))
    assert exact > 3.2 * moved(Quantized(2, 2, "channel", 32, 32, 128))
    assert exact > 1.5 * moved(Quantized(8, 8, "token", 16, 64, 0))


@pytest.mark.parametrize("change", [{"channels": 4}, {"accumulators": 8}])
def test_smaller_machines_hold_the_same_codes(change: dict[str, int]) -> None:
    assert MACHINE.near_bank is not None
    machine = MACHINE.model_copy(update={"near_bank": MACHINE.near_bank.model_copy(update=change)})
    encoding = Quantized(4, 4, "channel", 32, 32, 32)
    test = AttentionUnderTest(Attention(Compression(encoding=encoding), heads=6, kv_heads=2, head_dim=64), machine)
    for count in (40, 60, 1, 50):
        test.run(count)
    assert assert_codes(test) == 3
