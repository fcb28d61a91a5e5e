"""Protocol buffer messages: single ones, and many of one form put together by numpy.

Numbers of many messages have a fixed width, with continuation bits where they are shorter, which the format allows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_VARINT, _FIXED64, _BYTES = 0, 1, 2

Bytes = NDArray[np.uint8]

Value = int | float | str | bytes


def message(*fields: tuple[int, Value]) -> bytes:
    """A message of fields (number, value): int as varint, float as double, text and bytes with their length."""
    return b"".join(_field(number, value) for number, value in fields)


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, float):
        return varint(number << 3 | _FIXED64) + np.float64(value).tobytes()
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | _BYTES) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """A number that is not negative, seven bits a byte."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_width(largest: int) -> int:
    """Bytes of the varint of `largest`."""
    return len(varint(largest))


def varints(field: int, values: NDArray[np.int64], width: int) -> Bytes:
    """Fields [n, ...] of one number each, none negative, in `width` bytes behind the tag."""
    shifts = 7 * np.arange(width)
    digits = (values[:, np.newaxis] >> shifts & 0x7F).astype(np.uint8)
    digits[:, :-1] |= 0x80
    return joined([constant(varint(field << 3 | _VARINT), values.size), digits])


def doubles(field: int, values: NDArray[np.float64]) -> Bytes:
    """Fields [n, ...] of one binary64 number each."""
    numbers = np.ascontiguousarray(values, dtype="<f8").view(np.uint8).reshape(values.size, 8)
    return joined([constant(varint(field << 3 | _FIXED64), values.size), numbers])


def nested(field: int, content: Bytes) -> Bytes:
    """Fields [n, ...] that hold messages of equal length."""
    head = varint(field << 3 | _BYTES) + varint(content.shape[1])
    return joined([constant(head, content.shape[0]), content])


def constant(data: bytes, count: int) -> Bytes:
    """The same bytes [count, ...] in every message."""
    return np.broadcast_to(np.frombuffer(data, np.uint8), (count, len(data)))


def joined(fields: Sequence[Bytes]) -> Bytes:
    """Messages of all these fields."""
    return np.concatenate(fields, axis=1)
