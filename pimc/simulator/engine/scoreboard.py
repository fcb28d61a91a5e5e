"""When an instruction may start: in-order dispatch, queues of limited depth, interlocked hazards."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence

from pimc.simulator.footprints.vector import Footprint, Span

_PRUNE_AT = 24
"""Number of remembered accesses at which finished ones are forgotten."""

Access = tuple[int, int, int]
"""Cycle at which an access ends, first word, word after the last."""


class _UnitRecord:
    """What a unit has yet to start or to end, each list in ascending order of cycles."""

    __slots__ = ("reads", "waiting", "writes")

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.reads: list[Access] = []
        self.writes: list[Access] = []


class Scoreboard:
    """Dispatch of instructions in program order, and what is still under way.

    The sequencer hands over one instruction every `cycles_per_instruction`. An instruction starts no earlier than the
    end of an earlier one that writes words it reads (RAW), reads words it writes (WAR) or writes words it writes (WAW);
    two-dimensional ranges count as their hull. A pipelined unit reads while it is occupied with an instruction, and
    writes as long before its end. An instruction that reads or writes a register which a unit has yet to
    return waits in the sequencer, and so does everything behind it. A unit holds `queue_depth` instructions that have
    not started; with a depth of 0 an instruction is handed over when it starts.

    Attributes:
        clock: Cycle at which the sequencer hands over the next instruction.
        pending: For registers that a unit has yet to return, the cycle at which it does.
    """

    def __init__(
        self,
        depths: Sequence[int],
        serial_units: frozenset[int] = frozenset(),
        awaited_units: Mapping[int, frozenset[int]] | None = None,
    ) -> None:
        """Start at cycle 0.

        Args:
            depths: Depth of the queue of each unit.
            serial_units: Units that never start an instruction before the end of their previous one; hazards between
                two instructions of such a unit need no check.
            awaited_units: For units that heed only hazards with some units, these units; for others all count.
        """
        self.clock = 0
        self.pending: dict[int, int] = {}
        self._depths = tuple(depths)
        self._units = tuple(_UnitRecord() for _ in depths)
        awaited = awaited_units or {}
        everyone = frozenset(range(len(self._depths)))
        self._rivals = tuple(
            tuple(
                each
                for other, each in enumerate(self._units)
                if other in awaited.get(unit, everyone) and (other != unit or unit not in serial_units)
            )
            for unit in range(len(self._depths))
        )

    def wait_for_registers(self, registers: tuple[int, ...]) -> None:
        """Stall the sequencer until every one of `registers` has been returned."""
        for register in registers:
            returned = self.pending.pop(register, None)
            if returned is not None and returned > self.clock:
                self.clock = returned

    def wait_for_queue(self, unit: int) -> None:
        """Stall the sequencer until the queue of `unit` has a free place."""
        waiting, depth = self._units[unit].waiting, self._depths[unit]
        if len(waiting) < depth or not depth:
            return
        del waiting[: bisect_right(waiting, self.clock)]
        surplus = len(waiting) - depth
        if surplus >= 0:
            self.clock = waiting[surplus]
            del waiting[: surplus + 1]

    def earliest_start(self, unit: int, footprint: Footprint, before_writing: int = 0) -> int:
        """First cycle at which no hazard on the shared buffer stands against an instruction handed over now.

        Args:
            unit: Number of its unit.
            footprint: What it touches.
            before_writing: Cycles from its start until it writes for the first time.
        """
        cycle = self.clock
        for rival in self._rivals[unit]:
            is_written = bool(rival.writes) and rival.writes[-1][0] > cycle
            is_read = bool(rival.reads) and rival.reads[-1][0] > cycle
            for span in footprint.reads if is_written else ():
                cycle = _after(rival.writes, span, cycle)
            for span in footprint.writes if is_written or is_read else ():
                cycle = _after(rival.writes, span, cycle + before_writing) - before_writing
                cycle = _after(rival.reads, span, cycle + before_writing) - before_writing
        return cycle

    def record(self, unit: int, footprint: Footprint, start: int, end: int, read: int | None = None) -> None:
        """Remember an instruction that `unit` executes from `start` to `end`, and that has read all by `read`."""
        record = self._units[unit]
        if start > self.clock and not self._depths[unit]:
            self.clock = start
        elif start > self.clock:
            waiting = record.waiting
            if waiting and start < waiting[-1]:
                insort(waiting, start)
            else:
                waiting.append(start)
        for low, high in footprint.reads:
            self._remember(record.reads, (end if read is None else read, low, high))
        for low, high in footprint.writes:
            self._remember(record.writes, (end, low, high))

    def _remember(self, accesses: list[Access], access: Access) -> None:
        if accesses and access[0] < accesses[-1][0]:
            insort(accesses, access)
        else:
            accesses.append(access)
        if len(accesses) > _PRUNE_AT:
            del accesses[: bisect_right(accesses, self.clock, key=_end)]

    def drain(self, cycle: int) -> None:
        """Go on at `cycle`, when every unit has finished."""
        self.clock = cycle
        self.pending.clear()
        for record in self._units:
            record.waiting.clear()
            record.reads.clear()
            record.writes.clear()


def _end(access: Access) -> int:
    return access[0]


def _after(accesses: list[Access], span: Span, cycle: int) -> int:
    """`cycle`, or the end of the last access that overlaps `span` when that is later."""
    low, high = span
    for end, first, last in reversed(accesses):
        if end <= cycle:
            break
        if first < high and low < last:
            return end
    return cycle
