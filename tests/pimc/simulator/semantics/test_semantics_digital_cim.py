"""Tiles of a digital CIM core and off-chip transfers against plain Python and numpy; records as bytes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import code

from isa import Entry, Program, Region, load_machine, record_bytes
from pimc.simulator import Simulator

A, B, C, DST, META = 1000, 4000, 8000, 12000, 20000
F = np.float32
WORDS = st.lists(st.integers(-600, 600).map(lambda n: F(n / 4)), min_size=3, max_size=9)
MACHINE = load_machine("dcim-titanus")


def simulator(*rows):
    instructions = code(*rows, ("halt",))
    program = Program(
        machine=MACHINE.name,
        machine_sha256=MACHINE.sha256,
        numerics="machine",
        code=instructions,
        entries={"run": Entry("run", 0, ())},
        regions=(Region("work", "sb", 0, 1 << 20, "cache"),),
    )
    made = Simulator(MACHINE)
    made.load(program)
    return made


def run(*rows, weights=None, **words):
    """The shared buffer after the rows, with words put at addresses named by their keyword `at_<address>`."""
    made = simulator(*rows)
    for place, values in words.items():
        start = int(place.removeprefix("at_"))
        made.state.shared[start : start + len(values)] = values
    if weights is not None:
        made.state.cim.weights(0)[: weights.shape[0], : weights.shape[1]] = weights
    made.run("run")
    return made.state


def int8(value):
    if math.isnan(value):
        return 0
    return max(-128, min(127, round(float(value))))  # round() takes halves to even numbers


def test_words_enter_as_int8() -> None:
    values = np.array([0.5, 1.5, -0.5, 300, -300, np.nan, np.inf, 126.5, 127.5], F)
    state = run(("drelu", DST, A, 9), **{f"at_{A}": values})
    assert state.shared[DST : DST + 9].tolist() == [0, 2, 0, 127, 0, 0, 127, 126, 127]


@settings(max_examples=25)
@given(WORDS, st.integers(0, 1 << 32), st.floats(-2, 2, width=32))
def test_a_product_adds_exact_sums(vector: list[np.float32], seed: int, scale: float) -> None:
    weights = np.random.default_rng(seed).integers(-128, 128, (len(vector), 5)).astype(np.int8)
    begin = np.arange(5, dtype=F) / 3
    row = ("dmvm", DST, A, B, "query", len(vector), 5, "begin", scale)
    bare = ("dmvm", DST + 50, A, B, "query", len(vector), 5, "no", scale)
    state = run(row, bare, weights=weights, **{f"at_{A}": vector, f"at_{B}": begin})
    sums = [sum(int8(vector[i]) * int(weights[i, j]) for i in range(len(vector))) for j in range(5)]
    expected = [F(total) * F(scale) for total in sums]
    assert state.shared[DST + 50 : DST + 55].tolist() == expected
    assert state.shared[DST : DST + 5].tolist() == [begin[j] + expected[j] for j in range(5)]


def test_weights_are_written_input_by_input() -> None:
    state = run(("dprog", "query", 3, A, 4), **{f"at_{A}": np.array([1.4, -200, 7, np.nan], F)})
    assert state.cim.weights(0)[3, :5].tolist() == [1, -128, 7, 0, 0]
    assert not state.cim.weights(0)[2].any()


@settings(max_examples=25)
@given(WORDS, WORDS)
def test_dot_products_of_heads(first: list[np.float32], second: list[np.float32]) -> None:
    width = min(len(first), len(second))
    strides = {"dst_head": 3, "a_head": 2, "b_head": 1, "b_step": 2}
    rows = ("ddot", DST, A, B, width, {"heads": 2, "scale": 0.5, **strides})
    both = [*second, *([F(0)] * 20)]
    state = run(rows, **{f"at_{A}": [*first, F(1), F(1)], f"at_{B}": both})
    left = [*first, F(1), F(1)]
    for head in range(2):
        products = [int8(left[2 * head + i]) * int8(both[head + 2 * i]) for i in range(width)]
        assert state.shared[DST + 3 * head] == F(sum(products)) * F(0.5)


def test_softmax_gives_127ths() -> None:
    scores = np.array([1.0, 3.0, 2.0, 9.0, 0.0, 0.0, 0.0], F)
    state = run(("dsoftmax", DST, A, 3, 1, 2, 4, 4), **{f"at_{A}": scores})
    for head, rounded in ((0, [11, 84, 31]), (1, [42, 42, 42])):
        powers = [math.exp(x - max(scores[4 * head :][:3])) for x in scores[4 * head :][:3]]
        assert [round(127 * power / sum(powers)) for power in powers] == rounded
        assert state.shared[DST + 4 * head : DST + 4 * head + 3].tolist() == rounded


def test_tiles_of_a_normalisation_see_the_whole_vector() -> None:
    random = np.random.default_rng(5)
    vector, gains = random.normal(3, 2, 12).astype(F), random.normal(30, 9, 24).astype(F)
    tiles = [("dnorm", DST, A, B, 12, first, 4) for first in (0, 4, 8)]
    state = run(*tiles, **{f"at_{A}": vector, f"at_{B}": gains})
    wide = vector.astype(np.float64)
    exact = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-5) * gains[:12] + gains[12:]
    assert state.shared[DST : DST + 12].tolist() == np.clip(np.rint(exact), -128, 127).tolist()
    alone = run(tiles[1], **{f"at_{A}": vector, f"at_{B}": gains})
    assert alone.shared[DST + 4 : DST + 8].tolist() == state.shared[DST + 4 : DST + 8].tolist()
    assert not alone.shared[DST : DST + 4].any()


def test_pruned_elements_stay_zero_through_codes() -> None:
    elements = np.array([0.2, -0.25, 3.0, -4.0, np.nan, 100.0], F)
    meta = np.full(6, 0x4000 | 0xC400 << 16, np.uint32).view(F)  # scale 2, zero point -4
    state = run(
        ("dprune", DST, A, 0.25, 6),
        ("dquant", C, DST, META, 6, 6),
        ("ddequant", B, C, META, 6),
        **{f"at_{A}": elements, f"at_{META}": meta},
    )
    assert state.shared[DST : DST + 6].tolist() == [0, -0.25, 3, -4, 0, 100]
    assert state.shared_integers[C : C + 6].tolist() == [0, 3, 5, 1, 0, 7]  # 1 + round((x + 4) / 2), halves to even
    assert state.shared[B : B + 6].tolist() == [0, 0, 4, -4, 0, 8]


def test_values_go_off_chip_and_come_back() -> None:
    values = np.array([-128, 127, 3.4, -0.6, 900], F)
    state = run(("stoff", 77, A, 5), ("ldoff", DST, 77, 5), **{f"at_{A}": values})
    assert state.cim.off_chip[77:82].tolist() == [128, 127, 3, 255, 127]
    assert state.shared[DST : DST + 5].tolist() == [-128, 127, 3, -1, 127]


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 7), min_size=11, max_size=11), min_size=1, max_size=3), st.integers(0, 11))
def test_records_come_back(rows: list[list[int]], split: int) -> None:
    slot = record_bytes(11, split, 3, 4)[1]
    sizes = (11, split, 3, 4, len(rows), slot, 5, "codes")
    made = simulator(("stnz", 9, A, *sizes), ("ldnz", DST, 9, *sizes))
    made.state.shared_integers[A : A + 11 * len(rows)] = np.array(rows).reshape(-1)
    made.run("run")
    found = made.state.shared_integers[DST : DST + 11 * len(rows)].reshape(-1, 11)
    assert found.tolist() == rows
    survivors = int.from_bytes(made.state.cim.off_chip[9:11].tobytes(), "little")
    assert [survivors >> channel & 1 for channel in range(11)] == [int(each > 0) for each in rows[0]]


def test_records_of_values_come_back() -> None:
    values = np.array([0, -128, 127, 3.4, -0.6, 0.2, 900, 0, -1], F)
    slot = record_bytes(9, 9, 8, 8)[1]
    sizes = (9, 9, 8, 8, 1, slot, 5, "values")
    state = run(("stnz", 9, A, *sizes), ("ldnz", DST, 9, *sizes), **{f"at_{A}": values})
    assert state.shared[DST : DST + 9].tolist() == [0, -128, 127, 3, -1, 0, 127, 0, -1]
    assert state.cim.off_chip[9] == 0b01011110


def test_a_reset_forgets_weights_and_bytes() -> None:
    made = simulator(("dprog", "query", 0, A, 1), ("stoff", 0, A, 1))
    made.state.shared[A] = 5
    made.run("run")
    assert made.state.cim.weights(0)[0, 0] == made.state.cim.off_chip[0] == 5
    made.reset()
    assert made.state.cim.weights(0)[0, 0] == made.state.cim.off_chip[0] == 0


@pytest.mark.parametrize("depth", [0, 4])
def test_an_instruction_waits_in_the_sequencer_or_in_its_queue(depth: int) -> None:
    """Two tiles of one unit, then one of another: it begins behind the begin of the second, or at once."""
    sequencer = MACHINE.sequencer.model_copy(update={"queue_depth": depth})
    machine = MACHINE.model_copy(update={"sequencer": sequencer})
    rows = code(("drelu", DST, A, 9), ("drelu", DST, A, 9), ("dprune", B, C, 0.5, 9), ("halt",))
    program = Program(machine.name, machine.sha256, "machine", rows, {"run": Entry("run", 0, ())})
    made = Simulator(machine)
    made.load(program)
    made.record()
    made.run("run")
    assert made.recording().start.tolist() == [0, 3, 4 if depth == 0 else 2]


def test_sweeps_of_a_core_are_those_of_single_runs() -> None:
    """Also of programs without tiles, which the compiled engine would know on a machine with channels."""
    for rows in ([("drelu", DST, A, 9)], [("li", 1, 5), ("vfill", A, 1.0, 20)]):
        made, other = simulator(*rows), simulator(*rows)
        (cost,) = made.sweep("run", [{}])
        assert cost.cycles == other.run("run", timing_only=True).cycles > 0
