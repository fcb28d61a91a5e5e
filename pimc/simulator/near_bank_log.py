"""How commands of near-bank channels are logged, and the work of a trace that they follow from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pimc.simulator.aim_channel_kernels import COMMAND, COUNT, MASK, NO_COMMAND
from pimc.simulator.command_log import ChannelWork, Integers, LogFormat
from pimc.simulator.dram_tables import BANK, COMMAND_INDEX, COMMANDS, command_scope

if TYPE_CHECKING:
    from isa import NearBank

_REGISTER_COMMANDS = ("WRGB", "WRMAC16", "RDMAC16", "RDAF16")
_IN_ORDER = (*_REGISTER_COMMANDS, "MAC", "MAC16", "AF16", "EWMUL16", "RDCP", "WRCP", "WRA16")
_CONVENTIONAL = ("RD", "WR")
_BY_BANK = ("ACT", "PRE", *_CONVENTIONAL)
_OPENING = ("ACT", "ACT4", "ACT16")


def near_bank_log_format(near_bank: NearBank, in_order: bool = True) -> LogFormat:
    """The format of logs of a near-bank unit.

    Args:
        near_bank: Its organisation.
        in_order: Whether conventional reads and writes go in the order of the work too; else they cannot be told apart.
    """
    columns = (*_IN_ORDER, *_CONVENTIONAL) if in_order else _IN_ORDER
    rows = (*_OPENING, *(name for name in (*_IN_ORDER, *_CONVENTIONAL) if name not in _REGISTER_COMMANDS))
    return LogFormat(
        channels=near_bank.channels,
        columns_per_row=near_bank.columns_per_row,
        bank_commands=frozenset(index for index, name in enumerate(COMMANDS) if command_scope(name) == BANK),
        row_commands=frozenset(COMMAND_INDEX[name] for name in rows),
        column_commands=frozenset(COMMAND_INDEX[name] for name in columns),
        anonymous_commands=frozenset(COMMAND_INDEX[name] for name in _BY_BANK if not in_order),
    )


def trace_work(lines: Integers) -> ChannelWork:
    """Work of a decoded trace; nodes are the numbers of the instructions, from 1.

    Args:
        lines: As `AimTrace.lines`.
    """
    given = np.flatnonzero(lines[:, COMMAND] != NO_COMMAND)
    zeros, ones = np.zeros(given.size, np.int64), np.ones(given.size, np.int64)
    return ChannelWork(
        command=lines[given, COMMAND],
        mask=lines[given, MASK],
        first=zeros,
        columns=lines[given, COUNT],
        ranges=ones,
        stride=zeros,
        step=ones,
        node=given,
        nodes=tuple(f"instruction {number}" for number in range(1, lines.shape[0] + 1)),
    )
