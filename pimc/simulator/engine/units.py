"""Timing of the units that work on the shared buffer or on memories of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isa import Duration, UnitComponent
from pimc.simulator.engine.decoding import Operation


class WordUnit:
    """A unit that takes one instruction after another, in order; one after another of each of its engines.

    Attributes:
        finished: Cycle at which the results of all its instructions are there.
    """

    def __init__(self, component: UnitComponent) -> None:
        """A unit that is free at cycle 0; `component` says how long its instructions take."""
        self._free: dict[str, int] = {}
        self.finished = 0
        self._component = component
        self._durations: dict[tuple[str, str, int, int], Duration] = {}

    def duration(self, operation: Operation, rows: int, length: int) -> Duration:
        """Time of an instruction on `rows` x `length` elements."""
        key = (operation.mnemonic, operation.function, rows, length)
        duration = self._durations.get(key)
        if duration is None:
            duration = self._durations[key] = self._component.duration(*key)
        return duration

    def issue(self, operation: Operation, duration: Duration, ready: int) -> tuple[int, int]:
        """Execute an instruction no earlier than `ready`; gives start and end."""
        start = max(ready, self._free.get(operation.engine, 0))
        self._free[operation.engine] = start + duration.occupied
        end = start + duration.latency
        if end > self.finished:
            self.finished = end
        return start, end


def elements(operation: Operation, operands: Sequence[Any]) -> tuple[int, int]:
    """Rows and elements of a row that an instruction works on; a scalar access is one element."""
    rows = operands[operation.rows_at] if operation.rows_at >= 0 else 1
    length = operands[operation.length_at] if operation.length_at >= 0 else 1
    return rows, length
