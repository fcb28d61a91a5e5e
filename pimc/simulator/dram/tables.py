"""Commands of a channel with compute units at its banks, and the tables of its timing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from isa import MachineError
from pimc.simulator.dram.layout import (
    ALL_CLOSED,
    ANY_ROW,
    CLOSES,
    NEVER,
    NO_EFFECT,
    OPENS,
    REFRESHES,
    ROW_OPEN,
    SWITCHES_MODE,
    CommandFacts,
    CommandTables,
    Reach,
    build_tables,
)

if TYPE_CHECKING:
    from isa import NearBank

# fmt: off
COMMANDS: tuple[str, ...] = (
    "ACT", "PREA", "PRE", "RD", "WR", "RDA", "WRA", "REFab", "REFpb", "ACT4", "ACT16", "PRE4", "MAC", "MAC16", "AF16",
    "EWMUL16", "RDCP", "WRCP", "WRGB", "RDMAC16", "RDAF16", "WRMAC16", "WRA16", "TMOD", "SYNC", "EOC",
)
(
    ACT, PREA, PRE, RD, WR, RDA, WRA, REFab, REFpb, ACT4, ACT16, PRE4, MAC, MAC16, AF16,
    EWMUL16, RDCP, WRCP, WRGB, RDMAC16, RDAF16, WRMAC16, WRA16, TMOD, SYNC, EOC,
) = range(26)
# fmt: on
COMMAND_COUNT = len(COMMANDS)
COMMAND_INDEX = {name: index for index, name in enumerate(COMMANDS)}

COUNTERS = COMMAND_COUNT + 1
OPEN_CYCLES = COMMAND_COUNT
"""Counters are the commands, then the cycles of all channels in which a row was open."""

CHANNEL, GROUP, BANK = 0, 1, 2  # levels

POSTPONED_REFRESHES = 8
"""Refreshes that a channel may owe, as JEDEC allows for DDR4 (JESD79-4) and GDDR5."""

_BANK_COMMANDS = ("ACT", "PRE", "RD", "WR", "RDA", "WRA", "REFpb", "MAC", "RDCP", "WRCP")
_GROUP_COMMANDS = ("ACT4", "PRE4")
_REGISTER_COMMANDS = ("WRGB", "RDMAC16", "RDAF16", "WRMAC16")
_EFFECTS = {
    **dict.fromkeys(("ACT", "ACT4", "ACT16"), OPENS),
    **dict.fromkeys(("PRE", "PRE4", "PREA", "RDA", "WRA", "WRA16"), CLOSES),
    "TMOD": SWITCHES_MODE,
    "REFab": REFRESHES,
    "REFpb": REFRESHES,
}
_NEED_ROW_IN_BANK = ("RD", "WR", "RDA", "WRA", "MAC", "RDCP", "WRCP")
_NEED_ROW_IN_ALL_BANKS = ("MAC16", "AF16", "EWMUL16", "WRA16")
_SCOPES = {"channel": CHANNEL, "bankgroup": GROUP, "bank": BANK}

Spacing = tuple[str, str, str, int]
"""A spacing rule between one pair of commands: scope, preceding, following, cycles."""


def completion_cycles(near_bank: NearBank) -> dict[str, int]:
    """Cycles from the issue of a command to the arrival of its data; 1 for commands that move none.

    Reads end after their latency and burst, writes likewise; WRA16 ends when its rows are closed again.
    """
    timing = near_bank.timing
    after = dict.fromkeys(COMMANDS, 1)
    after["RD"] = after["RDA"] = timing.nCL + timing.nBL
    after["WR"] = after["WRA"] = timing.nCWL + timing.nBL
    after["WRA16"] = timing.nCWL + timing.nBL + timing.nRP
    after["WRGB"] = timing.nCWLGB + timing.nBL
    after["WRMAC16"] = timing.nCWLREG + timing.nBL
    after["RDMAC16"] = after["RDAF16"] = timing.nCLREG + timing.nBL
    return after


def command_scope(name: str) -> int:
    """What a command addresses: `CHANNEL`, `GROUP` or `BANK`."""
    if name in _BANK_COMMANDS:
        return BANK
    return GROUP if name in _GROUP_COMMANDS else CHANNEL


def _command_facts(near_bank: NearBank) -> dict[str, CommandFacts]:
    every = Reach(outer=near_bank.banks)
    reaches = {CHANNEL: every, GROUP: Reach(outer=near_bank.banks_per_group), BANK: Reach()}
    completion = completion_cycles(near_bank)
    return {
        name: CommandFacts(
            scope=command_scope(name),
            reach=reaches[command_scope(name)],
            effect=_EFFECTS.get(name, NO_EFFECT),
            need=_need(name),
            need_reach=every if name in _NEED_ROW_IN_ALL_BANKS else Reach(),
            opener="ACT16" if name in _NEED_ROW_IN_ALL_BANKS else "ACT",
            closer="PREA" if name in _NEED_ROW_IN_ALL_BANKS else "PRE",
            register_mode=name in _REGISTER_COMMANDS,
            completion=completion[name],
        )
        for name in COMMANDS
    }


def _need(name: str) -> int:
    if name == "REFpb":
        return ALL_CLOSED
    return ROW_OPEN if name in _NEED_ROW_IN_BANK + _NEED_ROW_IN_ALL_BANKS else ANY_ROW


def command_tables(
    near_bank: NearBank, spacings: Iterable[Spacing], refresh: bool, shortcut: bool = True
) -> CommandTables:
    """The tables of `near_bank` under the given spacing rules.

    Raises:
        MachineError: refreshes of single banks come too often.

    Args:
        near_bank: Organisation and timing.
        spacings: Rules in cycles.
        refresh: Whether rows are refreshed every nREFI, all at once or bank by bank as the machine says.
        shortcut: Whether regular runs of a command are computed in closed form; the cycles are the same.
    """
    timing = near_bank.timing
    by_bank = near_bank.refresh.mode == "per_bank"
    interval = timing.nREFI // (near_bank.banks if by_bank else 1) if refresh else NEVER
    if interval <= timing.nRFCpb + timing.nRP + timing.nRCDRDAF and by_bank:
        raise MachineError(
            "refreshes of single banks leave no time to open a row",
            notes=[f"one of {near_bank.banks} banks is refreshed every {interval} cycles"],
            help="refresh all banks at once (mode: all_bank), or let nREFI be longer",
        )
    slack = POSTPONED_REFRESHES * timing.nREFI if refresh else 0
    masked = int(near_bank.write_mask == "lane")
    head = [near_bank.banks_per_group, near_bank.banks, near_bank.columns_per_row]
    head += [interval, slack, timing.nRC, masked, int(shortcut), int(by_bank)]
    rules = [(_SCOPES[scope], preceding, following, cycles, 1) for scope, preceding, following, cycles in spacings]
    return build_tables(_command_facts(near_bank), (1, near_bank.bank_groups, near_bank.banks), rules, head)
