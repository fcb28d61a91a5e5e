"""Our in-order channels on the reference's streams: same commands, and cycles that differ by its front end alone."""

from itertools import pairwise

import pytest
from aim_golden import NEAR_BANK_TRACES, ROWS, opcodes, run_in_order

from isa import load_machine

MACHINE = load_machine("gddr6-aim-acc16")


def front_end_cycles(name: str) -> int:
    """The first line is issued in cycle 1 and EOC answers a cycle after all data.

    A blocking read is answered a cycle late for the line after it, which only another read cannot hide.
    """
    lines = opcodes(name)
    return 2 + sum(line == "RD_MAC" and after in ("RD_MAC", "EOC") for line, after in pairwise(lines))


@pytest.mark.parametrize("name", NEAR_BANK_TRACES)
def test_cycles_differ_by_the_front_end_alone(name: str) -> None:
    reference = int(ROWS[name]["cycles"])
    cycles = run_in_order(name, MACHINE).finish_cycle
    assert reference - cycles == front_end_cycles(name)
    assert reference < 500 or reference - cycles <= 0.005 * reference


@pytest.mark.parametrize("name", NEAR_BANK_TRACES)
def test_commands_are_equal(name: str) -> None:
    timing = run_in_order(name, MACHINE)
    counts = dict(zip(timing.command_names, timing.command_counts.tolist(), strict=True))
    assert {command: count for command, count in counts.items() if command in ROWS[name]} == {
        command: int(ROWS[name][command]) for command in counts if command in ROWS[name]
    }
