"""Every spacing rule of every bundled machine: illegal one cycle before, legal at its latency, alone and among all."""

from pathlib import Path

import pytest
from rule_places import Described, Pair, different_rules, hidden_rules

from pimc.simulator.dram.command_timing import CommandTiming

ISSUED = 1000
DESCRIBED = different_rules()
RULES = [(name, number) for name, described in DESCRIBED.items() for number in range(described.rules)]
HIDDEN = Path(__file__).with_name("hidden_rules.txt")


class Channel:
    """One channel; its banks are numbered through."""

    def __init__(self, timing: CommandTiming, channel: int, described: Described) -> None:
        self._timing, self._channel, self._described = timing, channel, described

    def earliest(self, command: str, bank: int) -> int:
        return self._timing.earliest(self._channel, command, *divmod(bank, self._described.banks_per_group))

    def issue(self, command: str, cycle: int, bank: int) -> None:
        self._timing.issue(self._channel, command, cycle, *divmod(bank, self._described.banks_per_group))

    def soonest(self, command: str, scope: str) -> tuple[int, int]:
        """Cycle and bank at which a command may issue first."""
        return min((self.earliest(command, bank), bank) for bank in range(self._described.span(scope)))

    def assert_legal_from(self, command: str, bank: int, cycle: int) -> None:
        assert self.earliest(command, bank) == cycle
        with pytest.raises(ValueError, match=f"^{command} at cycle {cycle - 1} is illegal before cycle {cycle}$"):
            self.issue(command, cycle - 1, bank)
        self.issue(command, cycle, bank)


def pairs(name: str, number: int) -> list[Pair]:
    return [pair for pair in DESCRIBED[name].pairs if pair.number == number]


@pytest.mark.parametrize(("name", "number"), RULES)
def test_rule_alone(name: str, number: int) -> None:
    described = DESCRIBED[name]
    found = pairs(name, number)
    timing = described.timing([number], channels=len(found) * described.banks)
    for place, pair in enumerate(found):
        for bank in range(described.banks):
            channel = Channel(timing, place * described.banks + bank, described)
            for step in range(pair.window):
                channel.issue(pair.preceding, ISSUED + step, 0)
            legal = ISSUED + pair.cycles if described.applies(pair, bank) else 0
            channel.assert_legal_from(pair.following, bank, max(legal, ISSUED + pair.window))


@pytest.mark.parametrize(("name", "number"), RULES)
def test_rule_among_all(name: str, number: int) -> None:
    described = DESCRIBED[name]
    found = pairs(name, number)
    timing = described.timing(range(described.rules), channels=len(found))
    for place, pair in enumerate(found):
        bank = described.place(pair)
        channel = Channel(timing, place, described)
        if bank is None:
            continue
        if pair.window == 1:
            channel.issue(pair.preceding, ISSUED, 0)
            channel.assert_legal_from(pair.following, bank, ISSUED + pair.cycles)
        else:
            first = _issue_as_fast_as_others_allow(channel, pair)
            _, bank = channel.soonest(pair.following, pair.scope)
            channel.assert_legal_from(pair.following, bank, first + pair.cycles)


def _issue_as_fast_as_others_allow(channel: Channel, pair: Pair) -> int:
    """Fill the window of a rule; the cycle of its first command."""
    cycles = []
    for _ in range(pair.window):
        cycle, bank = channel.soonest(pair.preceding, pair.scope)
        channel.issue(pair.preceding, cycle, bank)
        cycles.append(cycle)
    return cycles[0]


def test_rules_that_never_decide_are_known() -> None:
    """Pairs of commands here are tested alone only: another rule makes the command wait longer, or as long."""
    assert HIDDEN.read_text() == hidden_rules()
