"""Commands of a DRAM channel, and the integer tables that the compiled timing kernels read.

A channel's state is one row of 64-bit integers: a header (`CLOCK` to `CLASSES`), the open row of every bank
(`OPEN_ROWS`, -1 for none), then the earliest next cycle of every command: once for the channel, once for each bank
group, once for each bank. `CommandTables.values` holds what never changes: sizes, refresh, one block of facts a
command, spacing rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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

CHANNEL, GROUP, BANK = 0, 1, 2  # scopes
ANY_ROW, OPEN_IN_BANK, OPEN_IN_ALL_BANKS = 0, 1, 2  # rows that a command needs

# Header of a state row: next free command cycle; register mode or not; cycle at which the next refresh is due; banks
# with an open row; cycle since which a row is open; mask and number of channels that the row stands for; rows in use
# (first row only).
CLOCK, REGISTER_MODE, REFRESH_DUE, OPEN_BANKS, OPEN_SINCE, MEMBERS, WEIGHT, CLASSES = range(8)
OPEN_ROWS = 8

# Head of the tables, then `FACTS`: a block of `FACT_COUNT` values for each command.
BANKS_PER_GROUP, BANKS, COLUMNS_PER_ROW, REFRESH_INTERVAL, REFRESH_SLACK, IDLE_CLOSE, MASKED_WRITE, SHORTCUT = range(8)
FACTS = 8
SCOPE, ROW_NEED, NEEDS_REGISTER_MODE, ROW_EFFECT, PERIOD, COMPLETION, FIRST_RULE, LAST_RULE = range(8)
FACT_COUNT = 8

POSTPONED_REFRESHES = 8
"""Refreshes that a channel may owe, as JEDEC allows for DDR4 (JESD79-4) and GDDR5."""

NEVER = 1 << 60
"""A cycle that is never reached."""

_BANK_COMMANDS = ("ACT", "PRE", "RD", "WR", "RDA", "WRA", "REFpb", "MAC", "RDCP", "WRCP")
_GROUP_COMMANDS = ("ACT4", "PRE4")
_REGISTER_COMMANDS = ("WRGB", "RDMAC16", "RDAF16", "WRMAC16")
_OPENING_COMMANDS = ("ACT", "ACT4", "ACT16")
_CLOSING_COMMANDS = ("PRE", "PRE4", "PREA", "RDA", "WRA", "WRA16")
_NEED_ROW_IN_BANK = ("RD", "WR", "RDA", "WRA", "MAC", "RDCP", "WRCP")
_NEED_ROW_IN_ALL_BANKS = ("MAC16", "AF16", "EWMUL16", "WRA16")
_SCOPES = {"channel": CHANNEL, "bankgroup": GROUP, "bank": BANK}

Spacing = tuple[str, str, str, int]
"""A spacing rule between one pair of commands: scope, preceding, following, cycles."""


@dataclass(frozen=True, eq=False)
class CommandTables:
    """What the kernels know about a near-bank unit.

    Attributes:
        values: The table, dtype int64.
        state_width: Values of one state row.
    """

    values: NDArray[np.int64]
    state_width: int


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


def _row_need(name: str) -> int:
    if name in _NEED_ROW_IN_BANK:
        return OPEN_IN_BANK
    return OPEN_IN_ALL_BANKS if name in _NEED_ROW_IN_ALL_BANKS else ANY_ROW


def _row_effect(name: str) -> int:
    if name in _OPENING_COMMANDS:
        return 1
    return -1 if name in _CLOSING_COMMANDS else 0


def _longest(spacings: Iterable[Spacing]) -> dict[str, dict[tuple[int, int], int]]:
    """For each preceding command the largest latency of each (scope, following command)."""
    longest: dict[str, dict[tuple[int, int], int]] = {name: {} for name in COMMANDS}
    for scope, preceding, following, cycles in spacings:
        key = (_SCOPES[scope], COMMAND_INDEX[following])
        rules = longest[preceding]
        rules[key] = max(rules.get(key, 0), cycles)
    return longest


def command_tables(
    near_bank: NearBank, spacings: Iterable[Spacing], refresh: bool, shortcut: bool = True
) -> CommandTables:
    """The tables of `near_bank` under the given spacing rules.

    Args:
        near_bank: Organisation and timing.
        spacings: Rules in cycles.
        refresh: Whether rows are refreshed every nREFI.
        shortcut: Whether regular runs of a command are computed in closed form; the cycles are the same.
    """
    timing = near_bank.timing
    interval = timing.nREFI if refresh else NEVER
    slack = POSTPONED_REFRESHES * timing.nREFI if refresh else 0
    masked = int(near_bank.write_mask == "lane")
    head = [near_bank.banks_per_group, near_bank.banks, near_bank.columns_per_row]
    head += [interval, slack, timing.nRC, masked, int(shortcut)]
    longest = _longest(spacings)
    completion = completion_cycles(near_bank)
    rules: list[int] = []
    facts: list[int] = []
    for index, name in enumerate(COMMANDS):
        first = FACTS + FACT_COUNT * COMMAND_COUNT + len(rules)
        for (scope, following), cycles in sorted(longest[name].items()):
            rules += [scope, following, cycles]
        period = max([1, *(cycles for (_, following), cycles in longest[name].items() if following == index)])
        facts += [command_scope(name), _row_need(name), int(name in _REGISTER_COMMANDS), _row_effect(name), period]
        facts += [completion[name], first, FACTS + FACT_COUNT * COMMAND_COUNT + len(rules)]
    width = OPEN_ROWS + near_bank.banks + COMMAND_COUNT * (1 + near_bank.bank_groups + near_bank.banks)
    return CommandTables(np.array(head + facts + rules, dtype=np.int64), width)


def initial_state(tables: CommandTables, rows: int) -> NDArray[np.int64]:
    """State [rows, state_width] at cycle 0: every bank closed, bank mode, each row stands for one channel."""
    state = np.zeros((rows, tables.state_width), dtype=np.int64)
    state[:, REFRESH_DUE] = tables.values[REFRESH_INTERVAL]
    state[:, OPEN_ROWS : OPEN_ROWS + int(tables.values[BANKS])] = -1
    state[:, WEIGHT] = 1
    return state
