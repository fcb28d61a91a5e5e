"""Devices described command by command: every rule legal at its latency and not before, reach of commands, windows."""

import pytest

from isa import DramDevice, load_machine
from pimc.simulator.dram.device_timing import DeviceTiming

ISSUED = 1000


def device(name: str) -> DramDevice:
    found = load_machine(name).dram
    assert found is not None
    return found


DEVICES = {name: device(name) for name in ("hbm3-attacc", "hbm2-pim")}
RULES = sorted(
    {
        (name, rule.scope, rule.preceding, rule.following)
        for name, each in DEVICES.items()
        for rule in each.resolve((*each.spacing_rules, *each.additional_rules))
        if rule.window == 1
    }
)


def reached(described: DramDevice, command: str) -> list[int]:
    """Banks that a command addressed to bank 0 reaches."""
    within, each = described.commands[command].within, described.commands[command].each
    return list(range(0, described.span(within), described.span(each) if each else 1))


def longest(described: DramDevice, preceding: str, following: str, bank: int) -> int:
    """Cycles from one command, addressed to bank 0, to another one, addressed to `bank`, by the rules alone."""
    levels = described.level_names
    checked = levels.index(described.commands[following].checked_to)
    one_command_a_cycle = 1
    binding = [
        rule.cycles
        for rule in described.resolve((*described.spacing_rules, *described.additional_rules))
        if (rule.preceding, rule.following, rule.window) == (preceding, following, 1)
        and levels.index(rule.scope) <= checked
        and bank // described.span(rule.scope)
        in {other // described.span(rule.scope) for other in reached(described, preceding)}
    ]
    return max([one_command_a_cycle, *binding])


def neighbour(described: DramDevice, scope: str) -> tuple[int, int]:
    """Bank group and bank that share just `scope` with bank 0 of group 0."""
    levels = described.level_names
    if scope == "bank":
        return 0, 0
    below = levels[levels.index(scope) + 1]
    bank = described.span(below)
    return divmod(bank, described.levels["bank"])


@pytest.mark.parametrize(("name", "scope", "preceding", "following"), RULES)
def test_rule_binds_at_its_latency(name: str, scope: str, preceding: str, following: str) -> None:
    described = DEVICES[name]
    group, bank = neighbour(described, scope)
    legal = ISSUED + longest(described, preceding, following, group * described.levels["bank"] + bank)
    timing = DeviceTiming(described)
    timing.issue(0, preceding, ISSUED)
    assert timing.earliest(0, following, group, bank) == legal
    with pytest.raises(ValueError, match=f"^{following} at cycle {legal - 1} is illegal before cycle {legal}$"):
        timing.issue(0, following, legal - 1, group, bank)
    timing.issue(0, following, legal, group, bank)


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
