"""A cache that quantises its older tokens (`Quantized`); the near-bank units multiply the codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Indexed
from pimc.backend.caches.code_rooms import CodeRooms, code_rooms
from pimc.backend.caches.conditions import if_zero
from pimc.backend.caches.keep_all import CacheIndex, KeepAll
from pimc.backend.caches.quantize_group import quantize_group
from pimc.backend.caches.quantized_scores import score_codes
from pimc.backend.caches.quantized_sums import sum_codes
from pimc.backend.emitter import Words, indexed
from pimc.backend.rooms.shared_buffer import BufferFullError

if TYPE_CHECKING:
    from isa import Symbol
    from passes import Quantized
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.lowering import CacheRooms, Lowering

_EXCLUDED = -1e30
"""Score of an exact token that has been quantised since; finite, so that no later product is NaN."""


@contextmanager
def _room_for_scales(chosen: Quantized) -> Iterator[None]:
    """Name what would make room in the shared buffer, when it is full inside."""
    try:
        yield
    except BufferFullError as error:
        levers = f"groups of more than {chosen.group} tokens, or runs of more than {chosen.width} channels"
        error.help = f"{error.help}; {levers} have fewer scales"
        raise


@contextmanager
def _unless_empty(block: Block) -> Iterator[int]:
    """Skip the instructions emitted inside when no token is quantised; gives the register with the number of tokens."""
    base = block.extent.base
    assert base is not None
    with block.low.emitter.unless_zero(base), block.low.temporary_registers():
        yield base


def exclude(block: Block, first: int, count: int) -> None:
    """Exclude from the attention as many scores as the register `count` says, from that in `first` on, of all heads."""
    heads = int(block.node.attributes["heads"])
    place = indexed(block.scores.word, first)
    block.low.emitter.emit("vfill", place, _EXCLUDED, indexed(0, count), heads, dst_row=block.score_row)


@dataclass(frozen=True)
class QuantizedCache(KeepAll):
    """The latest tokens lie exactly in a ring; before them come whole groups of codes.

    Scales and zero points are folded into the other factor: keys' scales into the query or the scores, values' into
    the probabilities; what zero points add is summed up by the vector unit.

    Attributes:
        chosen: Bits, axes and group sizes.
    """

    chosen: Quantized

    @property
    def exact(self) -> int:
        """Tokens of the exact ring: whole groups, of which the oldest is quantised when all are full."""
        return self.chosen.residual + self.chosen.group

    def capacity(self, tokens: int) -> int:
        """The exact ring, or the context when that is smaller."""
        return min(tokens, self.exact)

    def groups(self, context: int) -> int:
        """Groups of tokens that have a place when the context is so long."""
        return (context - 1 - self.chosen.residual) // self.chosen.group + 1

    def code_rooms(self, rooms: CacheRooms) -> CodeRooms | None:
        """Places of the codes; `None` when the context is so short that no group is ever quantised."""
        return code_rooms(rooms, self.chosen, self.groups(rooms.context)) if rooms.context > self.exact else None

    def code_columns(self, rooms: CacheRooms) -> int:
        """Codes of keys and values, and their meta words."""
        codes = self.code_rooms(rooms)
        return 0 if codes is None else codes.columns

    def symbols(self, rooms: CacheRooms) -> Iterator[Symbol]:
        """Codes of keys, codes of values, meta words of both."""
        codes = self.code_rooms(rooms)
        yield from () if codes is None else codes.symbols()

    def indices(self, low: Lowering, rooms: CacheRooms) -> Iterator[CacheIndex]:
        """The position modulo the ring."""
        if self.code_rooms(rooms) is None:
            yield from super().indices(low, rooms)
            return
        key = ("exact", rooms.first, self.exact)
        place = low.once(key, lambda: low.emitter.scalar("remu", low.position(rooms.first), self.exact))
        yield CacheIndex(place, key)

    def quantised(self, low: Lowering, rooms: CacheRooms) -> int:
        """Register of the number of quantised tokens: group * (max(t - residual, 0) div group)."""

        def compute() -> int:
            count = low.emitter.scalar("sub", low.position(rooms.first), self.chosen.residual)
            low.emitter.emit("max", count, count, 0)
            low.emitter.emit("divu", count, count, self.chosen.group)
            low.emitter.emit("mul", count, count, self.chosen.group)
            return count

        return low.once(("quantised", rooms.first, self.chosen.residual, self.chosen.group), compute)

    def base(self, low: Lowering, rooms: CacheRooms) -> int | None:
        """The number of tokens whose codes are held."""
        return None if self.code_rooms(rooms) is None else self.quantised(low, rooms)

    def place(self, low: Lowering, rooms: CacheRooms) -> int:
        """Register of the place, in tokens, that the codes of the next group to be quantised take."""
        return self.quantised(low, rooms)

    def end(self, low: Lowering, rooms: CacheRooms, is_causal: bool) -> int:
        """The smaller of the tokens so far and the ring."""
        total = super().end(low, rooms, is_causal)
        if self.code_rooms(rooms) is None:
            return total
        return low.once(("exact end", total, self.exact), lambda: low.emitter.scalar("min", total, self.exact))

    def score_words(self, rooms: CacheRooms) -> int:
        """All codes, then the exact ring, each in whole slots."""
        codes, exact = self.code_rooms(rooms), super().score_words(rooms)
        if codes is None:
            return exact
        layout = codes.keys.layout
        return layout.max_tokens + max(exact, layout.slot_tokens)

    def score_others(self, block: Block) -> None:
        """Scores of the codes."""
        codes = self.code_rooms(block.rooms)
        if codes is not None:
            with _room_for_scales(self.chosen), _unless_empty(block) as count:
                score_codes(block, self.chosen, codes, count)

    def adjust_scores(self, block: Block) -> None:
        """Exclude what the ring still holds of tokens that have been quantised since: its oldest ones."""
        if self.code_rooms(block.rooms) is None:
            return
        low, rooms, emit, base = block.low, block.rooms, block.low.emitter.emit, block.extent.base
        assert base is not None
        oldest = low.emitter.scalar("add", low.position(rooms.first), 1)
        emit("sub", oldest, oldest, Indexed(0, self.end(low, rooms, True)))
        stale = low.emitter.scalar("sub", self.quantised(low, rooms), Indexed(0, oldest))
        emit("max", stale, stale, 0)
        with low.emitter.unless_zero(stale):
            emit("remu", oldest, oldest, self.exact)
            emit("add", oldest, oldest, Indexed(0, base))
            exclude(block, oldest, stale)
        low.emitter.release(oldest, stale)

    def add_others(self, block: Block, result: Words) -> None:
        """Values of the codes."""
        codes = self.code_rooms(block.rooms)
        if codes is not None:
            with _room_for_scales(self.chosen), _unless_empty(block) as count:
                sum_codes(block, self.chosen, codes, count, result)

    def finish(self, block: Block) -> None:
        """Quantise the oldest group of the ring when the token has filled it."""
        codes = self.code_rooms(block.rooms)
        if codes is None:
            return
        low = block.low
        low.forget_registers()  # the registers of the attention itself leave too few
        code_place = self.place(low, block.rooms)
        full = low.emitter.scalar("sub", low.position(block.rooms.first), self.exact - 2)
        low.emitter.emit("max", full, full, 0)
        with low.emitter.unless_zero(full), low.temporary_registers():
            low.emitter.emit("sub", full, full, 1)
            low.emitter.emit("remu", full, full, self.chosen.group)
            with if_zero(low, full), low.temporary_registers():
                source = low.emitter.scalar("remu", self.quantised(low, block.rooms), self.exact)
                quantize_group(block, self.chosen, codes, source, code_place)
                low.emitter.release(source)
        low.emitter.release(full)
