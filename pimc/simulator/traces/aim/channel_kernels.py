"""Compiled controller of one channel of the published AiM simulator: queues, choice of a request, answers.

AiM requests are served in order; conventional reads and writes first-ready first-come, and never while AiM requests are
queued (nor the other way round). A channel is simulated alone from one cycle in which it can do something to the next:
nothing but an arriving request changes what it does.
"""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, TABLE, compiled, inlined
from pimc.simulator.dram.command_kernels import due_bank, earliest, issue, needs_mode_switch, prerequisite
from pimc.simulator.dram.layout import (
    BY_BANK,
    CLOCK,
    COMPLETION,
    FACT_COUNT,
    FACTS,
    NEVER,
    OPEN_BANKS,
    PERIOD,
    REFRESH_DUE,
    ROW_EFFECT,
)
from pimc.simulator.dram.tables import ACT, EOC, PRE, PREA, RD, RDAF16, RDMAC16, SYNC, TMOD, WR, REFab, REFpb
from pimc.simulator.traces.aim.text import COMMAND, COUNT, LINE_BANK, LINE_ROW

QUEUE_DEPTH = 33
"""Requests that each queue of a channel holds: the reference refuses only when more than 32 wait."""
_WRITE_HIGH = 26  # more than 0.8 x 32 queued writes switch to writing
_WRITE_LOW = 6  # at most 6, fewer than 0.2 x 32, switch back to reading
STALL_LIMIT_CYCLES = 1 << 20
"""A channel that neither completes nor answers a request for so long, though one is awaited, never does."""

# Ledger of a channel: sizes of the four queues, cycle of the last answer, first cycle in which SYNC or EOC may answer
# (0: none is to), requests still to be accepted of the line that is decoded, last cycle in which a write is under way,
# write mode, cycle of the next look, cycle of the last completed or answered request, answers awaited, whether SYNC and
# EOC wait for activated requests, the decoded line, cycle from which on other requests may arrive, whether regular
# requests issue in closed form, number and last cycle of the answers behind SYNC or EOC, cycle of the last awaited one.
AIM, READS, WRITES, ACTIVE, ANSWERED, MARKER, REFUSED, WRITING_UNTIL = range(8)
WRITE_MODE, WAKE, PROGRESS, AWAITED, DRAINS, OFFERED, HORIZON, SHORTCUT = range(8, 16)
BEHIND, BEHIND_UNTIL, RELEASED = range(16, 19)
LEDGER = 24
# Places of the queues in a channel's row of `queues`.
_AIM_AT, _READS_AT, _WRITES_AT, _ACTIVE_AT = range(0, 4 * QUEUE_DEPTH, QUEUE_DEPTH)
QUEUES = 4 * QUEUE_DEPTH


@inlined
def _answer(ledger: Any, depart: int) -> None:
    """Let a request answer from cycle `depart` on, one answer a cycle in the order of the requests.

    What stands before it is known, so that its cycle is too; only SYNC and EOC may wait for writes yet to come.
    """
    if ledger[MARKER] > 0:
        ledger[BEHIND] += 1
        ledger[BEHIND_UNTIL] = max(ledger[BEHIND_UNTIL] + 1, depart)
    else:
        ledger[ANSWERED] = max(ledger[ANSWERED] + 1, depart)


@inlined
def accept(queues: Any, ledger: Any, line: int, command: int, cycle: int) -> bool:
    """Offer a channel one request; a read that finds writes queued is answered from them.

    The reference compares addresses that its traces never set, so any queued write answers.
    """
    if command in (RD, WR):
        if ledger[AIM] > 0:
            return False
        if command == RD and ledger[WRITES] > 0:
            _answer(ledger, cycle)
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


@inlined
def _remove(queues: Any, ledger: Any, queue: int, place: int, index: int) -> None:
    for later in range(place + index, place + ledger[queue] - 1):
        queues[later] = queues[later + 1]
    ledger[queue] -= 1


@inlined
def _first_ready(
    lines: Any, state: Any, tables: Any, queues: Any, place: int, size: int, is_ordered: bool, cycle: int
) -> tuple[int, int]:
    """Index of the oldest request whose next command may issue at `cycle`, or -1; when the first other one may.

    An ordered queue is searched up to the first hit, so the other ones are then the older ones.
    """
    best, look = -1, NEVER
    for index in range(size):
        line = queues[place + index]
        bank = lines[line, LINE_BANK]
        command = prerequisite(state, tables, lines[line, COMMAND], bank, lines[line, LINE_ROW])
        ready = earliest(state, tables, command, bank)
        if ready > cycle:
            look = min(look, ready)
        elif is_ordered:
            return index, look
        elif best < 0 or line < queues[place + best]:
            best = index
    return best, look


