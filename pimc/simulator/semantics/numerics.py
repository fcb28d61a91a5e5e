"""Elements of banks as binary32 and back: bf16 bits (uint16), or binary32 itself."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray


def from_elements(elements: NDArray[Any]) -> NDArray[np.float32]:
    """Values of stored elements: uint16 arrays hold bf16 bits, float32 arrays hold the values."""
    if elements.dtype == np.uint16:
        return (elements.astype(np.uint32) << 16).view(np.float32)
    return elements


def to_elements(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Stored form of binary32 values in a bank of `dtype`: bf16 bits rounded to nearest even, or the values."""
    if dtype == np.uint16:
        return values.astype(ml_dtypes.bfloat16).view(np.uint16)
    return values


def rounded_to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Binary32 values rounded to the nearest bf16, ties to even."""
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)
