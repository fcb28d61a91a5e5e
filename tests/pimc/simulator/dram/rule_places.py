"""The spacing rules of every bundled machine, and for each the place at which it alone decides, or what hides it."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import isa
from isa import DramDevice, NearBank, load_machine
from pimc.simulator.dram.command_timing import CommandTiming
from pimc.simulator.dram.device_timing import DeviceTiming
from pimc.simulator.dram.tables import BANK, GROUP, command_scope

_MACHINES = [load_machine(name) for name in isa.machine_names()]
FILES = [each.name for each in _MACHINES if each.near_bank is not None or each.dram is not None]


@dataclass(frozen=True)
class Pair:
    """One pair of commands of the rule `number` of a machine file, counted from 0; `formula` is its latency there."""

    number: int
    scope: str
    preceding: str
    following: str
    formula: str
    cycles: int
    window: int = 1


class Described:
    """What a machine file says about its commands, without the simulator's tables."""

    def __init__(self, name: str) -> None:
        machine = load_machine(name)
        part = machine.near_bank or machine.dram
        assert part is not None
        self.part: NearBank | DramDevice = part
        self._rules = (*part.spacing_rules, *part.additional_rules)
        self.pairs = tuple(
            Pair(number, each.scope, each.preceding, each.following, rule.latency, each.cycles, *each[4:])
            for number, rule in enumerate(self._rules)
            for each in part.resolve((rule,))
        )

    @property
    def rules(self) -> int:
        return len(self._rules)

    @property
    def banks_per_group(self) -> int:
        return self.span("bankgroup")

    @property
    def levels(self) -> tuple[str, ...]:
        if isinstance(self.part, DramDevice):
            return self.part.level_names
        return ("channel", "bankgroup", "bank")

    @property
    def banks(self) -> int:
        return self.part.banks

    def span(self, level: str) -> int:
        if isinstance(self.part, DramDevice):
            return self.part.span(level)
        return {"channel": self.part.banks, "bankgroup": self.part.banks_per_group, "bank": 1}[level]

    def checked_to(self, command: str) -> int:
        """The deepest level whose rules bind a command."""
        if isinstance(self.part, DramDevice):
            return self.levels.index(self.part.commands[command].checked_to)
        return command_scope(command)

    def reached(self, command: str) -> list[int]:
        """Banks that a command addressed to bank 0 reaches."""
        if isinstance(self.part, DramDevice):
            found = self.part.commands[command]
            return list(range(0, self.part.span(found.within), self.part.span(found.each) if found.each else 1))
        return list(range({BANK: 1, GROUP: self.part.banks_per_group}.get(command_scope(command), self.part.banks)))

    def applies(self, pair: Pair, bank: int) -> bool:
        """Whether a rule is looked at when its commands are addressed to bank 0 and to `bank`."""
        span = self.span(pair.scope)
        nodes = {reached // span for reached in self.reached(pair.preceding)}
        return self.levels.index(pair.scope) <= self.checked_to(pair.following) and bank // span in nodes

    def hides(self, other: Pair, pair: Pair, bank: int) -> bool:
        """Whether `other` makes the commands of `pair` wait longer there, or as long and stands before it."""
        if (other.preceding, other.following, other.window) != (pair.preceding, pair.following, 1):
            return False
        return self.applies(other, bank) and (-other.cycles, other.number) < (-pair.cycles, pair.number)

    def place(self, pair: Pair) -> int | None:
        """The first bank at which the rule decides; `None` where others always do, or it never counts."""
        for bank in range(self.banks):
            is_hidden = any(self.hides(other, pair, bank) for other in self.pairs)
            if pair.cycles > 1 and self.applies(pair, bank) and not is_hidden:
                return bank
        return None

    def reason(self, pair: Pair) -> str:
        """Why a rule never decides."""
        if pair.cycles <= 1:
            return "one command a cycle"
        banks = [bank for bank in range(self.banks) if self.applies(pair, bank)]
        if not banks:
            return f"{pair.following} is checked at the {self.levels[self.checked_to(pair.following)]} only"
        hiding = [other for other in self.pairs if self.hides(other, pair, banks[-1])]
        longest = max(hiding, key=lambda other: (other.cycles, -other.number))
        return f"hidden by {longest.scope} {longest.formula} = {longest.cycles}"

    def timing(self, numbers: Iterable[int], channels: int) -> CommandTiming:
        """Channels that know only the rules of these numbers."""
        rules = tuple(self._rules[number] for number in numbers)
        chosen = self.part.model_copy(update={"spacing_rules": rules, "additional_rules": ()})
        vars(chosen).pop("spacings", None)  # remembered for the rules of the file
        kind = DeviceTiming if isinstance(chosen, DramDevice) else CommandTiming
        return kind(chosen, channels)


def different_rules() -> dict[str, Described]:
    """Descriptions of the bundled machines by name; machines with the same rules share one, under all their names."""
    found: list[tuple[list[str], Described]] = []
    for name in FILES:
        described = Described(name)
        for names, earlier in found:
            if described.pairs == earlier.pairs:
                names.append(name)
                break
        else:
            found.append(([name], described))
    return {", ".join(names): described for names, described in found}


def hidden_rules() -> str:
    """The rules, or their pairs of commands, that never decide when a command may issue, by machine."""
    lines: list[str] = []
    for name, described in different_rules().items():
        found: dict[tuple[int, str], list[Pair]] = defaultdict(list)
        for pair in described.pairs:
            if described.place(pair) is None:
                found[pair.number, described.reason(pair)].append(pair)
        hidden = sum(map(len, found.values()))
        lines.append(f"{name}: {hidden} of {len(described.pairs)} pairs of commands")
        for (_, reason), pairs in found.items():
            first, names = pairs[0], " ".join(f"{pair.preceding}-{pair.following}" for pair in pairs)
            lines.append(f"  {first.scope} {first.formula} = {first.cycles}; {reason}; {names}")
    return "\n".join(lines) + "\n"
