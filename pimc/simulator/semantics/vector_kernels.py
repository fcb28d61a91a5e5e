"""Compiled kernel of the vector instruction whose rows depend on one another."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True, nogil=True)
def accumulate_rows(
    words: Any,
    target: int,
    a: int,
    b: int,
    length: int,
    rows: int,
    a_row: int,
    b_row: int,
    target_step: int,
    a_step: int,
    b_step: int,
) -> None:
    """Add the products of all rows, one row after another, to the same `length` words; each is rounded twice a row.

    Args:
        words: float32, changed in place; the target overlaps neither operand.
        target: First word of the sums.
        a: First word of the first operand.
        b: First word of the second operand.
        length: Words of a row.
        rows: Number of rows.
        a_row: Words from one row of the first operand to the next.
        b_row: Of the second operand.
        target_step: Words from one sum to the next, above 0.
        a_step: Words from one element of the first operand to the next.
        b_step: Of the second operand.
    """
    for row in range(rows):
        first, second = a + row * a_row, b + row * b_row
        for column in range(length):
            product = words[first + column * a_step] * words[second + column * b_step]
            words[target + column * target_step] += product
