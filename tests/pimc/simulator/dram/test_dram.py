"""What commands change: open rows, mode, counts, time with open rows."""

import pytest

from isa import load_machine
from pimc.simulator.dram.command_timing import CommandTiming

NEAR_BANK = load_machine("gddr6-aim").near_bank
BANKS = [(group, bank) for group in range(4) for bank in range(4)]


@pytest.fixture
def timing() -> CommandTiming:
    return CommandTiming(NEAR_BANK, channels=2)


def rows(timing: CommandTiming, channel: int = 0) -> list[int | None]:
    return [timing.open_row(channel, group, bank) for group, bank in BANKS]


def test_activation_opens_what_it_addresses(timing: CommandTiming) -> None:
    timing.issue(0, "ACT", 0, group=2, bank=1, row=7)
    assert rows(timing) == [7 if place == (2, 1) else None for place in BANKS]
    timing.issue(0, "ACT4", 200, group=1, row=8)
    assert [timing.open_row(0, 1, bank) for bank in range(4)] == [8] * 4
    timing.issue(0, "ACT16", 400, row=9)
    assert rows(timing) == [9] * 16
    assert rows(timing, channel=1) == [None] * 16


CLOSED_BANKS = {"PRE": 1, "RDA": 1, "WRA": 1, "PRE4": 4, "PREA": 16, "WRA16": 16}


@pytest.mark.parametrize(("command", "closed"), CLOSED_BANKS.items())
def test_closing_command_closes_what_it_addresses(timing: CommandTiming, command: str, closed: int) -> None:
    timing.issue(0, "ACT16", 0, row=3)
    timing.issue(0, command, 500, group=1, bank=2)
    assert rows(timing).count(None) == closed
    assert timing.open_row(0, 1, 2) is None


def test_mode_switch_toggles(timing: CommandTiming) -> None:
    assert not timing.register_mode(0)
    timing.issue(0, "TMOD", 0)
    assert timing.register_mode(0)
    assert not timing.register_mode(1)
    timing.issue(0, "TMOD", 100)
    assert not timing.register_mode(0)


def test_one_command_a_cycle(timing: CommandTiming) -> None:
    timing.issue(0, "WRGB", 5)
    assert timing.earliest(0, "ACT16") == 6
    with pytest.raises(ValueError, match=r"^ACT16 at cycle 5 is illegal before cycle 6$"):
        timing.issue(0, "ACT16", 5)


def test_counts_are_summed_over_channels(timing: CommandTiming) -> None:
    timing.issue(0, "ACT16", 0)
    timing.issue(1, "ACT16", 3)
    timing.issue(1, "PREA", 60)
    assert {name: count for name, count in timing.command_counts.items() if count} == {"ACT16": 2, "PREA": 1}


def test_open_time_runs_from_the_first_row_to_the_last(timing: CommandTiming) -> None:
    timing.issue(0, "ACT", 10, group=0, bank=0)
    timing.issue(0, "ACT", 30, group=1, bank=0)
    timing.issue(0, "PRE", 90, group=0, bank=0)
    assert timing.row_open_cycles(100) == 90
    timing.issue(0, "PRE", 130, group=1, bank=0)
    assert timing.row_open_cycles(200) == 120
    timing.issue(1, "ACT16", 150)
    assert timing.row_open_cycles(200) == 120 + 50
