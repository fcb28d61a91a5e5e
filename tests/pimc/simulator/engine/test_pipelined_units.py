"""Pipelined units: they read while they are occupied, and write in the last cycles of their latency."""

from __future__ import annotations

from typing import Any

import pytest

from isa import Machine, assemble, load_machine
from pimc.simulator import Simulator
from pimc.simulator.engine.scoreboard import Scoreboard
from pimc.simulator.footprints.vector import Footprint

SPAN = (100, 200)
HEAD = """
.machine "cam-camformer", sha256="{sha}", numerics=machine
.symbols
.region work, sb, address=0, size=4096, role=inputs
.text
.entry run
"""
SEARCH = "entry={n}, index=0, row={n}, top=2, bits=6"


@pytest.fixture(scope="module")
def searching() -> Machine:
    return load_machine("cam-camformer")


def cycles(machine: Machine, *lines: str) -> int:
    text = HEAD.format(sha=machine.sha256) + "\n".join((*lines, "halt", ""))
    simulator = Simulator(machine)
    simulator.load(assemble(text))
    return simulator.run("run").cycles


@pytest.mark.parametrize(
    ("earlier", "later", "start"),
    [
        (Footprint(writes=(SPAN,)), Footprint(reads=(SPAN,)), 57),  # reads what is there at the end
        (Footprint(reads=(SPAN,)), Footprint(writes=(SPAN,)), 13),  # writes in its 8th cycle, behind the reading to 20
        (Footprint(writes=(SPAN,)), Footprint(writes=(SPAN,)), 50),
    ],
)
def test_hazards_look_at_when_operands_are_read_and_results_written(
    earlier: Footprint, later: Footprint, start: int
) -> None:
    board = Scoreboard((16, 16))
    board.record(0, earlier, 19, 57, 20)
    board.clock = 3
    assert board.earliest_start(1, later, 7) == start


def test_the_next_tile_is_programmed_while_candidates_are_ranked(searching: Machine) -> None:
    """A tile is programmed in 4 cycles and searched in 1; the candidates are there 7 cycles later."""
    tiles = [line for n in range(8) for line in ("cprog key=0, count=16", "csearch " + SEARCH.format(n=2 * n))]
    assert cycles(searching, "cquery a=[0], dims=64", *tiles) == 8 * 5 + 7


def test_a_query_waits_for_the_candidates_of_the_one_before(searching: Machine) -> None:
    one = ("cquery a=[0], dims=64", "cprog key=0, count=16", "csearch " + SEARCH.format(n=0))
    assert cycles(searching, *one) == 12
    assert cycles(searching, *one, *one) == 24


def test_a_merge_does_not_hold_the_search_up(searching: Machine) -> None:
    tile = ("cprog key=0, count=16", "csearch " + SEARCH.format(n=62))
    further = ("cprog key=0, count=16", "csearch " + SEARCH.format(n=32))
    assert cycles(searching, *tile, "cmerge count=64, keep=32", *further * 3) == 4 * 5 + 7
    assert cycles(searching, *tile, "cmerge count=64, keep=32", "ctop count=64, keep=32") == 12 + 7 + 6


def test_the_values_of_the_next_head_arrive_beside_those_of_this_one(searching: Machine) -> None:
    fetch = "cfetch entry=0, value=0, row=0, half={half}, top=2"
    add_up = ("cdiv len=32, half=0", "cmac dst=[0], rows=32, len=64, half=0")
    assert cycles(searching, *add_up) == 96 + 260
    assert cycles(searching, *add_up, *[fetch.format(half=1)] * 9) == 96 + 260
    assert cycles(searching, *add_up, *[fetch.format(half=0)] * 9) == 96 + 256 + 1 + 8


def test_occupancy_of_a_pipeline_counts_every_cycle_once(searching: Machine) -> None:
    text = HEAD.format(sha=searching.sha256)
    text += "cprog key=0, count=16\n" + "".join(f"csearch {SEARCH.format(n=2 * n)}\n" for n in range(4)) + "halt\n"
    simulator = Simulator(searching)
    simulator.load(assemble(text))
    found: Any = simulator.run("run")
    assert found.busy_cycles_by_unit["association"] == found.cycles == 4 + 4 + 7
    assert found.mnemonics["csearch"].busy_cycles == 4 * 8
