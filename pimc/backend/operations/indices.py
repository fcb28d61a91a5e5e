"""Indices that are known only when the program runs, in scalar registers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isa import Indexed
from passes import Dim
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lowering


@contextmanager
def index_at(low: Lowering, place: Words, size: Dim) -> Iterator[int]:
    """Register of the index at `place`; negative ones count from the end of the axis."""
    register = low.emitter.register()
    low.emitter.emit("lds", register, place.operand)
    keep_inside(low, register, register, size)
    yield register
    low.emitter.release(register)


def keep_inside(low: Lowering, target: int, index: int, size: Dim) -> None:
    """Emit target = index inside an axis: negative ones count from its end, and what lies outside wraps around.

    An axis that is empty in a run, of which nothing is ever used, counts as one element.
    """
    if isinstance(size, int):
        low.emitter.emit("add", target, index, size)
        low.emitter.emit("remu", target, target, size)
        return
    limit = low.extents.register(size)
    low.emitter.emit("max", limit, limit, 1)
    low.emitter.emit("add", target, index, Indexed(0, limit))
    low.emitter.emit("remu", target, target, Indexed(0, limit))
    low.emitter.release(limit)
