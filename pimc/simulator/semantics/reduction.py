"""Meaning of the instructions that reduce rows of the shared buffer to one word each.

Sums and squares are rounded to binary32, or wrap at 32 bits. A row of length 0 has the sum 0, the index 0, and as its
largest (smallest) element minus (plus) infinity, of int32 the lowest (highest) word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import WORD_TYPES
from pimc.simulator.semantics.vector_ranges import extent, view
from pimc.simulator.state.machine_state import MachineState

_F32 = WORD_TYPES.index("f32")
_LOWEST, _HIGHEST = -(2**31), 2**31 - 1


def _reduction(
    function: Callable[[NDArray[Any]], Any], empty: tuple[float, int], gives_index: bool = False
) -> Callable[..., None]:
    """Semantics of a reduction.

    Args:
        function: From the words of rows, [..., length], to one value a row.
        empty: Value of rows without elements, for binary32 and for int32 words.
        gives_index: Whether the result is an int32 word for both types.
    """

    def run(
        state: MachineState,
        dst: int,
        a: int,
        length: int,
        rows: int,
        dst_row: int,
        a_row: int,
        a_step: int,
        word_type: int = _F32,
    ) -> None:
        if rows == 0:
            return
        source = state.shared if word_type == _F32 else state.shared_integers
        words = state.shared_integers if gives_index else source
        if length == 0:
            view(words, dst, 1, rows, 0, dst_row)[...] = empty[word_type]
            return
        if rows == 1:
            words[dst] = function(view(source, a, 1, length, 0, a_step))
            return
        end = a + extent(rows, length, a_row, a_step)
        if dst_row and (dst >= end or dst + (rows - 1) * dst_row < a):
            view(words, dst, 1, rows, 0, dst_row)[...] = function(view(source, a, rows, length, a_row, a_step))
            return
        for _ in range(rows):
            words[dst] = function(view(source, a, 1, length, 0, a_step))
            dst, a = dst + dst_row, a + a_row

    return run


def _sum(values: NDArray[Any]) -> Any:
    return np.add.reduce(values, axis=-1, dtype=values.dtype)


def _sum_of_squares(values: NDArray[Any]) -> Any:
    return np.add.reduce(np.multiply(values, values), axis=-1)


def _largest(values: NDArray[Any]) -> Any:
    return np.maximum.reduce(values, axis=-1)


def _smallest(values: NDArray[Any]) -> Any:
    return np.minimum.reduce(values, axis=-1)


def _index_of_largest(values: NDArray[Any]) -> Any:
    return values.argmax(axis=-1)


REDUCTION_SEMANTICS: Mapping[str, Callable[..., Any]] = {
    "rsum": _reduction(_sum, (0.0, 0)),
    "rmax": _reduction(_largest, (-np.inf, _LOWEST)),
    "rsumsq": _reduction(_sum_of_squares, (0.0, 0)),
    "rargmax": _reduction(_index_of_largest, (0, 0), gives_index=True),
    "rmin": _reduction(_smallest, (np.inf, _HIGHEST)),
}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
