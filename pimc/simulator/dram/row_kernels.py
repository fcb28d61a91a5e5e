"""Compiled closed form of regular sweeps: the same command, equally often, in one row after the other.

When a row begins in the state in which the row before it began, moved on in time, then all that follow take as long, up
to the next refresh. What such a row does is remembered, so that the next sweep of the kind needs no rows to learn it
from. Only commands of whole channels are swept so; what binds them is the channel's own level.
"""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, compiled, inlined
from pimc.simulator.dram.layout import (
    BANKS,
    CLOCK,
    CLOSER,
    COMMAND_TOTAL,
    FACT_COUNT,
    FACTS,
    FIRST_GROUP,
    GROUP_WIDTH,
    LAST_GROUP,
    LEVEL_FIRST,
    NEED_OUTER,
    OPEN_BANKS,
    OPEN_ROWS,
    OPEN_SINCE,
    OPENER,
    REFRESH_DUE,
    REGISTER_MODE,
    ROW_EFFECT,
    RULE_WIDTH,
    SCOPE,
    SHORTCUT,
    WEIGHT,
)

# A mark is how a row begins: clock, refresh due, since when the row before it is open, mode; then the counters, then
# the channel's earliest cycles.
# A pattern is what a regular row does: its command and how often it is issued (0: nothing is known), its length, for
# how long the row before it is open when it begins, mode; then what it adds to the counters for each channel, the
# earliest cycles when it begins, and those when it ends, relative to the clock; `_UNMOVED` when it does not move them.
_CLOCK, _DUE, _SINCE, _MODE = range(4)
_MARK_COUNTERS = 4
_COMMAND, _COUNT, _PERIOD, _OPEN_FOR, _PATTERN_MODE = range(5)
_PATTERN_COUNTERS = 5
_UNMOVED = 1 << 61

_MOST_COMMANDS = 64
MARK = _MARK_COUNTERS + 2 * _MOST_COMMANDS + 1
_PATTERN = _PATTERN_COUNTERS + 3 * _MOST_COMMANDS + 1
_PATTERNS = 64
MEMORY = MARK + _PATTERNS * _PATTERN
"""Values of a memory of patterns: a mark, then the patterns by `slot`. It begins with zeros."""


@inlined
def slot(command: int, count: int) -> int:
    """Place of the pattern of `count` commands a row in the memory."""
    return MARK + _PATTERN * ((count * 5 + command) % _PATTERNS)


@compiled(FLAG, CYCLES, INTEGER)
def _is_of_channel(tables: Any, command: int) -> bool:
    """Whether a command is bound at the channel's own level only, by rules that look back one command."""
    fact = FACTS + FACT_COUNT * command
    for group in range(tables[fact + FIRST_GROUP], tables[fact + LAST_GROUP], GROUP_WIDTH):
        for rule in range(tables[group + 2], tables[group + 3], RULE_WIDTH):
            if tables[rule + 2] > 1:
                return False
    return bool(tables[fact + SCOPE] == 0)


@compiled(FLAG, CYCLES, CYCLES, CYCLES, INTEGER, INTEGER)
def is_regular(tables: Any, counters: Any, memory: Any, command: int, count: int) -> bool:
    """Whether sweeps of `count` commands a row have a closed form; a log needs every row."""
    fact, total = FACTS + FACT_COUNT * command, tables[COMMAND_TOTAL]
    if not tables[SHORTCUT] or counters.size > total + 1 or count == 0:
        return False
    place = slot(command, count)
    if memory[place + _COUNT] == count and memory[place + _COMMAND] == command:
        return True
    opener, closer = tables[fact + OPENER], tables[fact + CLOSER]
    if total > _MOST_COMMANDS or tables[fact + ROW_EFFECT] != 0 or opener < 0 or closer < 0:
        return False
    if tables[fact + NEED_OUTER] != tables[BANKS]:
        return False
    return _is_of_channel(tables, command) and _is_of_channel(tables, opener) and _is_of_channel(tables, closer)


@inlined
def _is_one_row_open(state: Any, banks: int) -> bool:
    """Whether the same row is open in all banks."""
    same = state[OPEN_BANKS] == banks
    for bank in range(1, banks):
        same &= state[OPEN_ROWS + bank] == state[OPEN_ROWS]
    return bool(same)


