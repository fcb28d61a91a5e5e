"""Compiled run of a trace's lines on in-order channels, one line a cycle; reads hold the next line up."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimc.simulator.compiled import CYCLES, INTEGER, TABLE, compiled
from pimc.simulator.dram.channel_kernels import ACTIVATE, ACTIVATION_ROW, SEQUENCE, advance, execute
from pimc.simulator.dram.layout import COLUMNS_PER_ROW
from pimc.simulator.dram.row_kernels import MEMORY
from pimc.simulator.dram.tables import AF16, EOC, RDAF16, RDMAC16, SYNC
from pimc.simulator.traces.aim.channel_kernels import COMMAND, COUNT, LINE_BANK, LINE_ROW, MASK, NO_COMMAND


@compiled(INTEGER, TABLE, TABLE, CYCLES, TABLE, CYCLES, INTEGER, INTEGER)
def _execute_line(lines: Any, state: Any, tables: Any, counters: Any, memory: Any, line: int, cycle: int) -> int:
    """Execute a line no earlier than `cycle`; returns when its last data have arrived.

    A count beyond the end of the row goes on at the row's beginning, as the published simulator has it.
    """
    command, mask, bank = lines[line, COMMAND], lines[line, MASK], lines[line, LINE_BANK]
    if command == AF16:
        function = lines[line, LINE_ROW] - ACTIVATION_ROW
        return execute(state, tables, counters, memory, ACTIVATE, command, mask, 0, function, 1, 1, 0, cycle)[1]
    finish = cycle
    left = lines[line, COUNT]
    columns = tables[COLUMNS_PER_ROW]
    address = lines[line, LINE_ROW] * columns
    while left > 0:
        taken = min(left, columns)
        end = execute(state, tables, counters, memory, SEQUENCE, command, mask, bank, address, taken, 1, 0, cycle)[1]
        finish = max(finish, end)
        left -= taken
    return finish


@compiled(INTEGER, TABLE, TABLE, CYCLES, TABLE)
def run_in_order(lines: Any, state: Any, tables: Any, counters: Any) -> int:
    """Run a trace on in-order channels.

    Args:
        lines: As `aim_kernels.run_trace` takes them.
        state: [channels, state width]; the first row stands for all channels.
        tables: Values of the command tables.
        counters: [2, COUNTERS or more], as `channel_kernels.execute` takes them.

    Returns:
        The cycle in which everything before EOC has ended.
    """
    memory = np.zeros(MEMORY, dtype=np.int64)
    cycle = finish = 0
    for line in range(lines.shape[0]):
        cycle += 1
        command = lines[line, COMMAND]
        if command in (SYNC, EOC):
            cycle = max(cycle, finish)
        elif command != NO_COMMAND:
            end = _execute_line(lines, state, tables, counters, memory, line, cycle)
            finish = max(finish, end)
            if command in (RDMAC16, RDAF16):
                cycle = end
    advance(state, tables, counters, cycle)
    return cycle