@compiled(FLAG, TABLE, CYCLES, CYCLES, INTEGER)
def _is_activating(lines: Any, queues: Any, ledger: Any, bank: int) -> bool:
    """Whether a request whose activation was issued waits for `bank`; its row may not be closed."""
    found = False
    for index in range(_ACTIVE_AT, _ACTIVE_AT + ledger[ACTIVE]):
        found |= lines[queues[index], LINE_BANK] == bank
    return found


@compiled(NOTHING, CYCLES, CYCLES, INTEGER)
def _replace_head(queues: Any, ledger: Any, count: int) -> None:
    """Let `count` AiM requests leave, and as many of the refused ones come in behind."""
    size = ledger[AIM]
    for index in range(size):
        queues[_AIM_AT + index] = queues[_AIM_AT + index + count] if index + count < size else ledger[OFFERED]
    if ledger[REFUSED] == 0:
        ledger[AIM] -= count
    else:
        ledger[REFUSED] -= count


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, CYCLES, *[INTEGER] * 3)
def _regular_requests(state: Any, tables: Any, queues: Any, ledger: Any, line: int, command: int, cycle: int) -> int:
    """How many further requests of `line` follow one at `cycle` at the command's own period, whatever else happens.

    While the front end waits for this channel, each request that issues lets a refused one in.
    """
    if tables[FACTS + FACT_COUNT * command + ROW_EFFECT] != 0:
        return 0
    same = 0
    while same < ledger[AIM] and queues[_AIM_AT + same] == line:
        same += 1
    limit = min(ledger[HORIZON], state[REFRESH_DUE])
    if ledger[REFUSED] > 0:
        is_refilled = same == ledger[AIM] and ledger[OFFERED] == line
        same = ledger[REFUSED] - 1 if is_refilled else min(same, ledger[REFUSED] - 1)
        limit = state[REFRESH_DUE]
    period: int = tables[FACTS + FACT_COUNT * command + PERIOD]
    more: int = max(0, min(same, (limit - 1 - cycle) // period))
    return more


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, *[INTEGER] * 5)
def _run_on(
    state: Any,
    tables: Any,
    counters: Any,
    queues: Any,
    ledger: Any,
    line: int,
    command: int,
    bank: int,
    row: int,
    cycle: int,
) -> int:
    """After a request of `line` at `cycle` issue the regular ones behind it; returns the cycle of the last one."""
    more = _regular_requests(state, tables, queues, ledger, line, command, cycle)
    if more > 0:
        cycle += more * tables[FACTS + FACT_COUNT * command + PERIOD]
        issue(state, tables, counters, command, bank, row, cycle, more)
        _replace_head(queues, ledger, more)
    return cycle


@inlined
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
        if queue == AIM and ledger[SHORTCUT] and ledger[ACTIVE] == 0:
            cycle = _run_on(state, tables, counters, queues, ledger, line, command, bank, row, cycle)
        ledger[PROGRESS] = cycle
        depart = cycle + tables[FACTS + FACT_COUNT * command + COMPLETION]
        if command in (RD, RDMAC16, RDAF16):
            _answer(ledger, depart)
            if command != RD:
                ledger[AWAITED] -= 1
                ledger[RELEASED] = ledger[ANSWERED]
        else:
            ledger[WRITING_UNTIL] = max(ledger[WRITING_UNTIL], depart)
    elif chosen == ACT and queue != AIM:
        _remove(queues, ledger, queue, place, index)
        if ledger[ACTIVE] < QUEUE_DEPTH:
            queues[_ACTIVE_AT + ledger[ACTIVE]] = line
            ledger[ACTIVE] += 1
    return True


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, INTEGER)
def _refresh(state: Any, tables: Any, counters: Any, cycle: int) -> int:
    """Bring a due refresh on; it goes before all requests. Returns the cycle of the next look."""
    bank = due_bank(state, tables) if tables[BY_BANK] else 0
    command = PREA if state[OPEN_BANKS] > 0 else REFab
    if tables[BY_BANK]:
        command = prerequisite(state, tables, REFpb, bank, 0)
    ready = earliest(state, tables, command, bank)
    if ready <= cycle:
        issue(state, tables, counters, command, bank, 0, cycle, 1)
        return cycle + 1
    return ready


@inlined
def _has_requests(ledger: Any) -> bool:
    return bool(ledger[AIM] + ledger[READS] + ledger[WRITES] + ledger[ACTIVE] > 0)


@inlined
def _chooses_writes(ledger: Any) -> bool:
    """Whether conventional writes are served rather than reads; the choice changes at two filling levels."""
    if ledger[WRITES] >= _WRITE_HIGH or ledger[READS] == 0:
        ledger[WRITE_MODE] = 1
    elif ledger[WRITES] <= _WRITE_LOW:
        ledger[WRITE_MODE] = 0
    return bool(ledger[WRITE_MODE])


@inlined
def _take_marker(queues: Any, ledger: Any, cycle: int) -> bool:
    """Take SYNC or EOC from the head of the AiM requests, to answer from the next cycle on.

    False when it waits for activated requests.
    """
    if ledger[DRAINS] and ledger[ACTIVE] > 0:
        return False
    ledger[MARKER] = max(cycle, ledger[ANSWERED]) + 1
    ledger[BEHIND] = ledger[BEHIND_UNTIL] = 0
    _remove(queues, ledger, AIM, _AIM_AT, 0)
    return True


