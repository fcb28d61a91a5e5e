"""Memories of a digital CIM core and the memory behind it: weights in the arrays, bytes off chip."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isa import DIGITAL_CIM_MATRICES, Machine

_PADDING = 8
"""Bytes behind the off-chip memory, which kernels may read with the last code of a record and ignore."""


class CimArrays:
    """Weight matrices of a core, int8 [inputs, outputs], and the off-chip memory; both zero until written.

    They are allocated when they are first used, so that a run without data takes no room.

    Attributes:
        off_chip_bytes: Size of the off-chip memory, 0 without one.
    """

    def __init__(self, machine: Machine) -> None:
        """Nothing is written yet."""
        core, memory = machine.digital_cim, machine.off_chip
        self._shapes = {} if core is None else {n: core.matrices[name] for n, name in enumerate(DIGITAL_CIM_MATRICES)}
        self._weights: dict[int, NDArray[np.int8]] = {}
        self.off_chip_bytes = 0 if memory is None else memory.capacity_bytes
        self._off_chip: NDArray[np.uint8] | None = None

    def shape(self, matrix: int) -> tuple[int, int]:
        """Inputs and outputs of a matrix; (0, 0) without a core."""
        return self._shapes.get(matrix, (0, 0))

    def weights(self, matrix: int) -> NDArray[np.int8]:
        """Weights of the matrix with this number in `isa.DIGITAL_CIM_MATRICES`, int8 [inputs, outputs]."""
        found = self._weights.get(matrix)
        if found is None:
            found = self._weights[matrix] = np.zeros(self.shape(matrix), np.int8)
        return found

    @property
    def off_chip(self) -> NDArray[np.uint8]:
        """Bytes of the off-chip memory, and a few behind it."""
        if self._off_chip is None:
            self._off_chip = np.zeros(self.off_chip_bytes + _PADDING, np.uint8)
        return self._off_chip

    def reset(self) -> None:
        """Forget everything."""
        self._weights.clear()
        self._off_chip = None
