"""Devices described command by command: reach of commands, windows, counts."""

import pytest

from isa import DramDevice, load_machine
from pimc.simulator.dram.device_timing import DeviceTiming

ISSUED = 1000


def device(name: str) -> DramDevice:
    found = load_machine(name).dram
    assert found is not None
    return found


DEVICES = {name: device(name) for name in ("hbm3-attacc", "hbm2-pim")}


@pytest.mark.parametrize(("name", "command", "cycles"), [("hbm3-attacc", "ACT", 39), ("hbm2-pim", "ACTIVATE", 16)])
def test_fifth_activation_waits_for_the_window(name: str, command: str, cycles: int) -> None:
    timing = DeviceTiming(DEVICES[name])
    for group in range(4):
        timing.issue(0, command, ISSUED + 4 * group, group)
    first_group_of_the_other_rank = DEVICES[name].span("rank") // DEVICES[name].levels["bank"]
    assert timing.earliest(0, command, 0, 1) == ISSUED + cycles
    assert timing.earliest(0, command, first_group_of_the_other_rank, 0) < ISSUED + cycles


OPENED = {"ACT": [5], "ACTAB": range(64), "ACTSB": range(1, 64, 4), "ACTPB": [5, 37]}


@pytest.mark.parametrize("command", OPENED)
def test_activation_opens_what_it_reaches(command: str) -> None:
    timing = DeviceTiming(DEVICES["hbm3-attacc"], channels=2)
    timing.issue(1, command, 0, group=1, bank=1, row=7)
    rows = {bank: timing.open_row(1, bank // 4, bank % 4) for bank in range(64)}
    assert [bank for bank, row in rows.items() if row == 7] == list(OPENED[command])
    assert timing.open_row(0, 1, 1) is None


def test_published_rules_alone_let_a_refresh_follow_a_precharge_at_once() -> None:
    published, ours = (DeviceTiming(DEVICES["hbm3-attacc"], published_rules_only=only) for only in (True, False))
    for timing in (published, ours):
        timing.issue(0, "PREA", ISSUED)
    assert published.earliest(0, "REFab") == ISSUED + 1
    assert ours.earliest(0, "REFab") == ISSUED + 19


def test_counts_name_the_commands_of_the_device() -> None:
    timing = DeviceTiming(DEVICES["hbm2-pim"])
    timing.issue(0, "ACTIVATE", 0)
    timing.issue(0, "READ", 14)
    assert timing.command_counts == {"ACTIVATE": 1, "PRECHARGE": 0, "READ": 1, "WRITE": 0, "REF": 0}
    assert timing.row_open_cycles(100) == 100
