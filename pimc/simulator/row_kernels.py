"""Compiled closed form of regular sweeps: the same command, equally often, in one row after the other.

When a row begins in the state in which the row before it began, moved on in time, then all that follow take as long, up
to the next refresh. Only commands of whole channels are swept so; what binds them is the channel's own level.
"""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, compiled
from pimc.simulator.dram_layout import (
    BANKS,
    CLOCK,
    CLOSER,
    COMMAND_TOTAL,
    FACT_COUNT,
    FACTS,
    FIRST_RULE,
    LAST_RULE,
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
)

# A mark: clock, refresh due, open banks, register mode, row of all banks or -1, since when it is open; then the
# counters, then the channel's earliest cycles.
_CLOCK, _DUE, _OPEN, _MODE, _ROW, _SINCE = range(6)
_COUNTERS = 6


@compiled(INTEGER, CYCLES)
def mark_size(tables: Any) -> int:
    """Values of a mark."""
    size: int = _COUNTERS + 2 * tables[COMMAND_TOTAL] + 1
    return size


@compiled(FLAG, CYCLES, INTEGER)
def _is_of_channel(tables: Any, command: int) -> bool:
    """Whether a command is bound at the channel's own level only, by rules that look back one command."""
    fact = FACTS + FACT_COUNT * command
    for rule in range(tables[fact + FIRST_RULE], tables[fact + LAST_RULE], RULE_WIDTH):
        if tables[rule + 3] > 1:
            return False
    return bool(tables[fact + SCOPE] == 0)


@compiled(FLAG, CYCLES, CYCLES, INTEGER)
def is_regular(tables: Any, counters: Any, command: int) -> bool:
    """Whether sweeps of a command have a closed form; a log needs every row."""
    fact = FACTS + FACT_COUNT * command
    if not tables[SHORTCUT] or counters.size > tables[COMMAND_TOTAL] + 1 or tables[fact + ROW_EFFECT] != 0:
        return False
    opener, closer = tables[fact + OPENER], tables[fact + CLOSER]
    if opener < 0 or closer < 0 or tables[fact + NEED_OUTER] != tables[BANKS]:
        return False
    return _is_of_channel(tables, command) and _is_of_channel(tables, opener) and _is_of_channel(tables, closer)


@compiled(NOTHING, CYCLES, CYCLES, CYCLES, CYCLES)
def set_mark(state: Any, tables: Any, counters: Any, mark: Any) -> None:
    """Remember the state in which a row begins."""
    mark[_CLOCK], mark[_DUE], mark[_OPEN] = state[CLOCK], state[REFRESH_DUE], state[OPEN_BANKS]
    mark[_MODE], mark[_SINCE] = state[REGISTER_MODE], state[OPEN_SINCE]
    mark[_ROW] = state[OPEN_ROWS]
    for bank in range(1, tables[BANKS]):
        if state[OPEN_ROWS + bank] != state[OPEN_ROWS]:
            mark[_ROW] = -1
    total = tables[COMMAND_TOTAL]
    for index in range(total + 1):
        mark[_COUNTERS + index] = counters[index]
    for index in range(total):
        mark[_COUNTERS + total + 1 + index] = state[tables[LEVEL_FIRST] + index]


@compiled(FLAG, CYCLES, CYCLES, CYCLES)
def _recurs(state: Any, tables: Any, mark: Any) -> bool:
    """Whether the next row begins as the one before it, which began at `mark`."""
    if mark[_ROW] < 0 or mark[_OPEN] != state[OPEN_BANKS] or mark[_MODE] != state[REGISTER_MODE]:
        return False
    earlier, now = mark[_CLOCK], state[CLOCK]
    if mark[_DUE] != state[REFRESH_DUE] or earlier - mark[_SINCE] != now - state[OPEN_SINCE]:
        return False
    times = _COUNTERS + tables[COMMAND_TOTAL] + 1
    for index in range(tables[COMMAND_TOTAL]):
        cycle = state[tables[LEVEL_FIRST] + index]
        if max(cycle, now) - now != max(mark[times + index], earlier) - earlier:
            return False
    return True


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER, INTEGER)
def repeat_rows(state: Any, tables: Any, counters: Any, mark: Any, row: int, most: int) -> int:
    """After a row of a regular sweep that began at `mark`, sweep further ones at once.

    Args:
        state: State of the channel.
        tables: Values of the command tables.
        counters: Incremented.
        mark: As `set_mark` left it before the latest row.
        row: Added to the open row for each further one.
        most: Rows that are left.

    Returns:
        How many were swept.
    """
    if not _recurs(state, tables, mark):
        return 0
    period = state[CLOCK] - mark[_CLOCK]
    rows: int = max(0, min(most, (state[REFRESH_DUE] - state[CLOCK]) // period))
    if rows == 0:
        return 0
    total, passed = tables[COMMAND_TOTAL], rows * period
    for index in range(total + 1):
        counters[index] += rows * (counters[index] - mark[_COUNTERS + index])
    for index in range(total):
        place = tables[LEVEL_FIRST] + index
        if state[place] != mark[_COUNTERS + total + 1 + index]:
            state[place] += passed
    state[CLOCK] += passed
    state[OPEN_SINCE] += passed
    for bank in range(tables[BANKS]):
        state[OPEN_ROWS + bank] += rows * row
    return rows
