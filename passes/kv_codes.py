"""Integer codes of floating-point elements: scales, zero points, rounding, packing into bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_LARGEST_HALF = 65504.0


class Scaling(NamedTuple):
    """What codes are multiplied by and added to; both are binary16 numbers, held as binary32.

    Attributes:
        scale: Distance of neighbouring codes.
        zero: What the smallest code is worth.
    """

    scale: Array
    zero: Array

    @property
    def words(self) -> Array:
        """Scale in bits 0 to 15 and zero point in bits 16 to 31 of uint32."""
        low, high = (part.astype(np.float16).view(np.uint16).astype(np.uint32) for part in self)
        return low | high << np.uint32(16)


def scaling(low: Array, high: Array, steps: int | Array) -> Scaling:
    """The scaling of `steps` + 1 codes from `low` to `high`: binary32 arrays of a shape to which `steps` broadcasts."""
    with np.errstate(all="ignore"):
        return Scaling(_half((high - low) / np.asarray(steps, np.float32)), _half(low))


def _half(x: Array) -> Array:
    """The nearest binary16 number; larger ones are its largest, so that what codes are worth stays finite."""
    return np.clip(x, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16).astype(np.float32)


def encode(x: Array, by: Scaling, steps: int | Array, base: int = 0) -> Array:
    """Codes base to base + steps of binary32 elements, halves to the even one; `base` where the scale is 0."""
    with np.errstate(all="ignore"):
        codes = base + np.clip(np.rint((x - by.zero) / by.scale), 0, steps)
    return np.where(by.scale == 0, np.float32(base), codes).astype(np.int32)


def decode(codes: Array, by: Scaling, base: int = 0) -> Array:
    """What codes are worth, in binary32; with a base of 1 the code 0 is worth 0."""
    worth = (codes - base).astype(np.float32) * by.scale + by.zero
    return worth if base == 0 else np.where(codes == 0, np.float32(0), worth)


def packed(codes: Array, bits: int) -> Array:
    """Codes one behind another as bytes (uint8), lowest bits first, padded to a byte with zeros."""
    unpacked = (codes.reshape(-1, 1) >> np.arange(bits)) & 1
    return np.packbits(unpacked.astype(np.uint8), bitorder="little")
