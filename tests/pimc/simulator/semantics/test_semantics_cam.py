"""Meaning of extension C, instruction by instruction, and what it refuses to touch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from machine_programs import bfloat16, normal
from numpy.typing import NDArray

from isa import Entry, Machine, Program, ProgramError, Source, instruction, load_machine
from pimc.simulator.dram.channel_timing import channels_of_machine
from pimc.simulator.engine.engine import Engine
from pimc.simulator.state.cam import EMPTY, CamState

DIMS = 64


@pytest.fixture(scope="module")
def searching() -> Machine:
    return load_machine("cam-camformer")


class Search:
    """An engine with a CAM whose memories a test fills, that runs instructions one call at a time."""

    def __init__(self, machine: Machine, numerics: str = "fp32") -> None:
        self.machine, self.numerics = machine, numerics
        self.engine = self._engine()
        self.random = np.random.default_rng(0)

    def _engine(self, *rows: Any) -> Engine:
        code = tuple(instruction(name, **operands) for name, operands in (*rows, ("halt", {})))
        facts = {"sources": (Source("node"),), "debug": (0,) * len(code)}
        entries = {"decode": Entry("decode", 0, ())}
        program = Program(self.machine.name, self.machine.sha256, self.numerics, code, entries, **facts)
        return Engine(self.machine, program, channels_of_machine(self.machine))

    def run(self, *rows: Any) -> Engine:
        """Run instructions on what is held so far."""
        engine = self._engine(*rows)
        engine.state.cam, engine.state.shared = self.cam, self.shared
        engine.state.shared_integers = self.shared.view(np.int32)
        self.engine = engine
        engine.run(0, timing_only=False)
        return engine

    @property
    def cam(self) -> CamState:
        assert self.engine.state.cam is not None
        return self.engine.state.cam

    @property
    def shared(self) -> NDArray[np.float32]:
        return self.engine.state.shared

    def fill(self, keys: int) -> None:
        """Random keys and values, a random query in the first words."""
        self.cam.keys[:keys] = self.random.standard_normal((keys, DIMS)) > 0
        self.cam.values[:keys] = self.random.standard_normal((keys, DIMS))
        self.shared[:DIMS] = self.random.standard_normal(DIMS)

    def matches(self, keys: int) -> NDArray[np.int64]:
        return np.asarray((self.cam.keys[:keys] == (self.shared[:DIMS] > 0)).sum(axis=1))


def test_signs_are_stored_one_above_zero(searching: Machine) -> None:
    made = Search(searching)
    made.shared[:5] = [1.0, 0.0, -0.0, -3.0, np.nan]
    made.run(("cstore", {"key": 7, "a": 0, "dims": 5}), ("cquery", {"a": 0, "dims": 5}))
    assert made.cam.keys[7, :5].tolist() == [True, False, False, False, False]
    assert made.cam.query[:5].tolist() == made.cam.keys[7, :5].tolist()
    assert made.cam.dims == 5


@pytest.mark.parametrize("numerics", ["fp32", "machine"])
def test_values_are_stored_as_the_numerics_say(searching: Machine, numerics: str) -> None:
    made = Search(searching, numerics)
    values = normal(DIMS)
    made.shared[:DIMS] = values
    made.run(("cvalue", {"value": 3, "a": 0, "elements": DIMS}))
    assert np.array_equal(made.cam.values[3], bfloat16(values) if numerics == "machine" else values)


@pytest.mark.parametrize(("bits", "dims"), [(6, 64), (6, 48), (4, 64), (1, 7)])
def test_a_search_counts_the_signs_that_agree(searching: Machine, bits: int, dims: int) -> None:
    made = Search(searching)
    made.fill(16)
    made.run(
        ("cquery", {"a": 0, "dims": dims}),
        ("cprog", {"key": 0, "count": 16}),
        ("csearch", {"entry": 4, "index": 32, "row": 6, "top": 2, "bits": bits}),
    )
    matches = (made.cam.keys[:16, :dims] == (made.shared[:dims] > 0)).sum(axis=1)
    codes = np.minimum(2**bits - 1, matches * 2**bits // dims)
    best = np.lexsort((np.arange(16), -codes))[:2]
    assert made.cam.codes[4:6].tolist() == codes[best].tolist()
    assert made.cam.indices[4:6].tolist() == (32 + best).tolist()
    assert made.cam.rows[4:6].tolist() == [6, 7]


def test_a_full_match_reads_one_step_low(searching: Machine) -> None:
    made = Search(searching)
    made.run(
        ("cquery", {"a": 0, "dims": 64}),
        ("cprog", {"key": 0, "count": 1}),
        ("csearch", {"entry": 0, "index": 0, "row": 0, "top": 1, "bits": 6}),
    )
    assert made.cam.codes[0] == 63


def test_a_tile_with_fewer_keys_than_candidates_leaves_entries_empty(searching: Machine) -> None:
    made = Search(searching)
    made.fill(32)
    search = {"entry": 0, "index": 0, "row": 0, "top": 2, "bits": 6}
    made.run(("cquery", {"a": 0, "dims": 64}), ("cprog", {"key": 16, "count": 16}), ("csearch", search))
    made.run(("cprog", {"key": 0, "count": 1}), ("csearch", search), ("ctop", {"count": 2, "keep": 4}))
    assert (made.cam.codes[:2] != EMPTY).tolist() == [True, False]
    assert (made.cam.winner_codes != EMPTY).sum() == 1


def test_equal_codes_prefer_the_lower_key_in_tiles_and_in_merges(searching: Machine) -> None:
    made = Search(searching)
    cam = made.cam
    cam.codes[:6], cam.indices[:6], cam.rows[:6] = [5, 9, 5, 9, EMPTY, 5], [40, 30, 20, 10, 0, 50], range(6)
    made.run(("cmerge", {"count": 6, "keep": 3}), ("ctop", {"count": 3, "keep": 2}))
    assert cam.codes[:3].tolist() == [9, 9, 5]
    assert cam.indices[:3].tolist() == [10, 30, 20]
    assert cam.rows[:3].tolist() == [3, 1, 2]
    assert cam.winner_indices[:2].tolist() == [10, 30]
    assert cam.winner_codes[2:].tolist() == [EMPTY] * 30


def test_merges_in_any_order_keep_the_best_of_all(searching: Machine) -> None:
    """The best of the best of some and of the rest are the best of all: merging changes no winner."""
    made = Search(searching)
    random = np.random.default_rng(3)
    for _ in range(20):
        codes, indices = random.integers(0, 8, 96), random.permutation(1000)[:96]
        cam = made.cam
        cam.codes[:64], cam.indices[:64] = codes[:64], indices[:64]
        made.run(("cmerge", {"count": 64, "keep": 32}))
        cam.codes[32:64], cam.indices[32:64] = codes[64:], indices[64:]
        made.run(("ctop", {"count": 64, "keep": 32}))
        expected = np.lexsort((indices, -codes))[:32]
        assert cam.winner_indices.tolist() == indices[expected].tolist()


@pytest.mark.parametrize("numerics", ["fp32", "machine"])
def test_winners_are_weighed_and_their_values_added_up(searching: Machine, numerics: str) -> None:
    made = Search(searching, numerics)
    made.fill(8)
    cam, rounded = made.cam, bfloat16 if numerics == "machine" else np.asarray
    cam.winner_codes[:4], cam.winner_rows[:4] = [40, 38, 33, EMPTY], [5, 1, 9, 0]
    cam.buffer[1] = rounded(np.random.default_rng(1).standard_normal(cam.buffer[1].shape).astype(np.float32))
    made.run(
        ("cexp", {"len": 4, "dims": 64, "bits": 6, "scale": 0.125}),
        ("cdiv", {"len": 4, "half": 1}),
        ("cmac", {"dst": 100, "rows": 4, "len": 64, "half": 1}),
    )
    scores = np.float32(0.125) * np.array([2 * 40 - 64, 2 * 38 - 64, 2 * 33 - 64], np.float32)
    exponentials = rounded(np.exp(scores - scores[0]))
    total = (exponentials[0] + exponentials[1]) + exponentials[2]
    weights = rounded((exponentials / total).astype(np.float32))
    expected = np.zeros(64, np.float32)
    for weight, row in zip(weights, (5, 1, 9), strict=True):
        expected = expected + weight * cam.buffer[1, row]
    assert np.array_equal(made.shared[100:164], rounded(expected))
    assert cam.weights[1, :4].tolist() == [*weights.tolist(), 0.0]


def test_values_of_candidates_are_fetched_where_they_are_looked_for(searching: Machine) -> None:
    made = Search(searching)
    made.fill(40)
    cam = made.cam
    cam.codes[:2], cam.indices[:2] = [3, EMPTY], [7, 0]
    before = cam.buffer.copy()
    made.run(("cfetch", {"entry": 0, "value": 30, "row": 12, "half": 1, "top": 2}))
    assert np.array_equal(cam.buffer[1, 12], cam.values[37])
    before[1, 12] = cam.values[37]
    assert np.array_equal(cam.buffer, before)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("cstore", {"key": 16384, "a": 0, "dims": 64}), "'key' covers 16384 to 16384"),
        (("cvalue", {"value": 0, "a": 0, "elements": 65}), "'elements' is 65"),
        (("cquery", {"a": 262143, "dims": 2}), "'a' covers words 262143 to 262144 of the shared buffer"),
        (("cprog", {"key": 16383, "count": 2}), "'key' covers 16383 to 16384"),
        (("csearch", {"entry": 63, "index": 0, "row": 0, "top": 2, "bits": 6}), "'entry' covers 63 to 64"),
        (("csearch", {"entry": 0, "index": 0, "row": 0, "top": 2, "bits": 7}), "'bits' is 7"),
        (("cfetch", {"entry": 0, "value": 0, "row": 127, "half": 0, "top": 2}), "'row' is 127"),
        (("cfetch", {"entry": 0, "value": 16384, "row": 0, "half": 0, "top": 2}), "'value' is 16384"),
        (("cmerge", {"count": 65, "keep": 32}), "'count' covers 0 to 64"),
        (("ctop", {"count": 64, "keep": 33}), "'keep' is 33"),
        (("cexp", {"len": 0, "dims": 64, "bits": 6, "scale": 1.0}), "'len' is 0"),
        (("cmac", {"dst": 0, "rows": 33, "len": 64, "half": 0}), "'rows' is 33"),
    ],
)
def test_nothing_outside_the_memories_is_touched(searching: Machine, row: Any, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        Search(searching).run(row)
