"""DRAM channels with processing units whose commands, levels and command timing are data of the machine file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from isa.formula import parse_formula

_Count = Annotated[int, Field(ge=1)]
_Cycles = Annotated[int, Field(ge=0, le=1_000_000)]
_Names = Annotated[tuple[str, ...], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DeviceCommand(_Part):
    """A command of a channel.

    Attributes:
        bus: Command bus that it occupies.
        checked_to: Deepest level whose spacing rules bind it; a rule of a deeper level never delays it.
        within: It reaches the banks of this level's node around its address: `bank` for the addressed bank alone.
        each: Of these banks only those at the address's place in every node of this level; `None` for all.
        effect: What it does to the rows that it reaches.
        needs: What it needs there: its row open, or every bank closed.
        needs_within: Level whose node the need covers, instead of the banks that it reaches.
        opener: Command that opens the row it needs.
        closer: Command that closes the banks that are in its way.
        completion: Cycles from its issue until its data have arrived, a sum of timing names and integers.
    """

    bus: Literal["row", "column", "none"]
    checked_to: str = "bank"
    within: str = "bank"
    each: str | None = None
    effect: Literal["open", "close", "none"] = "none"
    needs: Literal["open", "closed", "nothing"] = "nothing"
    needs_within: str | None = None
    opener: str | None = None
    closer: str | None = None
    completion: str = "1"


class DeviceSpacingRule(_Part):
    """A following command may issue no earlier than `latency` cycles after a preceding one in the same node.

    Attributes:
        scope: Level of the node.
        preceding: Earlier commands.
        following: Later commands.
        latency: Cycles, as a sum of timing names and integers.
        window: Counted from the window-th last preceding command, the last one by default; 4 for a four-activation
            window.
    """

    scope: str
    preceding: _Names
    following: _Names
    latency: str
    window: Annotated[int, Field(ge=1, le=16)] = 1


class DeviceSpacing(NamedTuple):
    """A spacing rule between one pair of commands, as a number."""

    scope: str
    preceding: str
    following: str
    cycles: int
    window: int


class AttaccController(_Part):
    """The controller of the published AttAcc simulator: two command buses, processing requests in order of readiness.

    Attributes:
        kind: Name of the controller.
        queue_depth: Requests of one kind that a channel holds.
        write_high: Waiting writes from which on they are served before reads.
        write_low: Waiting writes down to which they are.
        refresh: Whether all banks are refreshed every nREFI.
    """

    kind: Literal["attacc_reference"]
    queue_depth: Annotated[int, Field(ge=1, le=1024)]
    write_high: _Count
    write_low: Annotated[int, Field(ge=0)]
    refresh: bool


class ModeSwitch(_Part):
    """A change between single-bank and all-bank mode that happens when rows have been addressed.

    Attributes:
        command: Command that addresses the rows.
        row: The row.
        banks: Banks in which the row must have been addressed, in any order.
    """

    command: str
    row: Annotated[int, Field(ge=0)]
    banks: tuple[int, ...]


class HbmPimController(_Part):
    """The controller of the published HBM-PIM simulator: first-ready requests between barriers, early precharges.

    Attributes:
        kind: Name of the controller.
        transaction_queue_depth: Transactions that a channel holds.
        command_queue_depth: Column commands that a channel holds.
        refresh: Whether the ranks are refreshed every nREFI, one after the other.
        all_bank_banks: In all-bank mode the first so many banks stand for all banks; others cannot be activated.
        enter_all_bank: How all-bank mode begins.
        leave_all_bank: How it ends.
    """

    kind: Literal["hbm_pim_reference"]
    transaction_queue_depth: Annotated[int, Field(ge=1, le=1024)]
    command_queue_depth: Annotated[int, Field(ge=1, le=1024)]
    refresh: bool
    all_bank_banks: _Count
    enter_all_bank: ModeSwitch
    leave_all_bank: ModeSwitch


class PimUnits(_Part):
    """The processing units of a channel.

    Attributes:
        level: One unit at each node of this level, or at every `banks_per_unit` banks.
        banks_per_unit: Banks that share a unit.
        lanes: Elements that a unit takes a column.
        vector_registers: Registers of one column in each of the two register files.
        program_words: Instructions that a unit's program memory holds; 0 without one.
        register_row: Row address that stands for the units' registers, or `None`.
    """

    level: str
    banks_per_unit: _Count
    lanes: _Count
    vector_registers: Annotated[int, Field(ge=0)] = 0
    program_words: Annotated[int, Field(ge=0)] = 0
    register_row: Annotated[int, Field(ge=0)] | None = None


class DramDevice(_Part):
    """A DRAM device with processing units.

    Attributes:
        channels: Channels.
        levels: Nodes of each level below the channel in a node of the level above, from the outside to `bank`.
        rows: Rows of a bank.
        columns_per_row: Columns of a row.
        column_bytes: Bytes of a column.
        units: Processing units.
        controller: Channel controller.
        timing: Command timing in cycles, under the names of the DRAM data sheets with `n` for cycles.
        timing_without_power_limit: Values that replace those of `timing` when the power limit is lifted.
        commands: The command set.
        spacing_rules: Distances between commands, as published.
        additional_rules: Distances that the published rules lack; left out in compatibility runs.
    """

    channels: Annotated[int, Field(ge=1, le=1024)]
    levels: dict[str, _Count]
    rows: _Count
    columns_per_row: _Count
    column_bytes: _Count
    units: PimUnits
    controller: Annotated[AttaccController | HbmPimController, Field(discriminator="kind")]
    timing: dict[str, _Cycles]
    timing_without_power_limit: dict[str, _Cycles] = Field(default_factory=dict[str, int])
    commands: dict[str, DeviceCommand]
    spacing_rules: tuple[DeviceSpacingRule, ...]
    additional_rules: tuple[DeviceSpacingRule, ...] = ()

    @property
    def level_names(self) -> tuple[str, ...]:
        """Levels from the channel to the bank."""
        return ("channel", *self.levels)

    @cached_property
    def nodes(self) -> Mapping[str, int]:
        """Nodes of each level in a channel."""
        counts = {"channel": 1}
        for above, (level, count) in zip(self.level_names, self.levels.items(), strict=False):
            counts[level] = counts[above] * count
        return counts

    @property
    def banks(self) -> int:
        """Banks of a channel."""
        return self.nodes["bank"]

    def span(self, level: str) -> int:
        """Banks of a node of `level`."""
        return self.banks // self.nodes[level]

    def bank_number(self, address: Mapping[str, int]) -> int:
        """Number of a bank in its channel, from its place at each level; levels left out count as 0."""
        return sum(address.get(level, 0) * self.span(level) for level in self.levels)

    def cycles(self, formula: str) -> int:
        """A sum of timing names and integers, worked out."""
        return parse_formula(formula, self.timing).value(SimpleNamespace(**self.timing))

    def without_power_limit(self) -> DramDevice:
        """The device whose units may work as often as the banks allow."""
        return self.model_copy(update={"timing": {**self.timing, **self.timing_without_power_limit}})

    def resolve(self, rules: Iterable[DeviceSpacingRule]) -> tuple[DeviceSpacing, ...]:
        """Each pair of commands of `rules`, in cycles."""
        return tuple(
            DeviceSpacing(rule.scope, preceding, following, self.cycles(rule.latency), rule.window)
            for rule in rules
            for preceding in rule.preceding
            for following in rule.following
        )

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if not self.levels or list(self.levels)[-1] != "bank" or len(self.levels) > 5:
            raise ValueError("levels: up to 5 levels end with 'bank'")
        unknown = [*self._unknown_in_commands(), *self._unknown_in_rules(), *self._unknown_elsewhere()]
        if unknown:
            raise ValueError("; ".join(unknown))
        return self

    def _unknown_in_commands(self) -> Iterable[str]:
        for name, command in self.commands.items():
            levels = (command.checked_to, command.within, command.each, command.needs_within)
            yield from self._unknown(f"commands.{name}", levels, self.level_names, "level")
            yield from self._unknown(f"commands.{name}", (command.opener, command.closer), self.commands, "command")
            yield from self._wrong_formula(f"commands.{name}.completion", command.completion)
            if command.needs != "nothing" and command.closer is None:
                yield f"commands.{name}: a command that needs something names its closer"
            if command.needs == "open" and command.opener is None:
                yield f"commands.{name}: a command that needs an open row names its opener"

    def _unknown_in_rules(self) -> Iterable[str]:
        for key, rules in (("spacing_rules", self.spacing_rules), ("additional_rules", self.additional_rules)):
            for number, rule in enumerate(rules):
                place = f"{key}.{number}"
                yield from self._unknown(place, (rule.scope,), self.level_names, "level")
                yield from self._unknown(place, (*rule.preceding, *rule.following), self.commands, "command")
                yield from self._wrong_formula(place, rule.latency)

    def _unknown_elsewhere(self) -> Iterable[str]:
        yield from self._unknown("units.level", (self.units.level,), self.level_names, "level")
        yield from self._unknown("timing_without_power_limit", self.timing_without_power_limit, self.timing, "timing")
        if isinstance(self.controller, HbmPimController):
            for switch in (self.controller.enter_all_bank, self.controller.leave_all_bank):
                yield from self._unknown("controller", (switch.command,), self.commands, "command")

    @staticmethod
    def _unknown(place: str, names: Iterable[str | None], known: Iterable[str], what: str) -> Iterable[str]:
        allowed = set(known)
        yield from (f"{place}: '{name}' is not a {what}" for name in names if name is not None and name not in allowed)

    def _wrong_formula(self, place: str, formula: str) -> Iterable[str]:
        try:
            parse_formula(formula, self.timing)
        except ValueError as problem:
            yield f"{place}: {problem}"
