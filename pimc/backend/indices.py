"""Indices that are known only when the program runs, in scalar registers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from passes import Dim
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lowering


@contextmanager
def index_at(low: Lowering, place: Words, size: Dim) -> Iterator[int]:
    """Register of the index at `place`; negative ones count from the end of the axis."""
    register = low.emitter.register()
    low.emitter.emit("lds", register, place.operand)
    _clamp(low, register, size)
    yield register
    low.emitter.release(register)


def _clamp(low: Lowering, register: int, size: Dim) -> None:
    """The index inside the axis: negative ones count from its end, and what lies outside wraps around."""
    with low.extents.operand(size) as limit:
        low.emitter.emit("add", register, register, limit)
        low.emitter.emit("remu", register, register, limit)
