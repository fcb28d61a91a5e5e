"""What instructions of the hybrid softmax touch; see `pimc.simulator.footprints.vector`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pimc.simulator.footprints.vector import Footprint, is_empty, range_span, word_span
from pimc.simulator.state.machine_state import MachineState


def _xmax(state: MachineState, dst: int, a: int, length: int, rows: int, a_row: int) -> Footprint | None:
    if is_empty(rows, length):
        return None
    read = range_span(state, "a", a, rows, length, a_row, 1)
    return Footprint((read,), (word_span(state, "dst", dst, dst + rows),), rows * length, rows)


def _xexp(
    state: MachineState, dst: int, a: int, b: int, length: int, rows: int, dst_row: int, a_row: int, scale: float
) -> Footprint | None:
    if is_empty(rows, length):
        return None
    reads = (range_span(state, "a", a, rows, length, a_row, 1), word_span(state, "b", b, b + rows))
    written = range_span(state, "dst", dst, rows, length, dst_row, 1)
    return Footprint(reads, (written,), rows * length + rows, rows * length)


def _xlog(state: MachineState, dst: int, a: int, b: int, length: int, scale: float) -> Footprint | None:
    if is_empty(1, length):
        return None
    reads = tuple(word_span(state, name, first, first + length) for name, first in (("a", a), ("b", b)))
    return Footprint(reads, (word_span(state, "dst", dst, dst + length),), 2 * length, length)


HYBRID_SOFTMAX_FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {"xmax": _xmax, "xexp": _xexp, "xlog": _xlog}
"""Footprint functions by mnemonic."""
