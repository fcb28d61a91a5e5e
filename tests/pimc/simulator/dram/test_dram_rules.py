"""Every spacing rule of the default machine binds in its scope only; which of several binds."""

import pytest

from isa import load_machine
from pimc.simulator.dram.command_timing import CommandTiming
from pimc.simulator.dram.tables import BANK, CHANNEL, COMMANDS, GROUP, command_scope

NEAR_BANK = load_machine("gddr6-aim").near_bank
assert NEAR_BANK is not None
SPACINGS = sorted({(rule.scope, rule.preceding, rule.following) for rule in NEAR_BANK.spacings})
WIDER = {
    "channel": ("channel",),
    "bankgroup": ("channel", "bankgroup"),
    "bank": ("channel", "bankgroup", "bank"),
}
AT = (1, 2)  # bank group and bank of the preceding command
NEIGHBOUR = {"channel": (3, 2), "bankgroup": (1, 3), "bank": AT}  # shares just the scope with it
ISSUED = 1000


def longest(scope: str, preceding: str, following: str) -> int:
    assert NEAR_BANK is not None
    one_command_a_cycle = 1
    rules = [
        rule.cycles
        for rule in NEAR_BANK.spacings
        if rule.scope in WIDER[scope] and rule.preceding == preceding and rule.following == following
    ]
    return max([one_command_a_cycle, *rules])


@pytest.mark.parametrize(("scope", "preceding", "following"), [rule for rule in SPACINGS if rule[0] != "channel"])
def test_rule_does_not_reach_beyond_its_scope(scope: str, preceding: str, following: str) -> None:
    outside = "channel" if scope == "bankgroup" or command_scope(following) == GROUP else "bankgroup"
    timing = CommandTiming(NEAR_BANK)
    timing.issue(0, preceding, ISSUED, *AT)
    assert timing.earliest(0, following, *NEIGHBOUR[outside]) == ISSUED + longest(outside, preceding, following)


@pytest.mark.parametrize(("scope", "preceding", "following"), SPACINGS)
def test_rule_does_not_reach_other_channels(scope: str, preceding: str, following: str) -> None:
    timing = CommandTiming(NEAR_BANK, channels=2)
    timing.issue(0, preceding, ISSUED, *AT)
    assert timing.earliest(1, following, *AT) == 0


def test_the_later_of_two_rules_binds() -> None:
    timing = CommandTiming(NEAR_BANK)
    timing.issue(0, "ACT16", 0)
    timing.issue(0, "MAC16", 56)
    assert timing.earliest(0, "PREA") == 56 + 12  # nRTP after the MAC, beyond nRAS = 54 after the activation
    timing = CommandTiming(NEAR_BANK)
    timing.issue(0, "ACT16", 0)
    timing.issue(0, "EWMUL16", 25)
    assert timing.earliest(0, "PREA") == 25 + 6 + 33


def test_additional_rules_can_be_left_out() -> None:
    ours, published = CommandTiming(NEAR_BANK), CommandTiming(NEAR_BANK, published_rules_only=True)
    for timing in (ours, published):
        timing.issue(0, "WR", ISSUED)
    assert ours.earliest(0, "MAC16") == ISSUED + 6 + 2 + 11
    assert published.earliest(0, "MAC16") == ISSUED + 1


def test_rules_of_a_scope_need_a_command_of_that_scope() -> None:
    assert NEAR_BANK is not None
    scopes = {"channel": CHANNEL, "bankgroup": GROUP, "bank": BANK}
    for rule in NEAR_BANK.spacings:
        assert command_scope(rule.preceding) >= scopes[rule.scope]
        assert command_scope(rule.following) >= scopes[rule.scope]
        assert {rule.preceding, rule.following} <= set(COMMANDS)
