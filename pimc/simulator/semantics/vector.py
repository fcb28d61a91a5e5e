"""Meaning of the element-wise instructions of the vector unit, on two-dimensional strided ranges of the shared buffer.

Words are binary32 or int32, as the operand `type` says. Rows run one after another; within a row all operands are read
before the result is written. So `vmac` with a row stride of 0 on `dst` sums the rows, and of elements that a row writes
to the same word the last one stays; an element that `vsel` does not select writes what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import COMPARISONS, VECTOR_FUNCTIONS, WORD_TYPES
from pimc.simulator.semantics.vector_functions import FROM_INT, FUNCTION_OF_CODE, TO_INT, to_int32
from pimc.simulator.semantics.vector_kernels import accumulate_rows
from pimc.simulator.semantics.vector_ranges import meet, rows_are_independent, view
from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState

_F32 = WORD_TYPES.index("f32")
_COPY = VECTOR_FUNCTIONS.index("copy")
_COMPARE: Mapping[str, Callable[..., Any]] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}
_COMPARE_OF_CODE = tuple(_COMPARE[name] for name in COMPARISONS)

_Function = Callable[..., Any]
"""f(a, b, out=array): computes a op b into a third array; operands and result may overlap."""


def _words(state: MachineState, word_type: int) -> NDArray[Any]:
    return state.shared if word_type == _F32 else state.shared_integers


def by_rows(
    function: _Function,
    source: NDArray[Any],
    target: NDArray[Any],
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
    """Apply `function` to two ranges of `source`, into a range of `target`; both are views of the shared buffer.

    Args:
        function: f(a, b, out=array) on rows of words.
        source: Words that are read.
        target: Words that are written.
        dst: First word of the result.
        a: First word of the first operand.
        b: First word of the second operand.
        length: Words of a row.
        rows: Number of rows.
        dst_row: Words from one row of the result to the next.
        a_row: Of the first operand.
        b_row: Of the second operand.
        dst_step: Words from one element of the result to the next.
        a_step: Of the first operand.
        b_step: Of the second operand.
    """
    if length == 0 or rows == 0:
        return
    if dst_step == 0 and length > 1:
        a, b, length = a + (length - 1) * a_step, b + (length - 1) * b_step, 1
    sources = ((a, a_row, a_step), (b, b_row, b_step))
    together = rows == 1 or rows_are_independent(rows, length, (dst, dst_row, dst_step), sources)
    count = rows if together else 1
    for _ in range(1 if together else rows):
        function(
            view(source, a, count, length, a_row, a_step),
            view(source, b, count, length, b_row, b_step),
            out=view(target, dst, count, length, dst_row, dst_step),
        )
        dst, a, b = dst + dst_row, a + a_row, b + b_row


def _arithmetic(function: _Function) -> Callable[..., None]:
    def run(state: MachineState, *operands: int) -> None:
        words = _words(state, operands[-1])
        by_rows(function, words, words, *operands[:-1])

    return run


def _divide(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> None:
    """Quotients; of int32 rounded towards zero, 0 where b is 0 (binary64 holds them exactly enough)."""
    if out.dtype == np.float32:
        np.divide(a, b, out=out)
        return
    quotients = np.divide(a, b, dtype=np.float64)
    out[...] = np.where(b == 0, 0.0, np.trunc(quotients)).astype(np.int64).astype(np.int32)


def _accumulate(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> None:
    np.add(out, np.multiply(a, b), out=out)


def vmac(state: MachineState, *operands: int) -> None:
    """Add products to words; a compiled kernel runs the rows that add to the same words one after another."""
    *ranges, word_type = operands
    dst, a, b, length, rows, dst_row, a_row, b_row, dst_step, a_step, b_step = ranges
    target, first, second = (
        (dst, 1, length, 0, dst_step),
        (a, rows, length, a_row, a_step),
        (b, rows, length, b_row, b_step),
    )
    is_sum = rows > 1 and length > 0 and dst_row == 0 and dst_step > 0 and word_type == _F32
    if is_sum and not (meet(target, first) or meet(target, second)):
        accumulate_rows(state.shared, dst, a, b, length, rows, a_row, b_row, dst_step, a_step, b_step)
        return
    words = _words(state, word_type)
    by_rows(_accumulate, words, words, *ranges)


def _select(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> None:
    out[...] = np.where(b != 0, a, out)


def vsel(state: MachineState, *operands: int) -> None:
    """Copy the words that a word of `b` selects."""
    by_rows(_select, state.shared_integers, state.shared_integers, *operands)


def vcmp(state: MachineState, *operands: int) -> None:
    """Compare words; the result is int32."""
    *ranges, fn, word_type = operands
    compare = _COMPARE_OF_CODE[fn]

    def write(a: NDArray[Any], b: NDArray[Any], out: NDArray[Any]) -> None:
        out[...] = compare(a, b)

    by_rows(write, _words(state, word_type), state.shared_integers, *ranges)


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
    """Map fn(scale * a + bias), with the types that `from_int` and `to_int` ask for; a plain copy moves the words."""
    if length == 0 or rows == 0:
        return
    if dst_step == 0 and length > 1:
        a, length = a + (length - 1) * a_step, 1
    together = rows == 1 or rows_are_independent(rows, length, (dst, dst_row, dst_step), ((a, a_row, a_step),))
    is_move = fn == _COPY and scale == 1.0 and bias == 0.0
    words = state.shared_integers if is_move or fn == FROM_INT else state.shared
    results = state.shared_integers if is_move or fn == TO_INT else state.shared
    for _ in range(1 if together else rows):
        count = rows if together else 1
        source = view(words, a, count, length, a_row, a_step)
        target = view(results, dst, count, length, dst_row, dst_step)
        # NumPy's own overlapping assignment is wrong where the steps differ, hence the copy.
        target[...] = source.copy() if is_move else _mapped(source, fn, scale, bias)
        dst, a = dst + dst_row, a + a_row


def _mapped(source: NDArray[Any], fn: int, scale: float, bias: float) -> NDArray[Any]:
    values = source.astype(np.float32) if fn == FROM_INT else source
    if scale != 1.0:
        values = values * np.float32(scale)
    if bias != 0.0:
        values = values + np.float32(bias)
    return to_int32(values) if fn == TO_INT else FUNCTION_OF_CODE[fn](values)


def vfill(
    state: MachineState, dst: int, value: float, length: int, rows: int, dst_row: int, dst_step: int, word_type: int
) -> None:
    """Fill with a constant."""
    if length and rows:
        constant = np.float32(value) if word_type == _F32 else to_int32(np.array(value, np.float32))
        view(_words(state, word_type), dst, rows, length, dst_row, dst_step)[...] = constant


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
    "vadd": _arithmetic(np.add),
    "vsub": _arithmetic(np.subtract),
    "vmul": _arithmetic(np.multiply),
    "vdiv": _arithmetic(_divide),
    "vmax": _arithmetic(np.maximum),
    "vmin": _arithmetic(np.minimum),
    "vmac": vmac,
    "vcmp": vcmp,
    "vsel": vsel,
    "vmap": vmap,
    "vfill": vfill,
}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
