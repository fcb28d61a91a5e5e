"""Compiled reader of AiM simulator traces: the lines that are plainly right; it stops at all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import uint8
from numpy.typing import NDArray

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, PAIR, TABLE, compiled, compiled_with_arrays, inlined
from pimc.simulator.dram.tables import COMMAND_INDEX
from pimc.simulator.traces.aim.text import (
    ACTIVATION_FUNCTION_REGISTER,
    ACTIVATION_ROW,
    AIM_OPCODES,
    MEMORY_FIELDS,
    NO_COMMAND,
    field_limits,
)

if TYPE_CHECKING:
    from isa import NearBank

_TEXT: Any = uint8[::1]

FIELDS = ("register", "mask", "bank", "row", "count", "channel", "address", "value")
_REGISTER, _MASK, _BANK, _ROW, _COUNT, _CHANNEL, _ADDRESS, _VALUE = range(8)
_MOST_FIELDS = 4
# A spelling: hash of the words, command, whether it is AF, SYNC or EOC (all channels), W CFR; number of fields, fields.
_HASH, _COMMAND, _KIND, _FIELD_COUNT, _FIRST_FIELD = range(5)
_PLAIN, _ALL_CHANNELS, _ACTIVATION, _CONFIGURATION = range(4)
_SPACE, _TAB, _COMMA, _RETURN, _NEWLINE, _COMMENT = 32, 9, 44, 13, 10, 35
_END = COMMAND_INDEX["EOC"]
_HASH_FACTOR = 1_000_003
_HASH_LIMIT = 1 << 40

# Position of the reader: next byte, number of the next line, lines decoded, activation function.
OFFSET, NUMBER, DECODED, FUNCTION = range(4)
POSITION = 4


def _hash_of(words: str) -> int:
    value = 0
    for byte in words.encode():
        value = (value * _HASH_FACTOR + byte) % _HASH_LIMIT
    return value


def spelling_table() -> NDArray[np.int64]:
    """Every beginning of a line that the kernel knows, one row each."""
    rows: list[list[int]] = []
    for opcode, (command, names) in AIM_OPCODES.items():
        number = NO_COMMAND if command is None else COMMAND_INDEX[command]
        kind = _ACTIVATION if opcode == "AF" else _PLAIN if "mask" in names or command is None else _ALL_CHANNELS
        rows += [_spelling(f"AiM {prefix}{opcode}", number, kind, names) for prefix in ("", "ISR_")]
    for region, names in MEMORY_FIELDS.items():
        for letter, command in (("R", "RD"), ("W", "WR")):
            number = COMMAND_INDEX[command] if region == "MEM" else NO_COMMAND
            kind = _CONFIGURATION if (letter, region) == ("W", "CFR") else _PLAIN
            rows.append(_spelling(f"{letter} {region}", number, kind, names))
    return np.array(rows, dtype=np.int64)


def _spelling(words: str, command: int, kind: int, names: tuple[str, ...]) -> list[int]:
    fields = [FIELDS.index(name) for name in names]
    return [_hash_of(words), command, kind, len(fields), *fields, *[0] * (_MOST_FIELDS - len(fields))]


def limit_table(near_bank: NearBank) -> NDArray[np.int64]:
    """The first number that is too large, for each of `FIELDS`."""
    limits = field_limits(near_bank)
    return np.array([limits.get(name, 1 << 32) for name in FIELDS], dtype=np.int64)


@inlined
def _is_blank(byte: int) -> bool:
    return byte in (_SPACE, _TAB, _COMMA, _RETURN)


@inlined
def _is_end(byte: int) -> bool:
    return byte in (_NEWLINE, _COMMENT)


@inlined
def _skip_blanks(text: Any, at: int) -> int:
    while at < text.size and _is_blank(text[at]):
        at += 1
    return at


@inlined
def _skip_line(text: Any, at: int) -> int:
    while at < text.size and text[at] != _NEWLINE:
        at += 1
    return at + 1


@compiled(PAIR, _TEXT, INTEGER)
def _words(text: Any, at: int) -> tuple[int, int]:
    """Hash of the next two words with a space between them, and the place behind them."""
    value = 0
    for word in range(2):
        at = _skip_blanks(text, at)
        if word and value:
            value = (value * _HASH_FACTOR + _SPACE) % _HASH_LIMIT
        while at < text.size and not _is_blank(text[at]) and not _is_end(text[at]):
            value = (value * _HASH_FACTOR + text[at]) % _HASH_LIMIT
            at += 1
    return value, at


@compiled(PAIR, _TEXT, INTEGER)
def _number(text: Any, at: int) -> tuple[int, int]:
    """The number of 32 bits that begins at a place, and the place behind it; -1 when there is none."""
    base = 10
    if at + 1 < text.size and text[at] == 48 and text[at + 1] in (88, 120):
        base, at = 16, at + 2
    value, first = 0, at
    while at < text.size and not _is_blank(text[at]) and not _is_end(text[at]):
        digit = text[at] - 48
        if base == 16 and digit > 9:
            digit = (text[at] | 32) - 87
            digit = 99 if digit < 10 else digit
        if not 0 <= digit < base or value >> 32:
            return -1, at
        value = value * base + digit
        at += 1
    return (-1 if at == first or value >> 32 else value), at


@compiled(INTEGER, _TEXT, INTEGER, CYCLES, CYCLES, CYCLES)
def _fields(text: Any, at: int, spelling: Any, limits: Any, values: Any) -> int:
    """Read the fields of a line into `values`; the place of the next line, or -1 when something is not right."""
    for index in range(spelling[_FIELD_COUNT]):
        at = _skip_blanks(text, at)
        field = spelling[_FIRST_FIELD + index]
        values[field], at = _number(text, at)
        if not 0 <= values[field] < limits[field] or (field == _MASK and values[field] == 0):
            return -1
    at = _skip_blanks(text, at)
    if at < text.size and not _is_end(text[at]):
        return -1
    return _skip_line(text, at)


@inlined
def _reversed_mask(mask: int, channels: int) -> int:
    turned = 0
    for _ in range(channels):
        turned = turned << 1 | (mask & 1)
        mask >>= 1
    return turned


@compiled_with_arrays(FLAG, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER)
def _decode(spelling: Any, values: Any, position: Any, line: Any, channels: int) -> bool:
    """Store a line in the table; true when it ends the trace."""
    command, kind = spelling[_COMMAND], spelling[_KIND]
    if kind == _CONFIGURATION and values[_ADDRESS] == ACTIVATION_FUNCTION_REGISTER:
        position[FUNCTION] = values[_VALUE]
    line[0] = command
    for index in range(1, 5):
        line[index] = 0
    if command == NO_COMMAND:
        return False
    names = [False] * len(FIELDS)
    for index in range(spelling[_FIELD_COUNT]):
        names[spelling[_FIRST_FIELD + index]] = True
    line[1] = values[_COUNT] if names[_COUNT] else 1
    line[2] = (1 << channels) - 1
    if names[_MASK]:
        line[2] = _reversed_mask(values[_MASK], channels)
    elif names[_CHANNEL]:
        line[2] = 1 << values[_CHANNEL]
    line[3] = values[_BANK] if names[_BANK] else 0
    line[4] = values[_ROW] if names[_ROW] else 0
    if kind == _ACTIVATION:
        line[4] = ACTIVATION_ROW + position[FUNCTION]
    return bool(command == _END)


@compiled_with_arrays(FLAG, _TEXT, TABLE, CYCLES, INTEGER, CYCLES, TABLE)
def read_lines(text: Any, spellings: Any, limits: Any, channels: int, position: Any, lines: Any) -> bool:
    """Decode lines up to EOC, to the end of the text, or to one that needs a closer look.

    Args:
        text: The trace.
        spellings: As `spelling_table`.
        limits: As `limit_table`.
        channels: Channels of the machine.
        position: Where to begin; afterwards the line that was not decoded, or the end.
        lines: [as many as the text has, 5], filled.

    Returns:
        Whether EOC was decoded.
    """
    values = np.zeros(len(FIELDS), dtype=np.int64)
    while position[OFFSET] < text.size:
        at = _skip_blanks(text, position[OFFSET])
        if at >= text.size or _is_end(text[at]):
            position[OFFSET] = _skip_line(text, at)
            position[NUMBER] += 1
            continue
        words, at = _words(text, at)
        known = 0
        while known < spellings.shape[0] and spellings[known, _HASH] != words:
            known += 1
        behind = -1
        if known < spellings.shape[0]:
            behind = _fields(text, at, spellings[known], limits, values)
        if behind < 0:
            return False
        ends = _decode(spellings[known], values, position, lines[position[DECODED]], channels)
        position[OFFSET] = behind
        position[NUMBER] += 1
        position[DECODED] += 1
        if ends:
            return True
    return False
