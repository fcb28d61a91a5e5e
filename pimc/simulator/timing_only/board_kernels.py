"""Compiled scoreboard: what is under way in a unit, and when an instruction may start.

As `scoreboard.Scoreboard`, on rows of integers. `records` is the number of accesses under way, then kind, end, first
word and word after the last of each; `waiting` is the number of instructions in a queue, then the cycles at which
they start, ascending.
"""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, compiled
from pimc.simulator.engine.decoding import CHANNEL
from pimc.simulator.timing_only.tables import MOST_ACCESSES, NO_ACCESS, READ, WRITE

CLOCK = 0
"""Place of the cycle of the next hand-over in a position."""

MOST_RECORDS = 256
_RECORD_WIDTH = 4
RECORDS = 1 + MOST_RECORDS * _RECORD_WIDTH
_PRUNE_AT = 24
MOST_WAITING = 64
WAITING = 1 + MOST_WAITING


@compiled(NOTHING, CYCLES, CYCLES, INTEGER)
def wait_for_queue(waiting: Any, position: Any, depth: int) -> None:
    """Stall until a unit's queue has a free place; `waiting` is its size and the starts in ascending order."""
    if waiting[0] < depth:
        return
    started = 0
    while started < waiting[0] and waiting[1 + started] <= position[CLOCK]:
        started += 1
    surplus = waiting[0] - started - depth
    if surplus >= 0:
        position[CLOCK] = waiting[1 + started + surplus]
        started += surplus + 1
    for place in range(1 + started, 1 + waiting[0]):
        waiting[place - started] = waiting[place]
    waiting[0] -= started


@compiled(NOTHING, CYCLES, INTEGER)
def _queue(waiting: Any, start: int) -> None:
    place = waiting[0]
    while place > 0 and waiting[place] > start:
        waiting[place + 1] = waiting[place]
        place -= 1
    waiting[place + 1] = start
    waiting[0] += 1


@compiled(INTEGER, CYCLES, *[INTEGER] * 4)
def _after(records: Any, kind: int, low: int, high: int, cycle: int) -> int:
    """`cycle`, or the end of the last access under way that an access of `kind` to these words must wait for."""
    for place in range(1, 1 + _RECORD_WIDTH * records[0], _RECORD_WIDTH):
        overlaps = records[place + 2] < high and low < records[place + 3]
        if overlaps and records[place + 1] > cycle and WRITE in (records[place], kind):
            cycle = records[place + 1]
    return cycle


@compiled(FLAG, CYCLES, *[INTEGER] * 5)
def _record(records: Any, kind: int, end: int, low: int, high: int, clock: int) -> bool:
    """Remember an access; false when there is no room."""
    if records[0] > _PRUNE_AT:
        kept = 0
        for place in range(1, 1 + _RECORD_WIDTH * records[0], _RECORD_WIDTH):
            if records[place + 1] > clock:
                for value in range(_RECORD_WIDTH):
                    records[1 + _RECORD_WIDTH * kept + value] = records[place + value]
                kept += 1
        records[0] = kept
    if records[0] == MOST_RECORDS:
        return False
    place = 1 + _RECORD_WIDTH * records[0]
    records[place], records[place + 1], records[place + 2], records[place + 3] = kind, end, low, high
    records[0] += 1
    return True


@compiled(INTEGER, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER)
def earliest_start(spans: Any, position: Any, other: Any, own: Any, unit: int) -> int:
    """First cycle at which no hazard on the shared buffer stands against an instruction handed over now."""
    cycle: int = position[CLOCK]
    for number in range(MOST_ACCESSES):
        kind = spans[3 * number]
        if kind == NO_ACCESS:
            continue
        kind = READ if kind == READ else WRITE
        cycle = _after(other, kind, spans[3 * number + 1], spans[3 * number + 2], cycle)
        if unit == CHANNEL:
            cycle = _after(own, kind, spans[3 * number + 1], spans[3 * number + 2], cycle)
    return cycle


@compiled(FLAG, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER, INTEGER)
def remember(spans: Any, position: Any, records: Any, waiting: Any, start: int, end: int) -> bool:
    """Remember an instruction that a unit executes from `start` to `end`; false when there is no room."""
    if start > position[CLOCK]:
        if waiting[0] == MOST_WAITING:
            return False
        _queue(waiting, start)
    for number in range(MOST_ACCESSES):
        kind = spans[3 * number]
        if kind == NO_ACCESS:
            continue
        kind = READ if kind == READ else WRITE
        if not _record(records, kind, end, spans[3 * number + 1], spans[3 * number + 2], position[CLOCK]):
            return False
    return True
