"""Timing of the vector unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isa import Machine, vector_cycles
from pimc.simulator.engine.decoding import Operation


class VectorUnit:
    """The vector unit: one instruction at a time, in order.

    Attributes:
        free: Cycle at which the unit has finished everything.
    """

    def __init__(self, machine: Machine) -> None:
        self.free = 0
        self._machine = machine
        self._cycles: dict[tuple[str, str, int, int], int] = {}

    def issue(self, operation: Operation, rows: int, length: int, ready: int) -> tuple[int, int]:
        """Execute an instruction on `rows` x `length` elements no earlier than `ready`; gives start and end."""
        key = (operation.mnemonic, operation.function, rows, length)
        cycles = self._cycles.get(key)
        if cycles is None:
            cycles = vector_cycles(self._machine, *key)
            self._cycles[key] = cycles
        start = ready if ready > self.free else self.free
        self.free = start + cycles
        return start, self.free


def elements(operation: Operation, operands: Sequence[Any]) -> tuple[int, int]:
    """Rows and elements of a row that a vector instruction works on; a scalar access is one element."""
    rows = operands[operation.rows_at] if operation.rows_at >= 0 else 1
    length = operands[operation.length_at] if operation.length_at >= 0 else 1
    return rows, length
