"""Loops over the slots of codes, and the multiplication of one piece of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from isa import Indexed
from pimc.backend.caches.code_rooms import Codes
from pimc.backend.emitter import indexed

if TYPE_CHECKING:
    from pimc.backend.lowering import Lowering


class Piece(NamedTuple):
    """Some slots, one behind the other in a row of the banks.

    Attributes:
        slot: Register of the first one.
        length: Register of their number.
        token: Register of the first token.
        row: Register of the first beat of their row, relative to the head.
        place: Register of the number of the first slot in its row.
    """

    slot: int
    length: int
    token: int
    row: int
    place: int


def slots_of(low: Lowering, codes: Codes, tokens: int) -> int:
    """A new register with the slots that hold as many tokens as the register `tokens` says."""
    width = codes.layout.slot_tokens
    slots = low.emitter.scalar("add", tokens, width - 1)
    low.emitter.emit("divu", slots, slots, width)
    return slots


@contextmanager
def pieces_of(low: Lowering, codes: Codes, slots: int, most: int) -> Iterator[Piece]:
    """Loop over the slots in pieces of at most `most` that do not leave a row of the banks."""
    emit, scalar, layout = low.emitter.emit, low.emitter.scalar, codes.layout
    size = max(size for size in range(1, min(most, layout.slots_per_row) + 1) if layout.slots_per_row % size == 0)
    number = scalar("add", slots, size - 1)
    emit("divu", number, number, size)
    with low.emitter.loop(indexed(0, number)) as index:
        slot = scalar("mul", index, size)
        count = scalar("sub", slots, Indexed(0, slot))
        emit("min", count, count, size)
        row = scalar("divu", slot, layout.slots_per_row)
        emit("mul", row, row, layout.row_columns)
        place = scalar("remu", slot, layout.slots_per_row)
        token = scalar("mul", slot, layout.slot_tokens)
        yield Piece(slot, count, token, row, place)
        low.emitter.release(slot, count, row, place, token)
    low.emitter.release(number)
