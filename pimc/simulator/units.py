"""Timing of the vector unit, and of the channels behind the same face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isa import Machine, vector_cycles
from pimc.simulator.decoding import Operation


class Channels(Protocol):
    """What the simulator needs of the timing of the near-bank unit (`ChannelTiming`)."""

    @property
    def command_names(self) -> Sequence[str]:
        """Names of the counted commands."""

    @property
    def command_counts(self) -> NDArray[np.int64]:
        """Commands so far, summed over the channels."""

    @property
    def last_counts(self) -> NDArray[np.int64]:
        """What the latest `issue` or `advance` added to `command_counts`."""

    @property
    def finish_cycle(self) -> int:
        """Cycle at which the data of every instruction so far have arrived."""

    def issue(self, mnemonic: str, operands: Sequence[int], ready: int) -> tuple[int, int]:
        """Execute an instruction no earlier than `ready`; gives its first and its last cycle."""

    def advance(self, cycle: int) -> None:
        """Refresh idle channels up to `cycle`."""

    def row_open_cycles(self, cycle: int) -> int:
        """Cycles before `cycle`, summed over the channels, with an open row."""


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
