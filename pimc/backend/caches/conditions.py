"""Conditions that mechanisms share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isa import Indexed

if TYPE_CHECKING:
    from pimc.backend.lowering import Lowering


@contextmanager
def if_zero(low: Lowering, register: int) -> Iterator[None]:
    """Skip the instructions emitted inside unless `register`, which may be negative, is zero; it is changed."""
    low.emitter.emit("mul", register, register, Indexed(0, register))
    low.emitter.emit("min", register, register, 1)
    low.emitter.emit("sub", register, register, 1)
    with low.emitter.unless_zero(register):
        yield