@compiled(NOTHING, CYCLES, CYCLES, CYCLES, CYCLES)
def set_mark(state: Any, tables: Any, counters: Any, memory: Any) -> None:
    """Remember the state in which a row begins."""
    memory[_CLOCK], memory[_DUE] = state[CLOCK], state[REFRESH_DUE]
    memory[_SINCE], memory[_MODE] = state[OPEN_SINCE], state[REGISTER_MODE]
    if not _is_one_row_open(state, tables[BANKS]):
        memory[_DUE] = -1  # differs from what comes, so nothing is learnt from this row
    total, first = tables[COMMAND_TOTAL], tables[LEVEL_FIRST]
    for index in range(total + 1):
        memory[_MARK_COUNTERS + index] = counters[index]
    for index in range(total):
        memory[_MARK_COUNTERS + total + 1 + index] = state[first + index]


@compiled(FLAG, CYCLES, CYCLES, CYCLES)
def _recurs(state: Any, tables: Any, memory: Any) -> bool:
    """Whether the next row begins as the latest one did."""
    earlier, now = memory[_CLOCK], state[CLOCK]
    if memory[_DUE] != state[REFRESH_DUE] or memory[_MODE] != state[REGISTER_MODE]:
        return False
    if earlier - memory[_SINCE] != now - state[OPEN_SINCE]:
        return False
    times, first = _MARK_COUNTERS + tables[COMMAND_TOTAL] + 1, tables[LEVEL_FIRST]
    for index in range(tables[COMMAND_TOTAL]):
        if max(state[first + index] - now, 0) != max(memory[times + index] - earlier, 0):
            return False
    return True


@compiled(NOTHING, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER, INTEGER)
def learn(state: Any, tables: Any, counters: Any, memory: Any, command: int, count: int) -> None:
    """Remember what the latest row did, if the next one will do the same."""
    if not _recurs(state, tables, memory):
        return
    place = slot(command, count)
    memory[place + _COMMAND], memory[place + _COUNT] = command, count
    memory[place + _PERIOD] = state[CLOCK] - memory[_CLOCK]
    memory[place + _OPEN_FOR] = state[CLOCK] - state[OPEN_SINCE]
    memory[place + _PATTERN_MODE] = state[REGISTER_MODE]
    total, first = tables[COMMAND_TOTAL], tables[LEVEL_FIRST]
    place += _PATTERN_COUNTERS
    for index in range(total + 1):
        memory[place + index] = (counters[index] - memory[_MARK_COUNTERS + index]) // state[WEIGHT]
    place += total + 1
    for index in range(total):
        cycle = state[first + index]
        moved = cycle != memory[_MARK_COUNTERS + total + 1 + index]
        memory[place + index] = max(cycle - state[CLOCK], 0)
        memory[place + total + index] = cycle - state[CLOCK] if moved else _UNMOVED


@compiled(FLAG, CYCLES, CYCLES, CYCLES, INTEGER)
def _begins_as(state: Any, tables: Any, memory: Any, place: int) -> bool:
    """Whether a row begins as the rows of a pattern do."""
    now = state[CLOCK]
    if memory[place + _OPEN_FOR] != now - state[OPEN_SINCE] or memory[place + _PATTERN_MODE] != state[REGISTER_MODE]:
        return False
    times, first = place + _PATTERN_COUNTERS + tables[COMMAND_TOTAL] + 1, tables[LEVEL_FIRST]
    for index in range(tables[COMMAND_TOTAL]):
        if max(state[first + index] - now, 0) != memory[times + index]:
            return False
    return _is_one_row_open(state, tables[BANKS])


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, CYCLES, *[INTEGER] * 5)
def leap(
    state: Any, tables: Any, counters: Any, memory: Any, command: int, count: int, row: int, step: int, most: int
) -> int:
    """Sweep regular rows at once, up to the next refresh.

    Args:
        state: State of the channel.
        tables: Values of the command tables.
        counters: Incremented.
        memory: Patterns.
        command: Column command.
        count: Commands in a row.
        row: The next row.
        step: From one row to the next.
        most: Rows that are left.

    Returns:
        How many were swept.
    """
    place = slot(command, count)
    if memory[place + _COUNT] != count or memory[place + _COMMAND] != command or state[OPEN_ROWS] == row:
        return 0
    period = memory[place + _PERIOD]
    rows: int = min(most, (state[REFRESH_DUE] - state[CLOCK]) // period)
    if rows <= 0 or not _begins_as(state, tables, memory, place):
        return 0
    state[CLOCK] += rows * period
    state[OPEN_SINCE] += rows * period
    for bank in range(tables[BANKS]):
        state[OPEN_ROWS + bank] = row + (rows - 1) * step
    total, first = tables[COMMAND_TOTAL], tables[LEVEL_FIRST]
    place += _PATTERN_COUNTERS
    for index in range(total + 1):
        counters[index] += rows * memory[place + index] * state[WEIGHT]
    place += 2 * total + 1
    for index in range(total):
        if memory[place + index] != _UNMOVED:
            state[first + index] = max(state[first + index], state[CLOCK] + memory[place + index])
    return rows
