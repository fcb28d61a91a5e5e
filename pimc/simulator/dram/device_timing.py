"""Command timing of DRAM devices that the machine file describes command by command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pimc.simulator.dram.command_timing import CommandTiming
from pimc.simulator.dram.layout import (
    ALL_CLOSED,
    ANY_ROW,
    CLOSES,
    COLUMN_BUS,
    NEVER,
    NO_BUS,
    NO_EFFECT,
    OPENS,
    ROW_BUS,
    ROW_OPEN,
    CommandFacts,
    CommandTables,
    Reach,
    build_tables,
)

if TYPE_CHECKING:
    from isa import DramDevice

_EFFECTS = {"open": OPENS, "close": CLOSES, "none": NO_EFFECT}
_NEEDS = {"nothing": ANY_ROW, "open": ROW_OPEN, "closed": ALL_CLOSED}
_BUSES = {"row": ROW_BUS, "column": COLUMN_BUS, "none": NO_BUS}


def _reach(device: DramDevice, within: str, each: str | None) -> Reach:
    return Reach(outer=device.span(within), inner=1 if each is None else device.span(each))


def _command_facts(device: DramDevice) -> Iterable[tuple[str, CommandFacts]]:
    for name, command in device.commands.items():
        reach = _reach(device, command.within, command.each)
        yield (
            name,
            CommandFacts(
                scope=device.level_names.index(command.checked_to),
                reach=reach,
                effect=_EFFECTS[command.effect],
                need=_NEEDS[command.needs],
                need_reach=reach if command.needs_within is None else _reach(device, command.needs_within, None),
                opener=command.opener,
                closer=command.closer,
                completion=device.cycles(command.completion),
                bus=_BUSES[command.bus],
            ),
        )


def device_tables(device: DramDevice, published_rules_only: bool) -> CommandTables:
    """The tables of `device` under its published spacing rules, or under all of its rules.

    Refreshes are the matter of the device's controller: the tables say when they are legal, not when they are due.
    """
    rules = device.spacing_rules if published_rules_only else (*device.spacing_rules, *device.additional_rules)
    levels = device.level_names
    head = [device.span(levels[-2]), device.banks, device.columns_per_row, NEVER, 0, 0, 0, 0, 0]
    return build_tables(
        dict(_command_facts(device)),
        [device.nodes[level] for level in levels],
        [(levels.index(rule.scope), *rule[1:]) for rule in device.resolve(rules)],
        head,
    )


class DeviceTiming(CommandTiming):
    """The state of some channels of a device, one command at a time; see `CommandTiming`.

    A bank group is numbered through the channel.
    """

    def __init__(self, device: DramDevice, channels: int = 1, published_rules_only: bool = False) -> None:
        tables = device_tables(device, published_rules_only)
        self._start(tables, device.span(device.level_names[-2]), channels)
