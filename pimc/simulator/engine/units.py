"""Timing of the units that work on the shared buffer: the vector unit and the codec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from isa import Machine, codec_cycles, vector_cycles
from pimc.simulator.engine.decoding import Operation


def vector_operation_cycles(machine: Machine, operation: Operation, rows: int, length: int) -> int:
    """Cycles of an instruction of the vector unit."""
    return vector_cycles(machine, operation.mnemonic, operation.function, rows, length)


def codec_operation_cycles(machine: Machine, operation: Operation, rows: int, length: int) -> int:
    """Cycles of an instruction of the codec."""
    return codec_cycles(machine, operation.mnemonic, rows, length)


class WordUnit:
    """A unit that works on the shared buffer: one instruction at a time, in order.

    Attributes:
        free: Cycle at which the unit has finished everything.
    """

    def __init__(self, machine: Machine, operation_cycles: Callable[[Machine, Operation, int, int], int]) -> None:
        """A unit that is free at cycle 0.

        Args:
            machine: The machine.
            operation_cycles: Cycles that the unit takes for an instruction on rows x length elements.
        """
        self.free = 0
        self._machine = machine
        self._operation_cycles = operation_cycles
        self._cycles: dict[tuple[str, str, int, int], int] = {}

    def issue(self, operation: Operation, rows: int, length: int, ready: int) -> tuple[int, int]:
        """Execute an instruction on `rows` x `length` elements no earlier than `ready`; gives start and end."""
        key = (operation.mnemonic, operation.function, rows, length)
        cycles = self._cycles.get(key)
        if cycles is None:
            cycles = self._operation_cycles(self._machine, operation, rows, length)
            self._cycles[key] = cycles
        start = ready if ready > self.free else self.free
        self.free = start + cycles
        return start, self.free


def elements(operation: Operation, operands: Sequence[Any]) -> tuple[int, int]:
    """Rows and elements of a row that an instruction works on; a scalar access is one element."""
    rows = operands[operation.rows_at] if operation.rows_at >= 0 else 1
    length = operands[operation.length_at] if operation.length_at >= 0 else 1
    return rows, length
