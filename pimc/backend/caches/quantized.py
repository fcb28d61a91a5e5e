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

if TYPE_CHECKING:
    from isa import Symbol
    from passes import Quantized
    from pimc.backend.attention_block import Block
    from pimc.backend.lowering import CacheRooms, Lowering

_EXCLUDED = -1e30
"""Score of an exact token that has been quantised since; finite, so that no later product is NaN."""


@contextmanager
def _unless_empty(block: Block) -> Iterator[int]:
    """Skip the instructions emitted inside when no token is quantised; gives the register with the number of tokens."""
    base = block.extent.base
    assert base is not None
    with block.low.emitter.unless_zero(base), block.low.temporary_registers():
        yield base


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
    def latest(self) -> int:
        """Exact tokens of which the oldest group is quantised."""
        return self.chosen.residual + self.chosen.group

    @property
    def exact(self) -> int:
        """Tokens of the exact ring: whole groups, so that none of them wraps around."""
        return -(-self.latest // self.chosen.group) * self.chosen.group

    def capacity(self, tokens: int) -> int:
        """The exact ring, or the context when that is smaller."""
        return min(tokens, self.exact)

    def _rooms(self, rooms: CacheRooms) -> CodeRooms | None:
        """Places of the codes; `None` when the context is so short that no group is ever quantised."""
        return code_rooms(rooms, self.chosen) if rooms.context > self.latest else None

    def code_columns(self, rooms: CacheRooms) -> int:
        """Codes of keys and values, and their meta words."""
        codes = self._rooms(rooms)
        return 0 if codes is None else codes.columns

    def symbols(self, rooms: CacheRooms) -> Iterator[Symbol]:
        """Codes of keys, codes of values, meta words of both."""
        codes = self._rooms(rooms)
        yield from () if codes is None else codes.symbols()

    def indices(self, low: Lowering, rooms: CacheRooms) -> Iterator[CacheIndex]:
        """The position modulo the ring."""
        if self._rooms(rooms) is None:
            yield from super().indices(low, rooms)
            return
        key = ("exact", rooms.first, self.exact)
        place = low.once(key, lambda: low.emitter.scalar("remu", low.position(rooms.first), self.exact))
        yield CacheIndex(place, key)

    def base(self, low: Lowering, rooms: CacheRooms) -> int | None:
        """The number of quantised tokens: group * (max(t - residual, 0) div group)."""
        if self._rooms(rooms) is None:
            return None

        def compute() -> int:
            count = low.emitter.scalar("sub", low.position(rooms.first), self.chosen.residual)
            low.emitter.emit("max", count, count, 0)
            low.emitter.emit("divu", count, count, self.chosen.group)
            low.emitter.emit("mul", count, count, self.chosen.group)
            return count

        return low.once(("quantised", rooms.first, self.chosen.residual, self.chosen.group), compute)

    def end(self, low: Lowering, rooms: CacheRooms, is_causal: bool) -> int:
        """The smaller of the tokens so far and the ring."""
        total = super().end(low, rooms, is_causal)
        if self._rooms(rooms) is None:
            return total
        return low.once(("exact end", total, self.exact), lambda: low.emitter.scalar("min", total, self.exact))

    def score_words(self, rooms: CacheRooms) -> int:
        """All codes, then the exact ring, each in whole slots."""
        codes, exact = self._rooms(rooms), super().score_words(rooms)
        if codes is None:
            return exact
        layout = codes.keys.layout
        return rooms.context + max(exact, layout.slot_tokens)

    def score_others(self, block: Block) -> None:
        """Scores of the codes."""
        codes = self._rooms(block.rooms)
        if codes is not None:
            with _unless_empty(block) as count:
                score_codes(block, self.chosen, codes, count)

    def adjust_scores(self, block: Block) -> None:
        """Exclude the tokens that have been quantised since, which are the oldest of the ring."""
        if self._rooms(block.rooms) is None:
            return
        low, base, emit = block.low, block.extent.base, block.low.emitter.emit
        assert base is not None
        oldest = low.emitter.scalar("add", low.position(block.rooms.first), 1)
        # In the ring lie extent.end - base tokens, n - base of them not quantised.
        stale = low.emitter.scalar("sub", block.extent.end, Indexed(0, oldest))
        emit("max", stale, stale, 0)
        with low.emitter.unless_zero(stale):
            emit("sub", oldest, oldest, Indexed(0, block.extent.end))
            emit("add", oldest, oldest, Indexed(0, base))
            emit("remu", oldest, oldest, self.exact)
            if self.exact == self.latest:
                self._exclude(block, oldest, stale)
            else:
                self._exclude_around(block, oldest, stale)
        low.emitter.release(oldest, stale)

    def _exclude_around(self, block: Block, place: int, count: int) -> None:
        """Exclude `count` tokens of the ring from `place` on, behind its end those from its beginning on."""
        low, emit = block.low, block.low.emitter.emit
        until_end = low.emitter.register()
        emit("li", until_end, self.exact)
        emit("sub", until_end, until_end, Indexed(0, place))
        emit("min", until_end, until_end, Indexed(0, count))
        self._exclude(block, place, until_end)
        emit("sub", count, count, Indexed(0, until_end))
        emit("li", place, 0)
        with low.emitter.unless_zero(count):
            self._exclude(block, place, count)
        low.emitter.release(until_end)

    def _exclude(self, block: Block, place: int, count: int) -> None:
        """Exclude `count` tokens from `place` of the ring on."""
        low, base = block.low, block.extent.base
        assert base is not None
        heads = int(block.node.attributes["heads"])
        token = low.emitter.scalar("add", place, Indexed(0, base))
        words = indexed(block.scores.word, token)
        low.emitter.emit("vfill", words, _EXCLUDED, indexed(0, count), heads, dst_row=block.score_row)
        low.emitter.release(token)

    def add_others(self, block: Block, result: Words) -> None:
        """Values of the codes."""
        codes = self._rooms(block.rooms)
        if codes is not None:
            with _unless_empty(block) as count:
                sum_codes(block, self.chosen, codes, count, result)

    def finish(self, block: Block) -> None:
        """Quantise the oldest group of the ring when the token has filled it."""
        codes = self._rooms(block.rooms)
        if codes is None:
            return
        low = block.low
        low.forget_registers()  # the registers of the attention itself leave too few
        full = low.emitter.scalar("sub", low.position(block.rooms.first), self.latest - 2)
        low.emitter.emit("max", full, full, 0)
        with low.emitter.unless_zero(full), low.temporary_registers():
            low.emitter.emit("sub", full, full, 1)
            low.emitter.emit("remu", full, full, self.chosen.group)
            with if_zero(low, full), low.temporary_registers():
                base = self.base(low, block.rooms)
                assert base is not None
                quantize_group(block, self.chosen, codes, base, self.exact)
        low.emitter.release(full)
