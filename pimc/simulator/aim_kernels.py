"""Compiled cycle loop of the published AiM simulator's memory system: queues, decoding, one controller a channel.

Each cycle the trace hands over a line, channels are offered again what they refused, the head of the line queue is
decoded when nothing is refused or awaited, then every channel may issue one command. Lines that read (RD_MAC, RD_AF),
SYNC and EOC keep the head until every channel has answered. AiM requests are served in order; conventional reads and
writes first-ready first-come, and never while AiM requests are queued (nor the other way round).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, TABLE, compiled
from pimc.simulator.dram_kernels import earliest, issue, needs_mode_switch, prerequisite
from pimc.simulator.dram_tables import (
    ACT,
    COMPLETION,
    EOC,
    FACT_COUNT,
    FACTS,
    NEVER,
    PRE,
    RD,
    RDAF16,
    RDMAC16,
    SYNC,
    TMOD,
    WR,
)

# Columns of the table of lines.
COMMAND, COUNT, MASK, LINE_BANK, LINE_ROW = range(5)
NO_COMMAND = -1
"""Command of a line that only takes a front-end cycle."""

QUEUE_DEPTH = 33
"""Requests that each queue of a channel holds: the reference refuses only when more than 32 wait."""
LINE_QUEUE_DEPTH = 1 << 21
_ANSWERS = 256  # replies under way in a channel; at most 52 of reads and 33 of queued requests occur
_WRITE_HIGH = 26  # more than 0.8 x 32 queued writes switch to writing
_WRITE_LOW = 6  # at most 6, fewer than 0.2 x 32, switch back to reading
STALL_LIMIT_CYCLES = 1 << 20
"""A trace in which no channel completes or answers a request for so long never ends."""

# Ledger of a channel: sizes of the four queues, first and size of the answers under way, requests still to be accepted
# of the line that is decoded, last cycle in which a write is under way, write mode, cycle of the next look, cycle of
# the last completed request.
AIM, READS, WRITES, ACTIVE, ANSWER_HEAD, ANSWER_SIZE, REFUSED, WRITING_UNTIL, WRITE_MODE, WAKE, COMPLETED = range(11)
LEDGER = 11
# State of the front end: line that is decoded, lines handed over, whether requests of a line are still refused, answers
# awaited, cycle of the last progress.
HEAD, HANDED, OFFERING, AWAITED, PROGRESS = range(5)
FRONT = 5
# Places of the queues in a channel's row of `queues`.
_AIM_AT, _READS_AT, _WRITES_AT, _ACTIVE_AT, _ANSWERS_AT = range(0, 5 * QUEUE_DEPTH, QUEUE_DEPTH)
QUEUES = _ANSWERS_AT + 2 * _ANSWERS


@compiled(NOTHING, CYCLES, CYCLES, INTEGER, INTEGER)
def _answer(queues: Any, ledger: Any, line: int, depart: int) -> None:
    """Let a request answer at cycle `depart`, after all that answer before it."""
    place = _ANSWERS_AT + 2 * ((ledger[ANSWER_HEAD] + ledger[ANSWER_SIZE]) % _ANSWERS)
    queues[place] = line
    queues[place + 1] = depart
    ledger[ANSWER_SIZE] += 1


@compiled(FLAG, CYCLES, CYCLES, INTEGER, INTEGER, INTEGER)
def _accept(queues: Any, ledger: Any, line: int, command: int, cycle: int) -> bool:
    """Offer a channel one request; a read that finds writes queued is answered from them.

    The reference compares addresses that its traces never set, so any queued write answers.
    """
    if command in (RD, WR):
        if ledger[AIM] > 0:
            return False
        if command == RD and ledger[WRITES] > 0:
            _answer(queues, ledger, line, cycle)
            return True
        queue, place = (READS, _READS_AT) if command == RD else (WRITES, _WRITES_AT)
    else:
        if ledger[READS] > 0 or ledger[WRITES] > 0:
            return False
        queue, place = AIM, _AIM_AT
    if ledger[queue] == QUEUE_DEPTH:
        return False
    queues[place + ledger[queue]] = line
    ledger[queue] += 1
    return True


@compiled(NOTHING, CYCLES, CYCLES, INTEGER, INTEGER, INTEGER)
def _remove(queues: Any, ledger: Any, queue: int, place: int, index: int) -> None:
    for later in range(place + index, place + ledger[queue] - 1):
        queues[later] = queues[later + 1]
    ledger[queue] -= 1


@compiled(INTEGER, TABLE, CYCLES, CYCLES, CYCLES, *[INTEGER] * 3)
def _first_ready(lines: Any, state: Any, tables: Any, queues: Any, place: int, size: int, cycle: int) -> int:
    """Index of the oldest request whose next command may issue at `cycle`, or -1."""
    best = -1
    for index in range(size):
        line = queues[place + index]
        if best >= 0 and line > queues[place + best]:
            continue
        bank = lines[line, LINE_BANK]
        command = prerequisite(state, tables, lines[line, COMMAND], bank, lines[line, LINE_ROW])
        if earliest(state, tables, command, bank) <= cycle:
            best = index
    return best


@compiled(FLAG, TABLE, CYCLES, CYCLES, INTEGER)
def _is_activating(lines: Any, queues: Any, ledger: Any, bank: int) -> bool:
    """Whether a request whose activation was issued waits for `bank`; its row may not be closed."""
    found = False
    for index in range(_ACTIVE_AT, _ACTIVE_AT + ledger[ACTIVE]):
        found |= lines[queues[index], LINE_BANK] == bank
    return found


@compiled(FLAG, TABLE, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, *[INTEGER] * 4)
def _progress(
    lines: Any,
    state: Any,
    tables: Any,
    counters: Any,
    queues: Any,
    ledger: Any,
    queue: int,
    place: int,
    index: int,
    cycle: int,
) -> bool:
    """Issue the next command of a request, or the mode switch in its place; false when its row must stay open."""
    line = queues[place + index]
    command, bank, row = lines[line, COMMAND], lines[line, LINE_BANK], lines[line, LINE_ROW]
    chosen = prerequisite(state, tables, command, bank, row)
    if chosen == PRE and _is_activating(lines, queues, ledger, bank):
        return False
    if needs_mode_switch(state, tables, command):
        chosen = TMOD
    issue(state, tables, counters, chosen, bank, row, cycle, 1)
    if chosen == command:
        _remove(queues, ledger, queue, place, index)
        ledger[COMPLETED] = cycle
        depart = cycle + tables[FACTS + FACT_COUNT * command + COMPLETION]
        if command in (RD, RDMAC16, RDAF16):
            _answer(queues, ledger, line, depart)
        else:
            ledger[WRITING_UNTIL] = max(ledger[WRITING_UNTIL], depart)
    elif chosen == ACT and queue != AIM:
        _remove(queues, ledger, queue, place, index)
        if ledger[ACTIVE] < QUEUE_DEPTH:
            queues[_ACTIVE_AT + ledger[ACTIVE]] = line
            ledger[ACTIVE] += 1
    return True


@compiled(FLAG, TABLE, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER)
def _serve(lines: Any, state: Any, tables: Any, counters: Any, queues: Any, ledger: Any, cycle: int) -> bool:
    """Choose a request of a channel and issue a command for it; false when nothing can issue."""
    queue, place = ACTIVE, _ACTIVE_AT
    index = _first_ready(lines, state, tables, queues, place, ledger[ACTIVE], cycle)
    if index < 0 and ledger[AIM] > 0:
        command = lines[queues[_AIM_AT], COMMAND]
        if command in (SYNC, EOC):
            _answer(queues, ledger, queues[_AIM_AT], cycle)
            _remove(queues, ledger, AIM, _AIM_AT, 0)
            return True
        queue, place = AIM, _AIM_AT
        index = _first_ready(lines, state, tables, queues, place, 1, cycle)
    elif index < 0:
        if ledger[WRITES] >= _WRITE_HIGH or ledger[READS] == 0:
            ledger[WRITE_MODE] = 1
        elif ledger[WRITES] <= _WRITE_LOW:
            ledger[WRITE_MODE] = 0
        queue, place = (WRITES, _WRITES_AT) if ledger[WRITE_MODE] else (READS, _READS_AT)
        index = _first_ready(lines, state, tables, queues, place, ledger[queue], cycle)
    return index >= 0 and _progress(lines, state, tables, counters, queues, ledger, queue, place, index, cycle)


@compiled(INTEGER, TABLE, CYCLES, CYCLES, INTEGER)
def _take_answer(lines: Any, queues: Any, ledger: Any, cycle: int) -> int:
    """The line whose answer arrives at a channel in `cycle`, or -1; SYNC and EOC wait until no write is under way."""
    if ledger[ANSWER_SIZE] == 0:
        return -1
    place = _ANSWERS_AT + 2 * (ledger[ANSWER_HEAD] % _ANSWERS)
    line: int = queues[place]
    depart = queues[place + 1]
    marker = lines[line, COMMAND] in (SYNC, EOC)
    if depart > cycle or (marker and ledger[WRITING_UNTIL] >= cycle):
        return -1
    ledger[ANSWER_HEAD] += 1
    ledger[ANSWER_SIZE] -= 1
    return line


@compiled(INTEGER, TABLE, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER)
def _next_look(lines: Any, state: Any, tables: Any, queues: Any, ledger: Any, cycle: int) -> int:
    """First cycle after `cycle` in which a channel that issued nothing can do anything if no request arrives."""
    look = NEVER
    for queue in range(4):
        size = min(ledger[queue], 1) if queue == AIM else ledger[queue]
        for index in range(QUEUE_DEPTH * queue, QUEUE_DEPTH * queue + size):
            line = queues[index]
            bank = lines[line, LINE_BANK]
            command = prerequisite(state, tables, lines[line, COMMAND], bank, lines[line, LINE_ROW])
            look = min(look, earliest(state, tables, command, bank))
    if ledger[ANSWER_SIZE] > 0:
        look = min(look, queues[_ANSWERS_AT + 2 * (ledger[ANSWER_HEAD] % _ANSWERS) + 1])
    return max(look, cycle + 1)


@compiled(FLAG, TABLE, TABLE, TABLE, INTEGER, INTEGER)
def _retry(lines: Any, queues: Any, ledgers: Any, line: int, cycle: int) -> bool:
    """Offer every channel again what it refused of the line that is decoded; true when all is accepted."""
    complete = True
    for channel in range(ledgers.shape[0]):
        ledger = ledgers[channel]
        while ledger[REFUSED] > 0:
            if not _accept(queues[channel], ledger, line, lines[line, COMMAND], cycle):
                complete = False
                break
            ledger[REFUSED] -= 1
            ledger[WAKE] = cycle
    return complete


@compiled(INTEGER, TABLE, TABLE, INTEGER)
def _decode(lines: Any, ledgers: Any, line: int) -> int:
    """Mark the requests of a line as to be accepted; return how many answers must come before the next line."""
    command = lines[line, COMMAND]
    if command == NO_COMMAND:
        return 0
    blocking = command in (RDMAC16, RDAF16, SYNC, EOC)
    awaited = 0
    for channel in range(ledgers.shape[0]):
        if lines[line, MASK] >> channel & 1:
            ledgers[channel, REFUSED] = lines[line, COUNT]
            awaited += lines[line, COUNT] if blocking else 0
    return awaited


@compiled(NOTHING, TABLE, TABLE, TABLE, CYCLES, INTEGER)
def _front_end(lines: Any, queues: Any, ledgers: Any, front: Any, cycle: int) -> None:
    """Take a line over, offer what was refused, or decode the next line."""
    if front[HANDED] < lines.shape[0] and front[HANDED] - front[HEAD] < LINE_QUEUE_DEPTH:
        front[HANDED] += 1
    if not front[OFFERING]:
        if front[AWAITED] > 0 or front[HEAD] == front[HANDED]:
            return
        front[PROGRESS] = cycle
        front[AWAITED] = _decode(lines, ledgers, front[HEAD])
    front[OFFERING] = 0 if _retry(lines, queues, ledgers, front[HEAD], cycle) else 1
    if not front[OFFERING] and front[AWAITED] == 0:
        front[HEAD] += 1


@compiled(NOTHING, TABLE, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER)
def _tick(
    lines: Any, state: Any, tables: Any, counters: Any, queues: Any, ledger: Any, front: Any, cycle: int
) -> None:
    """One cycle of a channel: at most one answer arrives and at most one command issues."""
    answered = _take_answer(lines, queues, ledger, cycle)
    if answered >= 0:
        front[PROGRESS] = cycle
        if lines[answered, COMMAND] != RD:
            front[AWAITED] -= 1
            if front[AWAITED] == 0:
                front[HEAD] += 1
    ledger[WAKE] = cycle + 1
    if not _serve(lines, state, tables, counters, queues, ledger, cycle):
        ledger[WAKE] = _next_look(lines, state, tables, queues, ledger, cycle)
    if ledger[COMPLETED] == cycle:
        front[PROGRESS] = cycle


@compiled(INTEGER, TABLE, TABLE, CYCLES, CYCLES)
def run_trace(lines: Any, state: Any, tables: Any, counters: Any) -> int:
    """Run a trace.

    Args:
        lines: [lines, 5]: command, requests a channel, channel mask, bank, row; the last line is EOC.
        state: [channels, state width], each row one channel.
        tables: Values of the command tables.
        counters: [COUNTERS], incremented.

    Returns:
        The cycle in which EOC is answered by the last channel; -1 when the trace never ends.
    """
    channels = state.shape[0]
    ledgers = np.zeros((channels, LEDGER), dtype=np.int64)
    queues = np.zeros((channels, QUEUES), dtype=np.int64)
    front = np.zeros(FRONT, dtype=np.int64)
    for channel in range(channels):
        ledgers[channel, WAKE] = NEVER
    cycle = 0
    while front[HEAD] < lines.shape[0]:
        cycle += 1
        _front_end(lines, queues, ledgers, front, cycle)
        for channel in range(channels):
            if ledgers[channel, WAKE] <= cycle:
                _tick(lines, state[channel], tables, counters, queues[channel], ledgers[channel], front, cycle)
        if cycle - front[PROGRESS] > STALL_LIMIT_CYCLES:
            return -1
    return cycle
