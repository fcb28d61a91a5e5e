"""Meaning of the instructions of the vector unit, on two-dimensional strided ranges of the shared buffer.

Everything is computed in binary32. Rows run one after another; within a row all operands are read before the result is
written. So `vmac` with a row stride of 0 on `dst` sums the rows, and of elements that a row writes to the same word the
last one stays. A row of length 0 has the sum 0, the maximum minus infinity and the argmax 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimc.simulator.faults import FaultError
from pimc.simulator.state import MachineState
from pimc.simulator.vector_functions import FROM_INT, FUNCTION_OF_CODE, TO_INT, to_int32

_WORD_BYTES = 4


def view(
    words: NDArray[Any], start: int, rows: int, length: int, row_stride: int, step: int
) -> NDArray[Any]:
    """The words start + i * row_stride + j * step as an array: [length] for one row, otherwise [rows, length]."""
    if rows == 1:
        if step == 1 or length == 1:
            return words[start : start + length]
        if step:
            return words[start : start + (length - 1) * step + 1 : step]
        return np.ndarray((length,), words.dtype, words, start * _WORD_BYTES, (0,))
    strides = (row_stride * _WORD_BYTES, step * _WORD_BYTES)
    return np.ndarray((rows, length), words.dtype, words, start * _WORD_BYTES, strides)


def _extent(rows: int, length: int, row_stride: int, step: int) -> int:
    return (rows - 1) * row_stride + (length - 1) * step + 1


def _is_distinct(rows: int, length: int, row_stride: int, step: int) -> bool:
    """Whether no two elements of different rows share a word; sufficient, not necessary."""
    return row_stride > (length - 1) * step or (row_stride > 0 and step > (rows - 1) * row_stride)


def _rows_are_independent(
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
    end = start + _extent(rows, length, row_stride, step)
    for source in sources:
        if source == target:
            continue
        if source[0] < end and start < source[0] + _extent(rows, length, source[1], source[2]):
            return False
    return True


def _binary(function: Callable[..., Any]) -> Callable[..., None]:
    def run(
        state: MachineState,
        dst: int,
        a: int,
        b: int,
        length: int,
        rows: int,
        dst_row: int,
        a_row: int,
        b_row: int,
        dst_step: int,
        a_step: int,
        b_step: int,
    ) -> None:
        if length == 0 or rows == 0:
            return
        if dst_step == 0 and length > 1:
            a, b, length = a + (length - 1) * a_step, b + (length - 1) * b_step, 1
        words = state.shared
        sources = ((a, a_row, a_step), (b, b_row, b_step))
        together = rows == 1 or _rows_are_independent(rows, length, (dst, dst_row, dst_step), sources)
        count = rows if together else 1
        for _ in range(1 if together else rows):
            function(
                view(words, a, count, length, a_row, a_step),
                view(words, b, count, length, b_row, b_step),
                out=view(words, dst, count, length, dst_row, dst_step),
            )
            dst, a, b = dst + dst_row, a + a_row, b + b_row

    return run


def _accumulate(a: NDArray[np.float32], b: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    np.add(out, np.multiply(a, b), out=out)


def vmap(
    state: MachineState,
    dst: int,
    a: int,
    fn: int,
    length: int,
    rows: int,
    scale: float,
    bias: float,
    dst_row: int,
    a_row: int,
    dst_step: int,
    a_step: int,
) -> None:
    """Map fn(scale * a + bias), with the types that `from_int` and `to_int` ask for."""
    if length == 0 or rows == 0:
        return
    if dst_step == 0 and length > 1:
        a, length = a + (length - 1) * a_step, 1
    together = rows == 1 or _rows_are_independent(rows, length, (dst, dst_row, dst_step), ((a, a_row, a_step),))
    for _ in range(1 if together else rows):
        count = rows if together else 1
        source = view(state.shared_integers if fn == FROM_INT else state.shared, a, count, length, a_row, a_step)
        target = view(state.shared_integers if fn == TO_INT else state.shared, dst, count, length, dst_row, dst_step)
        target[...] = _mapped(source, fn, scale, bias)
        dst, a = dst + dst_row, a + a_row


def _mapped(source: NDArray[Any], fn: int, scale: float, bias: float) -> NDArray[Any]:
    values = source.astype(np.float32) if fn == FROM_INT else source
    if scale != 1.0:
        values = values * np.float32(scale)
    if bias != 0.0:
        values = values + np.float32(bias)
    return to_int32(values) if fn == TO_INT else FUNCTION_OF_CODE[fn](values)


def vfill(state: MachineState, dst: int, value: float, length: int, rows: int, dst_row: int, dst_step: int) -> None:
    """Fill with a constant."""
    if length and rows:
        view(state.shared, dst, rows, length, dst_row, dst_step)[...] = value


def _reduction(function: Callable[[NDArray[np.float32]], Any], empty: float, is_integer: bool) -> Callable[..., None]:
    def run(
        state: MachineState, dst: int, a: int, length: int, rows: int, dst_row: int, a_row: int, a_step: int
    ) -> None:
        if rows == 0:
            return
        words = state.shared_integers if is_integer else state.shared
        if length == 0:
            view(words, dst, 1, rows, 0, dst_row)[...] = empty
            return
        if rows == 1:
            words[dst] = function(view(state.shared, a, 1, length, 0, a_step))
            return
        end = a + _extent(rows, length, a_row, a_step)
        if dst_row and (dst >= end or dst + (rows - 1) * dst_row < a):
            view(words, dst, 1, rows, 0, dst_row)[...] = function(view(state.shared, a, rows, length, a_row, a_step))
            return
        for _ in range(rows):
            words[dst] = function(view(state.shared, a, 1, length, 0, a_step))
            dst, a = dst + dst_row, a + a_row

    return run


def _sum(values: NDArray[np.float32]) -> Any:
    return np.add.reduce(values, axis=-1)


def _sum_of_squares(values: NDArray[np.float32]) -> Any:
    return np.add.reduce(np.multiply(values, values), axis=-1)


def _largest(values: NDArray[np.float32]) -> Any:
    return np.maximum.reduce(values, axis=-1)


def _index_of_largest(values: NDArray[np.float32]) -> Any:
    return values.argmax(axis=-1)


def lds(state: MachineState, rd: int, src: int) -> None:
    """Load an int32 word."""
    state.registers[rd] = int(state.shared_integers[src])


def sts(state: MachineState, dst: int, ra: int) -> None:
    """Store an int32 word."""
    value = state.registers[ra]
    if not -(1 << 31) <= value < 1 << 31:
        raise FaultError(f"{value} does not fit an int32 word")
    state.shared_integers[dst] = value


VECTOR_SEMANTICS: Mapping[str, Callable[..., Any]] = {
    "lds": lds,
    "sts": sts,
    "vadd": _binary(np.add),
    "vsub": _binary(np.subtract),
    "vmul": _binary(np.multiply),
    "vdiv": _binary(np.divide),
    "vmax": _binary(np.maximum),
    "vmin": _binary(np.minimum),
    "vmac": _binary(_accumulate),
    "vmap": vmap,
    "vfill": vfill,
    "rsum": _reduction(_sum, 0.0, False),
    "rmax": _reduction(_largest, -np.inf, False),
    "rsumsq": _reduction(_sum_of_squares, 0.0, False),
    "rargmax": _reduction(_index_of_largest, 0, True),
}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
