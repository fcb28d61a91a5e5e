"""What an instruction of the vector unit touches, and what footprints are.

A footprint function has the signature f(state, *operands) with resolved operands in the order of the table. All bounds
are checked here before an instruction runs, and nowhere else: the function raises `FaultError` when an address lies
outside its memory space. It gives `None` when there is nothing to do (no rows, no elements, no columns); such an
instruction costs its cycle in the sequencer and never reaches a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState

Span = tuple[int, int]
"""First word, and the word after the last."""


class Footprint(NamedTuple):
    """Accesses of an instruction to the shared buffer.

    Attributes:
        reads: Hulls of the words that it reads.
        writes: Hulls of the words that it writes.
        words_read: Number of words that it reads.
        words_written: Number of words that it writes.
    """

    reads: tuple[Span, ...] = ()
    writes: tuple[Span, ...] = ()
    words_read: int = 0
    words_written: int = 0


NO_WORDS = Footprint()
"""The footprint of an instruction that works, but not on the shared buffer."""


def word_span(state: MachineState, name: str, low: int, high: int) -> Span:
    """The words `low` to `high` - 1 that operand `name` covers; raises `FaultError` outside the shared buffer."""
    if low < 0 or high > state.shared.size:
        raise FaultError(
            f"'{name}' covers words {low} to {high - 1} of the shared buffer",
            f"the shared buffer has words 0 to {state.shared.size - 1}",
        )
    return low, high


def range_span(state: MachineState, name: str, start: int, rows: int, length: int, row: int, step: int) -> Span:
    """Hull of the words start + i * row + j * step that operand `name` covers; raises `FaultError` outside."""
    return word_span(state, name, start, start + (rows - 1) * row + (length - 1) * step + 1)


def is_empty(rows: int, length: int) -> bool:
    """Whether a range has no elements; raises `FaultError` for a negative size."""
    if rows < 0 or length < 0:
        raise FaultError(f"a range of {rows} rows of {length} words")
    return rows == 0 or length == 0


def _binary(
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
    *_: int,
) -> Footprint | None:
    if is_empty(rows, length):
        return None
    reads = (
        range_span(state, "a", a, rows, length, a_row, a_step),
        range_span(state, "b", b, rows, length, b_row, b_step),
    )
    elements = rows * length
    return Footprint(reads, (range_span(state, "dst", dst, rows, length, dst_row, dst_step),), 2 * elements, elements)


def _updating(state: MachineState, *operands: int) -> Footprint | None:
    found = _binary(state, *operands)
    if found is None:
        return None
    return Footprint(found.reads + found.writes, found.writes, 3 * found.words_written, found.words_written)


def _vmap(
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
) -> Footprint | None:
    if is_empty(rows, length):
        return None
    read = range_span(state, "a", a, rows, length, a_row, a_step)
    written = range_span(state, "dst", dst, rows, length, dst_row, dst_step)
    return Footprint((read,), (written,), rows * length, rows * length)


def _vfill(
    state: MachineState, dst: int, value: float, length: int, rows: int, dst_row: int, dst_step: int, word_type: int
) -> Footprint | None:
    if is_empty(rows, length):
        return None
    return Footprint((), (range_span(state, "dst", dst, rows, length, dst_row, dst_step),), 0, rows * length)


def _reduction(
    state: MachineState, dst: int, a: int, length: int, rows: int, dst_row: int, a_row: int, a_step: int, *_: int
) -> Footprint | None:
    has_no_elements = is_empty(rows, length)
    if rows == 0:
        return None
    writes = (range_span(state, "dst", dst, rows, 1, dst_row, 0),)
    if has_no_elements:
        return Footprint((), writes, 0, rows)
    return Footprint((range_span(state, "a", a, rows, length, a_row, a_step),), writes, rows * length, rows)


def _lds(state: MachineState, rd: int, src: int) -> Footprint | None:
    return Footprint((word_span(state, "src", src, src + 1),), (), 1, 0)


def _sts(state: MachineState, dst: int, ra: int) -> Footprint | None:
    return Footprint((), (word_span(state, "dst", dst, dst + 1),), 0, 1)


VECTOR_FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {
    "lds": _lds,
    "sts": _sts,
    "vadd": _binary,
    "vsub": _binary,
    "vmul": _binary,
    "vdiv": _binary,
    "vmax": _binary,
    "vmin": _binary,
    "vmac": _updating,
    "vcmp": _binary,
    "vsel": _updating,
    "vmap": _vmap,
    "vfill": _vfill,
    "rsum": _reduction,
    "rmax": _reduction,
    "rsumsq": _reduction,
    "rargmax": _reduction,
    "rmin": _reduction,
}
"""Footprint functions by mnemonic."""
