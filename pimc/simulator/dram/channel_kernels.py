"""Compiled in-order controller of the DRAM channels: instructions to commands, refresh, channels that act alike.

A row of `state` stands for all channels of its `MEMBERS` mask, whose states are equal. An instruction for a part of
them splits the row; rows whose difference no longer matters to any later command are joined. Cycles and counts are
those of simulating every channel alone.
"""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, PAIR, TABLE, borrowed, compiled
from pimc.simulator.dram.channel_classes import join, split
from pimc.simulator.dram.command_kernels import due_bank, earliest, issue, needs_mode_switch, prerequisite
from pimc.simulator.dram.layout import (
    BANKS,
    BY_BANK,
    CLASSES,
    CLOCK,
    COLUMNS_PER_ROW,
    COMMAND_TOTAL,
    COMPLETION,
    FACT_COUNT,
    FACTS,
    IDLE_CLOSE,
    MASKED_WRITE,
    MEMBERS,
    OPEN_BANKS,
    OPEN_ROWS,
    OPENS,
    PERIOD,
    REFRESH_DUE,
    REFRESH_SLACK,
    ROW_EFFECT,
    SHORTCUT,
)
from pimc.simulator.dram.row_kernels import is_regular, leap, learn, set_mark
from pimc.simulator.dram.tables import MAC16, PRE, PREA, RD, TMOD, WR, REFab, REFpb

_FEWEST_REGULAR_ROWS = 3
"""Rows of a sweep from which on it pays to look for a closed form."""

SEQUENCE, OPEN, STORE_LANE, ACTIVATE = range(4)  # kinds of instructions

ACTIVATION_ROW = 1 << 29
"""Row that stands for the table of activation function 0; no weights have such a row."""


@compiled(INTEGER, CYCLES, CYCLES, INTEGER, INTEGER)
def _refresh_instead(state: Any, tables: Any, command: int, cycle: int) -> int:
    """The command that a due refresh puts before `command`, or `command` when the refresh can be postponed.

    A refresh waits for a row border: all banks closed, or a bank about to be closed for another row. A channel that
    owes as many refreshes as it may is refreshed in the middle of a row.
    """
    if cycle >= state[REFRESH_DUE] + tables[REFRESH_SLACK]:
        return PREA if state[OPEN_BANKS] > 0 else REFab
    if state[OPEN_BANKS] == 0 and tables[FACTS + FACT_COUNT * command + ROW_EFFECT] > 0:
        return REFab
    return PREA if command == PRE else command


@compiled(FLAG, CYCLES, CYCLES, CYCLES, *[INTEGER] * 3)
def _refresh_bank_instead(state: Any, tables: Any, counters: Any, command: int, row: int, cycle: int) -> bool:
    """Issue what a due refresh of one bank puts before `command`; false when the refresh can be postponed.

    A closed bank is refreshed when that delays nothing, or before a row is opened; an open one waits until something
    closes it, or until no refresh may be owed any more.
    """
    bank = due_bank(state, tables)
    first = prerequisite(state, tables, REFpb, bank, 0)
    ready = max(max(state[CLOCK], state[REFRESH_DUE]), earliest(state, tables, first, bank))
    is_forced = cycle >= state[REFRESH_DUE] + tables[REFRESH_SLACK]
    opens = tables[FACTS + FACT_COUNT * command + ROW_EFFECT] == OPENS
    if not is_forced and (first != REFpb or (ready > cycle and not opens)):
        return False
    issue(state, tables, counters, first, bank, row, ready, 1)
    return True


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, *[INTEGER] * 3)
def _step(state: Any, tables: Any, counters: Any, command: int, bank: int, row: int) -> int:
    """Issue the next command on the way to `command` as early as it is legal; return which it was."""
    chosen = prerequisite(state, tables, command, bank, row)
    cycle = max(state[CLOCK], earliest(state, tables, chosen, bank))
    if cycle >= state[REFRESH_DUE] and tables[BY_BANK]:
        if _refresh_bank_instead(state, tables, counters, chosen, row, cycle):
            return REFpb
    elif cycle >= state[REFRESH_DUE]:
        refresh = _refresh_instead(state, tables, chosen, cycle)
        if refresh != chosen:
            cycle = max(max(state[CLOCK], state[REFRESH_DUE]), earliest(state, tables, refresh, bank))
            issue(state, tables, counters, refresh, bank, row, cycle, 1)
            return refresh
    if needs_mode_switch(state, tables, command):
        chosen = TMOD
    issue(state, tables, counters, chosen, bank, row, cycle, 1)
    return chosen


