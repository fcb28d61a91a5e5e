"""Compiled front end of the published AiM simulator: lines to channels, channels that act alike.

Each cycle the trace hands over a line; the head of the line queue is decoded when nothing is refused or awaited. Lines
that read (RD_MAC, RD_AF), SYNC and EOC keep the head until every channel has answered.

A row of `state`, `queues` and `ledgers` stands for all channels of its `MEMBERS` mask, whose states are equal. A line
for a part of them splits the row; rows without requests whose difference no longer matters are joined.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, TABLE, borrowed, compiled, compiled_with_arrays
from pimc.simulator.dram.channel_classes import PLACES, remembered_row
from pimc.simulator.dram.layout import (
    BANKS,
    CLASSES,
    MEMBERS,
    OPEN_BANKS,
    OPEN_ROWS,
    OPEN_SINCE,
    REFRESH_DUE,
    REGISTER_MODE,
    WEIGHT,
)
from pimc.simulator.dram.tables import OPEN_CYCLES
from pimc.simulator.traces.aim.channel_kernels import (
    ACTIVE,
    AIM,
    ANSWERED,
    AWAITED,
    DRAINS,
    LEDGER,
    MARKER,
    QUEUES,
    READS,
    SHORTCUT,
    WAKE,
    WRITES,
    WRITING_UNTIL,
    advance,
    await_answers,
    deliver,
)
from pimc.simulator.traces.aim.text import COMMAND, MASK, NO_COMMAND

LINE_QUEUE_DEPTH = 1 << 21


@compiled(INTEGER, INTEGER)
def _bits(mask: int) -> int:
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


@compiled(NOTHING, TABLE, INTEGER, INTEGER)
def _copy(table: Any, source: int, target: int) -> None:
    for index in range(table.shape[1]):
        table[target, index] = table[source, index]


@compiled(NOTHING, TABLE, TABLE, TABLE, CYCLES, INTEGER)
def _split(state: Any, queues: Any, ledgers: Any, members: Any, mask: int) -> None:
    """Give the channels of `mask` rows of their own."""
    for index in range(state[0, CLASSES]):
        inside = members[index] & mask
        if inside == 0 or inside == members[index]:
            continue
        fresh = state[0, CLASSES]
        state[0, CLASSES] += 1
        for table in (state, queues, ledgers):
            _copy(table, index, fresh)
        members[index] &= ~inside
        members[fresh] = inside
        for row in (index, fresh):
            state[row, MEMBERS] = members[row]
            state[row, WEIGHT] = _bits(members[row])


@compiled(FLAG, CYCLES, INTEGER)
def _is_idle(ledger: Any, now: int) -> bool:
    """Whether no request is queued, no answer and no write is under way."""
    requests = ledger[AIM] + ledger[READS] + ledger[WRITES] + ledger[ACTIVE] + ledger[MARKER]
    return bool(requests == 0 and max(ledger[ANSWERED], ledger[WRITING_UNTIL]) < now)


@compiled(FLAG, CYCLES, CYCLES, INTEGER, INTEGER)
def _alike(left: Any, right: Any, banks: int, now: int) -> bool:
    """Whether no command from cycle `now` on can tell the two states apart."""
    for index in (REGISTER_MODE, REFRESH_DUE, OPEN_BANKS):
        if left[index] != right[index]:
            return False
    times = OPEN_ROWS + banks
    for index in range(OPEN_ROWS, times):
        if left[index] != right[index]:
            return False
    differences = 0
    for index in range(times, left.size):
        differences += max(left[index], now) != max(right[index], now)
    return differences == 0


@compiled(NOTHING, TABLE, CYCLES, INTEGER, INTEGER, INTEGER)
def _close_open_time(state: Any, counters: Any, left: int, right: int, now: int) -> None:
    """Count the time for which two rows that become one have been open."""
    if state[left, OPEN_BANKS] > 0:
        for index in (left, right):
            counters[OPEN_CYCLES] += (now - state[index, OPEN_SINCE]) * state[index, WEIGHT]
        state[left, OPEN_SINCE] = now


@compiled(NOTHING, TABLE, TABLE, TABLE, CYCLES, CYCLES, CYCLES, INTEGER, INTEGER)
def _join(state: Any, queues: Any, ledgers: Any, members: Any, tables: Any, counters: Any, mask: int, now: int) -> None:
    """Let one row stand for all idle channels of `mask` whose states are alike at cycle `now`."""
    left = 0
    while left < state[0, CLASSES]:
        right = left + 1
        is_candidate = members[left] & mask != 0 and _is_idle(ledgers[left], now)
        while is_candidate and right < state[0, CLASSES]:
            is_same = members[right] & mask != 0 and _is_idle(ledgers[right], now)
            if not (is_same and _alike(state[left], state[right], tables[BANKS], now)):
                right += 1
                continue
            _close_open_time(state, counters, left, right, now)
            members[left] |= members[right]
            state[left, MEMBERS] = members[left]
            state[left, WEIGHT] += state[right, WEIGHT]
            ledgers[left, WAKE] = min(ledgers[left, WAKE], ledgers[right, WAKE])
            state[0, CLASSES] -= 1
            last = state[0, CLASSES]
            members[right], members[last] = members[last], 0
            if right < last:
                for table in (state, queues, ledgers):
                    _copy(table, last, right)
        left += 1


@compiled(INTEGER, TABLE, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER, INTEGER)
def _give(lines: Any, state: Any, tables: Any, counters: Any, queues: Any, ledger: Any, line: int, cycle: int) -> int:
    """Give a line to a channel; returns the last cycle in which the front end waits for it, -1 if it does for ever."""
    advance(lines, state, tables, counters, queues, ledger, cycle)
    accepted = deliver(lines, state, tables, counters, queues, ledger, line, cycle)
    if accepted < 0 or ledger[AWAITED] == 0:
        return accepted
    return await_answers(lines, state, tables, counters, queues, ledger)


@compiled(INTEGER, TABLE, TABLE, CYCLES, CYCLES, TABLE, TABLE, CYCLES, CYCLES, INTEGER, INTEGER)
def _decode(
    lines: Any,
    state: Any,
    tables: Any,
    counters: Any,
    queues: Any,
    ledgers: Any,
    members: Any,
    places: Any,
    line: int,
    cycle: int,
) -> int:
    """Give a line to its channels; returns as `_give`."""
    mask = lines[line, MASK]
    _split(state, queues, ledgers, members, mask)
    if ledgers[0, SHORTCUT]:
        for index in range(state[0, CLASSES]):
            if members[index] & mask:
                advance(lines, state[index], tables, counters, queues[index], ledgers[index], cycle)
        _join(state, queues, ledgers, members, tables, counters, mask, cycle)
    done = cycle
    for index in range(state[0, CLASSES]):
        if members[index] & mask:
            places[members[index] % PLACES] = index
            given = _give(lines, state[index], tables, counters, queues[index], ledgers[index], line, cycle)
            if given < 0:
                return -1
            done = max(done, given)
    return done


@compiled_with_arrays(INTEGER, TABLE, TABLE, CYCLES, CYCLES, FLAG, FLAG)
def run_trace(lines: Any, state: Any, tables: Any, counters: Any, drains: bool, shortcut: bool) -> int:
    """Run a trace.

    Args:
        lines: [lines, 5]: command, requests a channel, channel mask, bank, row; the last line is EOC.
        state: [channels, state width]; the first row stands for all channels.
        tables: Values of the command tables.
        counters: [COUNTERS] or more, incremented.
        drains: Whether SYNC and EOC wait for conventional requests whose row is being opened.
        shortcut: Whether channels that act alike are simulated once, and regular requests in closed form; the cycles
            are the same.

    Returns:
        The cycle in which EOC is answered by the last channel; -1 when the trace never ends.
    """
    channels = state.shape[0]
    own_ledgers, own_queues = np.zeros((channels, LEDGER), dtype=np.int64), np.zeros((channels, QUEUES), dtype=np.int64)
    own_members, own_places = np.zeros(channels, dtype=np.int64), np.zeros(PLACES, dtype=np.int64)
    departed = np.zeros(lines.shape[0], dtype=np.int64)
    lines, state, tables, counters = borrowed(lines), borrowed(state), borrowed(tables), borrowed(counters)
    queues, ledgers = borrowed(own_queues), borrowed(own_ledgers)
    members, places = borrowed(own_members), borrowed(own_places)
    members[0] = state[0, MEMBERS]
    ledgers[0, WAKE] = state[0, REFRESH_DUE]
    ledgers[0, DRAINS], ledgers[0, SHORTCUT] = drains, shortcut
    handed = cycle = 0
    for line in range(lines.shape[0]):
        handed += 1
        if line >= LINE_QUEUE_DEPTH:
            handed = max(handed, departed[line - LINE_QUEUE_DEPTH] + 1)
        cycle = max(cycle + 1, handed)
        if lines[line, COMMAND] != NO_COMMAND:
            row = remembered_row(state, places, lines[line, MASK])
            if row >= 0:
                cycle = _give(lines, state[row], tables, counters, queues[row], ledgers[row], line, cycle)
            else:
                cycle = _decode(lines, state, tables, counters, queues, ledgers, members, places, line, cycle)
            if cycle < 0:
                return -1
        departed[line] = cycle
    for index in range(state[0, CLASSES]):
        advance(lines, state[index], tables, counters, queues[index], ledgers[index], cycle + 1)
    return cycle
