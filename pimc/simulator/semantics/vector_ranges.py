"""Two-dimensional strided ranges of the shared buffer as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_WORD_BYTES = 4


def view(words: NDArray[Any], start: int, rows: int, length: int, row_stride: int, step: int) -> NDArray[Any]:
    """The words start + i * row_stride + j * step as an array: [length] for one row, otherwise [rows, length]."""
    if rows == 1:
        if step == 1 or length == 1:
            return words[start : start + length]
        if step:
            return words[start : start + (length - 1) * step + 1 : step]
        return np.ndarray((length,), words.dtype, words, start * _WORD_BYTES, (0,))
    strides = (row_stride * _WORD_BYTES, step * _WORD_BYTES)
    return np.ndarray((rows, length), words.dtype, words, start * _WORD_BYTES, strides)


def extent(rows: int, length: int, row_stride: int, step: int) -> int:
    """Number of words from the first to the last of a range."""
    return (rows - 1) * row_stride + (length - 1) * step + 1


def meet(one: tuple[int, int, int, int, int], other: tuple[int, int, int, int, int]) -> bool:
    """Whether the hulls of two ranges (start, rows, length, row stride, step) share a word."""
    return one[0] < other[0] + extent(*other[1:]) and other[0] < one[0] + extent(*one[1:])


def _is_distinct(rows: int, length: int, row_stride: int, step: int) -> bool:
    """Whether no two elements of different rows share a word; sufficient, not necessary."""
    return row_stride > (length - 1) * step or (row_stride > 0 and step > (rows - 1) * row_stride)


def rows_are_independent(
    rows: int, length: int, target: tuple[int, int, int], sources: tuple[tuple[int, int, int], ...]
) -> bool:
    """Whether all rows may be computed at once: no row writes what another row reads or writes.

    Args:
        rows: Number of rows.
        length: Elements of a row.
        target: Start, row stride and step of the result.
        sources: The same of the operands.
    """
    start, row_stride, step = target
    if not _is_distinct(rows, length, row_stride, step):
        return False
    written = (start, rows, length, row_stride, step)
    return not any(meet(written, (source[0], rows, length, *source[1:])) for source in sources if source != target)
