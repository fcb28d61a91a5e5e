"""Initial contents of the banks and of the shared buffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from isa import NearBank, Segment
from passes import PlacedMatrix, Placement
from pimc.backend.rooms.constants import Constant


def bank_segment(region: str, placement: Placement, near_bank: NearBank, numerics: str) -> Segment:
    """All placed matrices as one image [channels, banks, columns * lanes].

    Args:
        region: Name of the region that the image fills.
        placement: The matrices.
        near_bank: Organisation of the banks.
        numerics: `machine` rounds to bf16 (kept as uint16 bits), `fp32` keeps float32.
    """
    dtype = np.uint16 if numerics == "machine" else np.float32
    shape = (near_bank.channels, near_bank.banks, placement.columns * near_bank.lanes)
    image: NDArray[Any] = np.zeros(shape, dtype=dtype)
    for matrix in placement.matrices:
        first = matrix.column * near_bank.lanes
        for weight in _weights(matrix):
            part = image[:, :, first : first + matrix.layout.columns * near_bank.lanes]
            packed = np.zeros(part.shape, dtype=np.float32)
            matrix.layout.pack(weight, packed)
            part[...] = packed if numerics == "fp32" else packed.astype(ml_dtypes.bfloat16).view(np.uint16)
            first += matrix.layout.columns * near_bank.lanes
    return Segment(region, image)


def _weights(matrix: PlacedMatrix) -> list[NDArray[np.float32]]:
    """The matrices, each as [inputs, outputs]; a single weight is not copied."""
    if matrix.weights[0].type.rank == 3:
        return list(np.asarray(matrix.weights[0].constant))
    arrays = [np.asarray(value.constant) for value in matrix.weights]
    whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)
    return [whole.T if matrix.is_table else whole]


def buffer_segment(region: str, size: int, constants: Sequence[Constant]) -> Segment:
    """The constants at their words, as raw 32-bit words; the region begins at word 0 and has `size` words."""
    words = np.zeros(size, dtype=np.uint32)
    for _, first, raw in constants:
        words[first : first + raw.size] = raw
    return Segment(region, words)
