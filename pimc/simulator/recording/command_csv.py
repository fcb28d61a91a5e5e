"""Commands as comma-separated text, put together by numpy because Python is too slow for a million lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pimc.simulator.dram.tables import COMMANDS
from pimc.simulator.recording.command_log import NONE, CommandEvents

HEADER = "cycle,channel,command,bank_group,bank,row,column,node"
_CHUNK = 1 << 17  # rows that are put together at once
_COMMA, _NEWLINE, _ZERO = 44, 10, 48

_Cells = tuple[NDArray[np.uint8], NDArray[np.bool_]]
"""Bytes [rows, width], and which of them count."""


def write_csv(file: BinaryIO, events: CommandEvents, banks_per_group: int) -> None:
    """Write `HEADER` and a line for every command; a field without a value is empty.

    Args:
        file: Open for writing.
        events: The commands.
        banks_per_group: Splits the bank of a channel into bank group and bank.
    """
    file.write(HEADER.encode() + b"\n")
    group = np.where(events.bank == NONE, NONE, events.bank // banks_per_group)
    bank = np.where(events.bank == NONE, NONE, events.bank % banks_per_group)
    numbers = (events.cycle, events.channel, group, bank, events.row, events.column)
    for start in range(0, events.cycle.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        cycle, channel, *places = (_digits(values[part]) for values in numbers)
        command = _texts(COMMANDS, events.command[part])
        node = _texts([quoted(name) for name in events.nodes], events.node[part])
        file.write(_joined([cycle, channel, command, *places, node]))


def quoted(text: str) -> str:
    """A field as RFC 4180 has it: in quotes when it holds a separator."""
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _digits(values: NDArray[np.int64]) -> _Cells:
    """Decimal digits without leading zeros; nothing for negative values."""
    largest = max(int(values.max(initial=0)), 0)
    width = len(str(largest))
    rest: NDArray[Any] = np.maximum(values, 0).astype(np.uint32 if largest < 1 << 32 else np.uint64)
    cells = np.empty((values.size, width), np.uint8)
    counts = np.empty((values.size, width), np.bool_)
    for place in range(width - 1, -1, -1):
        counts[:, place] = rest > 0
        rest, digit = np.divmod(rest, rest.dtype.type(10))
        cells[:, place] = digit + _ZERO
    counts[:, -1] = True
    counts[values < 0] = False
    return cells, counts


def _texts(names: Sequence[str], index: NDArray[np.int64]) -> _Cells:
    encoded = [name.encode() for name in names] or [b""]
    width = max(1, *(len(name) for name in encoded)) if encoded else 1
    table = np.zeros((len(encoded) + 1, width), np.uint8)
    for row, name in enumerate(encoded):
        table[row, : len(name)] = np.frombuffer(name, np.uint8)
    lengths = np.array([len(name) for name in encoded] + [0])
    return table[index], np.arange(width) < lengths[index][:, None]


def _joined(fields: list[_Cells]) -> bytes:
    """All fields with commas between them and a newline behind the last."""
    rows = fields[0][0].shape[0]
    last = len(fields) - 1
    cells = list(_with_separators(fields, rows, last))
    text = np.concatenate([cell for cell, _ in cells], axis=1)
    counts = np.concatenate([count for _, count in cells], axis=1)
    return bytes(text[counts].tobytes())


def _with_separators(fields: list[_Cells], rows: int, last: int) -> Iterator[_Cells]:
    for number, field in enumerate(fields):
        yield field
        mark = _NEWLINE if number == last else _COMMA
        yield np.full((rows, 1), mark, np.uint8), np.ones((rows, 1), np.bool_)
