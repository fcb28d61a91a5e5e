"""What happened in a run, counted for every instruction of the program."""

from __future__ import annotations

import numpy as np

from pimc.simulator.accounting.floors import MacWork
from pimc.simulator.engine.decoding import UNITS, Operation
from pimc.simulator.footprints.vector import Footprint


class Counters:
    """Counts of one run, by index of the instruction.

    Attributes:
        executed: Times that the instruction was executed.
        busy_cycles: Cycles that its unit worked on it.
        elements: Elements that a unit other than the channels worked on.
        words_read: Words of the shared buffer that it read.
        words_written: Words of the shared buffer that it wrote.
        commands: int64 [instructions + 1, commands] of the DRAM channels; the last row belongs to no instruction.
        further_beats: MAC16 commands of `kmac` that took one more beat of a column already read, over all channels.
        mac_work: What the MAC units swept.
        unit_cycles: For each unit, cycles in which it worked on anything.
    """

    def __init__(self, instructions: int, commands: int) -> None:
        self.executed = [0] * instructions
        self.busy_cycles = [0] * instructions
        self.elements = [0] * instructions
        self.words_read = [0] * instructions
        self.words_written = [0] * instructions
        self.commands = np.zeros((instructions + 1, commands), np.int64)
        self.further_beats = [0] * instructions
        self.mac_work = MacWork()
        self.unit_cycles = [0] * len(UNITS)
        self._unit_ends = [0] * len(UNITS)

    def add(self, operation: Operation, footprint: Footprint, start: int, end: int) -> None:
        """Count one execution by a unit, from cycle `start` to `end`."""
        index = operation.index
        self.busy_cycles[index] += end - start
        self.words_read[index] += footprint.words_read
        self.words_written[index] += footprint.words_written
        unit, ends = operation.unit, self._unit_ends
        if end > ends[unit]:
            self.unit_cycles[unit] += end - max(start, ends[unit])
            ends[unit] = end
