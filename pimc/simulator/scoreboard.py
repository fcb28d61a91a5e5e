"""When an instruction may start: in-order dispatch, queues of limited depth, interlocked hazards."""

from __future__ import annotations

from isa import Machine
from pimc.simulator.footprints import Footprint

_PRUNE_AT = 24
"""Number of remembered accesses at which finished ones are forgotten."""

Access = tuple[int, int, int]
"""Cycle at which an access ends, first word, word after the last."""


class Scoreboard:
    """Dispatch of instructions in program order, and what is still under way.

    The sequencer hands over one instruction every `cycles_per_instruction`. An instruction starts no earlier than the
    end of an earlier one that writes words it reads (RAW), reads words it writes (WAR) or writes words it writes (WAW);
    two-dimensional ranges count as their hull. An instruction that reads or writes a register which a unit has yet to
    return waits in the sequencer, and so does everything behind it. A unit holds `queue_depth` instructions that have
    not started.

    Attributes:
        clock: Cycle at which the sequencer hands over the next instruction.
        pending: For registers that a unit has yet to return, the cycle at which it does.
    """

    def __init__(self, machine: Machine, units: int) -> None:
        self.clock = 0
        self.pending: dict[int, int] = {}
        self._depth = machine.sequencer.queue_depth
        self._reads: list[Access] = []
        self._writes: list[Access] = []
        self._waiting: tuple[list[int], ...] = tuple([] for _ in range(units))

    def wait_for_registers(self, registers: tuple[int, ...]) -> None:
        """Stall the sequencer until every one of `registers` has been returned."""
        for register in registers:
            returned = self.pending.pop(register, None)
            if returned is not None and returned > self.clock:
                self.clock = returned

    def wait_for_queue(self, unit: int) -> None:
        """Stall the sequencer until the queue of `unit` has a free place."""
        waiting = self._waiting[unit]
        if len(waiting) < self._depth:
            return
        waiting[:] = [start for start in waiting if start > self.clock]
        surplus = len(waiting) - self._depth
        if surplus >= 0:
            waiting.sort()
            self.clock = waiting[surplus]
            del waiting[: surplus + 1]

    def earliest_start(self, footprint: Footprint) -> int:
        """First cycle at which no hazard on the shared buffer stands against an instruction handed over now."""
        cycle = self.clock
        writes = self._writes
        for low, high in footprint.reads:
            for end, first, last in writes:
                if end > cycle and first < high and low < last:
                    cycle = end
        for low, high in footprint.writes:
            for end, first, last in writes:
                if end > cycle and first < high and low < last:
                    cycle = end
            for end, first, last in self._reads:
                if end > cycle and first < high and low < last:
                    cycle = end
        return cycle

    def record(self, unit: int, footprint: Footprint, start: int, end: int) -> None:
        """Remember an instruction that `unit` executes from `start` to `end`."""
        if start > self.clock:
            self._waiting[unit].append(start)
        for low, high in footprint.reads:
            self._reads.append((end, low, high))
        for low, high in footprint.writes:
            self._writes.append((end, low, high))
        if len(self._reads) > _PRUNE_AT:
            self._reads = self._under_way(self._reads)
        if len(self._writes) > _PRUNE_AT:
            self._writes = self._under_way(self._writes)

    def _under_way(self, accesses: list[Access]) -> list[Access]:
        return [access for access in accesses if access[0] > self.clock]

    def drain(self, cycle: int) -> None:
        """Go on at `cycle`, when every unit has finished."""
        self.clock = cycle
        self.pending.clear()
        self._reads.clear()
        self._writes.clear()
        for waiting in self._waiting:
            waiting.clear()