@inlined
def _serve(lines: Any, state: Any, tables: Any, counters: Any, queues: Any, ledger: Any, cycle: int) -> int:
    """Choose a request and issue a command for it; returns the first cycle in which something else can be done."""
    due: int = state[REFRESH_DUE]
    if due <= cycle:
        return _refresh(state, tables, counters, cycle)
    queue, place, index, look = ACTIVE, _ACTIVE_AT, -1, NEVER
    if ledger[ACTIVE] > 0:
        index, look = _first_ready(lines, state, tables, queues, place, ledger[ACTIVE], False, cycle)
    if index < 0:
        other = look
        if ledger[AIM] == 0:
            queue, place = (WRITES, _WRITES_AT) if _chooses_writes(ledger) else (READS, _READS_AT)
        elif lines[queues[_AIM_AT], COMMAND] in (SYNC, EOC):
            return cycle + 1 if _take_marker(queues, ledger, cycle) else min(look, due)
        else:
            queue, place = AIM, _AIM_AT
        size = 1 if queue == AIM else ledger[queue]
        index, look = _first_ready(lines, state, tables, queues, place, size, True, cycle)
        look = min(look, other)
    if index >= 0 and _progress(lines, state, tables, counters, queues, ledger, queue, place, index, cycle):
        if _has_requests(ledger):
            due = state[CLOCK]
        return due
    return min(look, due)


@inlined
def _marker_cycle(ledger: Any) -> int:
    """Cycle in which SYNC or EOC answers, when no other write issues before; `NEVER` without one."""
    marker: int = max(ledger[MARKER], ledger[WRITING_UNTIL] + 1)
    return marker if ledger[MARKER] > 0 else NEVER


@inlined
def _release(ledger: Any, cycle: int) -> None:
    """Let SYNC or EOC answer at `cycle`, and what stands behind it afterwards."""
    ledger[ANSWERED] = max(ledger[BEHIND_UNTIL], cycle + ledger[BEHIND])
    ledger[PROGRESS] = ledger[RELEASED] = cycle
    ledger[AWAITED] -= 1
    ledger[MARKER] = 0


@inlined
def tick(lines: Any, state: Any, tables: Any, counters: Any, queues: Any, ledger: Any) -> None:
    """The next cycle in which the channel can do anything: at most one command issues."""
    cycle = ledger[WAKE]
    if _marker_cycle(ledger) <= cycle:
        _release(ledger, cycle)
    look = _serve(lines, state, tables, counters, queues, ledger, cycle)
    ledger[WAKE] = max(min(look, _marker_cycle(ledger)), cycle + 1)


@compiled(NOTHING, TABLE, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER)
def advance(lines: Any, state: Any, tables: Any, counters: Any, queues: Any, ledger: Any, until: int) -> None:
    """Simulate a channel up to cycle `until`, without it."""
    ledger[HORIZON] = until
    while ledger[WAKE] < until:
        tick(lines, state, tables, counters, queues, ledger)


@inlined
def deliver(lines: Any, state: Any, tables: Any, counters: Any, queues: Any, ledger: Any, line: int, cycle: int) -> int:
    """Offer a channel the requests of a line from `cycle` on, until it has accepted them all.

    Returns:
        Cycle in which the last one was accepted; -1 when that never happens.
    """
    command = lines[line, COMMAND]
    ledger[REFUSED] = lines[line, COUNT]
    ledger[AWAITED] = lines[line, COUNT] if command in (RDMAC16, RDAF16, SYNC, EOC) else 0
    ledger[PROGRESS] = cycle
    ledger[OFFERED] = line
    ledger[HORIZON] = NEVER
    while True:
        while ledger[REFUSED] > 0 and accept(queues, ledger, line, command, cycle):
            ledger[REFUSED] -= 1
            ledger[WAKE] = cycle
        if ledger[REFUSED] == 0:
            return cycle
        if ledger[WAKE] - ledger[PROGRESS] > STALL_LIMIT_CYCLES:
            return -1
        cycle = ledger[WAKE] + 1
        tick(lines, state, tables, counters, queues, ledger)
        cycle = max(cycle, state[CLOCK])


@compiled(INTEGER, TABLE, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES)
def await_answers(lines: Any, state: Any, tables: Any, counters: Any, queues: Any, ledger: Any) -> int:
    """Simulate a channel until the last awaited answer has arrived.

    Returns:
        Cycle of its arrival; -1 when it never comes.
    """
    while ledger[AWAITED] > 0:
        if ledger[WAKE] - ledger[PROGRESS] > STALL_LIMIT_CYCLES:
            return -1
        tick(lines, state, tables, counters, queues, ledger)
    released: int = ledger[RELEASED]
    return released