@compiled(INTEGER, INTEGER, CYCLES)
def _first_cycle(first: int, state: Any) -> int:
    return state[CLOCK] - 1 if first < 0 else first


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, *[INTEGER] * 5)
def run_commands(
    state: Any, tables: Any, counters: Any, command: int, bank: int, row: int, count: int, first: int
) -> int:
    """Issue `command` `count` times with all that it needs; return the cycle of the first command of the instruction.

    Once the command could issue, the next one of the run follows after the longest rule from the command to itself.
    """
    fact = FACTS + FACT_COUNT * command
    done = 0
    while done < count:
        issued = _step(state, tables, counters, command, bank, row)
        first = _first_cycle(first, state)
        if issued != command:
            continue
        done += 1
        if done < count and tables[SHORTCUT] and tables[fact + ROW_EFFECT] == 0:
            period = tables[fact + PERIOD]
            cycle = state[CLOCK] - 1
            undisturbed = state[REFRESH_DUE] + (0 if tables[BY_BANK] else tables[REFRESH_SLACK])
            more = min(count - done, (undisturbed - 1 - cycle) // period)
            if more > 0:
                issue(state, tables, counters, command, bank, row, cycle + more * period, more)
                done += more
    return first


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, INTEGER, INTEGER)
def _open(state: Any, tables: Any, counters: Any, row: int, first: int) -> int:
    while prerequisite(state, tables, MAC16, 0, row) != MAC16:
        _step(state, tables, counters, MAC16, 0, row)
        first = _first_cycle(first, state)
    return first


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, CYCLES, *[INTEGER] * 7)
def _rows(
    state: Any,
    tables: Any,
    counters: Any,
    memory: Any,
    command: int,
    bank: int,
    row: int,
    step: int,
    rows: int,
    count: int,
    first: int,
) -> int:
    """`count` commands in each of `rows` rows, `step` rows apart; returns as `run_commands`."""
    done = 0
    if rows < _FEWEST_REGULAR_ROWS or step == 0 or not is_regular(tables, counters, memory, command, count):
        for done in range(rows):
            first = run_commands(state, tables, counters, command, bank, row + done * step, count, first)
        return first
    while done < rows:
        if first >= 0:
            leapt = leap(state, tables, counters, memory, command, count, row + done * step, step, rows - done)
            if leapt > 0:
                done += leapt
                continue
        set_mark(state, tables, counters, memory)
        first = run_commands(state, tables, counters, command, bank, row + done * step, count, first)
        done += 1
        learn(state, tables, counters, memory, command, count)
    return first


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, CYCLES, *[INTEGER] * 7)
def _sequence(
    state: Any,
    tables: Any,
    counters: Any,
    memory: Any,
    command: int,
    bank: int,
    address: int,
    columns: int,
    outputs: int,
    stride: int,
    beats: int,
) -> int:
    """`outputs` ranges of `columns` linear columns, `stride` columns apart, split where a row ends.

    All three count beats where a column has several.
    """
    if stride == columns:  # one range for all that matters
        columns, outputs = columns * outputs, 1
    first = -1
    row_columns = tables[COLUMNS_PER_ROW] * beats
    if outputs > 1 and stride % row_columns == 0 and address % row_columns + columns <= row_columns:
        row, step = address // row_columns, stride // row_columns
        return _rows(state, tables, counters, memory, command, bank, row, step, outputs, columns, first)
    for output in range(outputs):
        position = address + output * stride
        end = position + columns
        while position < end:
            row = position // row_columns
            rows = (end - position) // row_columns if position % row_columns == 0 else 0
            if rows > 0:
                first = _rows(state, tables, counters, memory, command, bank, row, 1, rows, row_columns, first)
                position += rows * row_columns
            else:
                border = min(end, (row + 1) * row_columns)
                first = run_commands(state, tables, counters, command, bank, row, border - position, first)
                position = border
    return first


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, *[INTEGER] * 4)
def _store_lane(state: Any, tables: Any, counters: Any, address: int, count: int, stride: int, beats: int) -> int:
    """Word d goes to bank d mod banks: a row is opened in all banks for each stripe, then every bank is written.

    Without write masks the banks of a stripe are read first, so that whole columns can be written back.
    """
    first = -1
    for stripe in range(-(-count // tables[BANKS])):
        row = (address + stripe * stride) // (tables[COLUMNS_PER_ROW] * beats)
        words = min(tables[BANKS], count - stripe * tables[BANKS])
        first = _open(state, tables, counters, row, first)
        if not tables[MASKED_WRITE]:
            for bank in range(words):
                first = run_commands(state, tables, counters, RD, bank, row, 1, first)
        for bank in range(words):
            first = run_commands(state, tables, counters, WR, bank, row, 1, first)
    return first


@compiled(NOTHING, CYCLES, CYCLES, CYCLES, INTEGER)
def refresh_idle(state: Any, tables: Any, counters: Any, until: int) -> None:
    """Refresh a channel that has nothing to do before cycle `until`.

    A due refresh issues at once when all banks are closed. An open row is closed for it after nRC idle cycles, about
    what closing and opening it again costs.
    """
    if state[REFRESH_DUE] >= until:
        return
    refresh, closer = (REFpb, PRE) if tables[BY_BANK] else (REFab, PREA)
    while True:
        bank = due_bank(state, tables) if tables[BY_BANK] else 0
        is_open = state[OPEN_ROWS + bank] >= 0 if tables[BY_BANK] else state[OPEN_BANKS] > 0
        command = closer if is_open else refresh
        idle_since = state[CLOCK] + (tables[IDLE_CLOSE] if is_open else 0)
        cycle = max(max(idle_since, state[REFRESH_DUE]), earliest(state, tables, command, bank))
        if cycle >= until:
            return
        issue(state, tables, counters, command, bank, 0, cycle, 1)


@compiled(NOTHING, TABLE, CYCLES, CYCLES, INTEGER, INTEGER)
def gather(state: Any, tables: Any, counters: Any, mask: int, ready: int) -> None:
    """Bring the channels of `mask`, and only these, to cycle `ready` in as few rows as possible."""
    split(state, mask)
    for index in range(state[0, CLASSES]):
        if state[index, MEMBERS] & mask:
            refresh_idle(state[index], tables, counters, ready)
            state[index, CLOCK] = max(state[index, CLOCK], ready)
    if state[0, CLASSES] > 1:
        join(state, tables, counters, mask)


@compiled(NOTHING, CYCLES, CYCLES)
def _clear(tables: Any, counters: Any) -> None:
    for index in range(tables[COMMAND_TOTAL] + 1):
        counters[index] = 0


@compiled(NOTHING, CYCLES, TABLE)
def add_counts(tables: Any, counters: Any) -> None:
    """Add what was counted in the second row to the first."""
    for index in range(tables[COMMAND_TOTAL] + 1):
        counters[0, index] += counters[1, index]


@compiled(PAIR, TABLE, CYCLES, TABLE, CYCLES, *[INTEGER] * 10)
def execute(
    state: Any,
    tables: Any,
    counters: Any,
    memory: Any,
    kind: int,
    command: int,
    mask: int,
    bank: int,
    address: int,
    columns: int,
    outputs: int,
    stride: int,
    beats: int,
    ready: int,
) -> tuple[int, int]:
    """Execute one instruction in all channels of `mask`, no command before cycle `ready`.

    Args:
        state: [channels, state width].
        tables: Values of the command tables.
        counters: [2, COUNTERS or more], all instructions and this one; a log of commands stands in the second row.
        memory: Of regular rows, see `row_kernels`.
        kind: `SEQUENCE`, `OPEN`, `STORE_LANE` or `ACTIVATE`.
        command: The column command of a sequence.
        mask: Channels that take part.
        bank: Bank of a sequence of single-bank commands.
        address: First linear column, or number of the activation function.
        columns: Columns of each output, or words of `STORE_LANE`.
        outputs: Ranges of columns.
        stride: Columns from one range, or stripe, to the next.
        beats: Beats of a column, in which address, columns and stride count; 1 for whole columns.
        ready: Cycle.

    Returns:
        Cycle of the first command, cycle at which the last data have arrived; both `ready` when there is no command.
    """
    state, tables, counters, memory = borrowed(state), borrowed(tables), borrowed(counters), borrowed(memory)
    latest = counters[1]
    _clear(tables, latest)
    gather(state, tables, latest, mask, ready)
    start = finish = -1
    for index in range(state[0, CLASSES]):
        if state[index, MEMBERS] & mask == 0:
            continue
        channel = state[index]
        if kind == SEQUENCE:
            first = _sequence(channel, tables, latest, memory, command, bank, address, columns, outputs, stride, beats)
        elif kind == OPEN:
            first = _open(channel, tables, latest, address // tables[COLUMNS_PER_ROW], -1)
        elif kind == STORE_LANE:
            first = _store_lane(channel, tables, latest, address, columns, stride, beats)
        else:
            first = run_commands(channel, tables, latest, command, 0, ACTIVATION_ROW + address, 1, -1)
        if first >= 0:
            start = first if start < 0 else min(start, first)
            finish = max(finish, channel[CLOCK] - 1 + tables[FACTS + FACT_COUNT * command + COMPLETION])
    add_counts(tables, counters)
    if start < 0:
        return ready, ready
    return start, finish


@compiled(NOTHING, TABLE, CYCLES, TABLE, INTEGER)
def advance(state: Any, tables: Any, counters: Any, until: int) -> None:
    """Refresh all channels as if they were idle up to cycle `until`."""
    _clear(tables, counters[1])
    for index in range(state[0, CLASSES]):
        refresh_idle(state[index], tables, counters[1], until)
    add_counts(tables, counters)
