"""What every unit did in a run, cycle by cycle: noted while the plain engine runs, kept as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimc.simulator.engine.decoding import CHANNEL, Operation
from pimc.simulator.engine.units import elements
from pimc.simulator.footprints.vector import Footprint

Integers = NDArray[np.int64]

NONE = -1
"""Execution that a run of commands belongs to when it belongs to none: refreshes of idle channels."""


@dataclass(frozen=True, eq=False)
class Recording:
    """What happened from one cycle to another; arrays with one value for each execution of an instruction.

    Attributes:
        begin: First cycle.
        end: Cycle at which everything had ended.
        dispatched: [instructions of all units and the sequencer, 2]: index in the program, cycle at which the sequencer
            was ready for the next one.
        index: Index in the program of what a unit executed.
        unit: Number of the unit.
        start: First cycle.
        finish: Cycle at which it ended.
        elements: Elements that the vector unit computed.
        words_read: Words of the shared buffer that it read.
        words_written: Words of the shared buffer that it wrote.
        operands: Resolved operands of those that the channels executed, otherwise empty.
        runs: [runs of commands, LOG_WIDTH], see `dram_layout.LOG_WIDTH`.
        run_execution: Place in `index` of what each run was issued for, or `NONE`.
    """

    begin: int
    end: int
    dispatched: Integers
    index: Integers
    unit: Integers
    start: Integers
    finish: Integers
    elements: Integers
    words_read: Integers
    words_written: Integers
    operands: Sequence[tuple[int, ...]]
    runs: Integers
    run_execution: Integers


class Recorder:
    """Notes what happens; see `Recording`."""

    def __init__(self, cycle: int) -> None:
        """Begin at `cycle`."""
        self._begin = self._end = cycle
        self._dispatched: list[tuple[int, int]] = []
        self._rows: list[tuple[int, ...]] = []
        self._operands: list[tuple[int, ...]] = []
        self._marks: list[tuple[int, int]] = []  # runs logged so far, what the latest of them were issued for

    def dispatched(self, index: int, clock: int) -> None:
        """Note that the sequencer goes on behind instruction `index` at cycle `clock`."""
        self._dispatched.append((index, clock))

    def executed(
        self,
        operation: Operation,
        operands: Sequence[int],
        footprint: Footprint,
        span: tuple[int, int],
        logged: int,
    ) -> None:
        """Note that a unit executes an instruction in the cycles `span`, after which `logged` runs are logged."""
        on_channels = operation.unit == CHANNEL
        if on_channels:
            self._marks.append((logged, len(self._rows)))
            count = 0
        else:
            rows, length = elements(operation, operands)
            count = rows * length
        self._rows.append(
            (operation.index, operation.unit, *span, count, footprint.words_read, footprint.words_written)
        )
        self._operands.append(tuple(operands) if on_channels else ())

    def run_ended(self, cycle: int, logged: int) -> None:
        """Note that a run ended at `cycle`, after which `logged` runs are logged."""
        self._end = cycle
        self._marks.append((logged, NONE))

    def recording(self, runs: Integers) -> Recording:
        """All that was noted, with the logged `runs` of commands."""
        columns = np.array(self._rows, dtype=np.int64).reshape(-1, 7)
        marks = np.array(self._marks, dtype=np.int64).reshape(-1, 2)
        behind = np.searchsorted(marks[:, 0], np.arange(runs.shape[0]), side="right")
        return Recording(
            begin=self._begin,
            end=self._end,
            dispatched=np.array(self._dispatched, dtype=np.int64).reshape(-1, 2),
            index=columns[:, 0],
            unit=columns[:, 1],
            start=columns[:, 2],
            finish=columns[:, 3],
            elements=columns[:, 4],
            words_read=columns[:, 5],
            words_written=columns[:, 6],
            operands=self._operands,
            runs=runs,
            run_execution=marks[:, 1][behind],
        )
