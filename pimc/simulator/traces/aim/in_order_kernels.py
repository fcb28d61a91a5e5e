"""Compiled run of a trace's lines on in-order channels, one line a cycle; reads hold the next line up."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimc.simulator.compiled import CYCLES, INTEGER, TABLE, borrowed, compiled, compiled_with_arrays
from pimc.simulator.dram.channel_classes import PLACES, remembered_row
from pimc.simulator.dram.channel_kernels import add_counts, gather, refresh_idle, run_commands
from pimc.simulator.dram.layout import CLASSES, CLOCK, COLUMNS_PER_ROW, COMPLETION, FACT_COUNT, FACTS, MEMBERS
from pimc.simulator.dram.tables import EOC, RDAF16, RDMAC16, SYNC
from pimc.simulator.traces.aim.text import COMMAND, COUNT, LINE_BANK, LINE_ROW, MASK, NO_COMMAND


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, TABLE, INTEGER, INTEGER)
def _execute_line(channel: Any, tables: Any, counters: Any, lines: Any, line: int, cycle: int) -> int:
    """Issue the commands of a line in one row of the state; returns when its last data have arrived.

    A count beyond the end of the row goes on at the row's beginning, as the published simulator has it.
    """
    command, bank, row = lines[line, COMMAND], lines[line, LINE_BANK], lines[line, LINE_ROW]
    left, columns = lines[line, COUNT], tables[COLUMNS_PER_ROW]
    while left > 0:
        run_commands(channel, tables, counters, command, bank, row, min(left, columns), -1)
        left -= columns
    end: int = channel[CLOCK] - 1 + tables[FACTS + FACT_COUNT * command + COMPLETION]
    return max(cycle, end) if lines[line, COUNT] > 0 else cycle


@compiled(INTEGER, TABLE, CYCLES, CYCLES, CYCLES, TABLE, INTEGER, INTEGER)
def _execute_in_all(state: Any, tables: Any, counters: Any, places: Any, lines: Any, line: int, cycle: int) -> int:
    """Execute a line for channels that no remembered row stands for; returns as `_execute_line`."""
    mask = lines[line, MASK]
    gather(state, tables, counters, mask, cycle)
    finish = cycle
    for index in range(state[0, CLASSES]):
        if state[index, MEMBERS] & mask:
            finish = max(finish, _execute_line(state[index], tables, counters, lines, line, cycle))
            places[state[index, MEMBERS] % PLACES] = index
    return finish


@compiled(INTEGER, TABLE, CYCLES, CYCLES, CYCLES, TABLE, INTEGER, INTEGER)
def _execute(state: Any, tables: Any, counters: Any, places: Any, lines: Any, line: int, cycle: int) -> int:
    """Execute a line no earlier than `cycle`; returns as `_execute_line`."""
    row = remembered_row(state, places, lines[line, MASK])
    if row < 0:
        return _execute_in_all(state, tables, counters, places, lines, line, cycle)
    channel = state[row]
    refresh_idle(channel, tables, counters, cycle)
    channel[CLOCK] = max(channel[CLOCK], cycle)
    return _execute_line(channel, tables, counters, lines, line, cycle)


@compiled_with_arrays(INTEGER, TABLE, TABLE, CYCLES, TABLE)
def run_in_order(lines: Any, state: Any, tables: Any, counters: Any) -> int:
    """Run a trace on in-order channels.

    Args:
        lines: As `kernels.run_trace` takes them.
        state: [channels, state width]; the first row stands for all channels.
        tables: Values of the command tables.
        counters: [2, COUNTERS or more], as `channel_kernels.execute` takes them.

    Returns:
        The cycle in which everything before EOC has ended.
    """
    own_places = np.zeros(PLACES, dtype=np.int64)
    lines, state, tables, places = borrowed(lines), borrowed(state), borrowed(tables), borrowed(own_places)
    latest = borrowed(counters)[1]
    cycle = finish = 0
    for line in range(lines.shape[0]):
        cycle += 1
        command = lines[line, COMMAND]
        if command in (SYNC, EOC):
            cycle = max(cycle, finish)
        elif command != NO_COMMAND:
            end = _execute(state, tables, latest, places, lines, line, cycle)
            finish = max(finish, end)
            if command in (RDMAC16, RDAF16):
                cycle = end
    for index in range(state[0, CLASSES]):
        refresh_idle(state[index], tables, latest, cycle)
    add_counts(tables, counters)
    return cycle
