"""A cache that evicts the tokens that queries cared for least (`Scored`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Indexed, Symbol
from pimc.backend.caches.conditions import if_zero
from pimc.backend.caches.keep_all import CacheIndex, KeepAll
from pimc.backend.emitter import Words, indexed

if TYPE_CHECKING:
    from passes import Cache, Scored
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.lowering import CacheRooms, Lowering

_EXCLUDED = -1e30
"""What the score of a free place gains; finite, so that no later product is NaN."""


@dataclass(frozen=True)
class _State:
    """What is kept from token to token; a row for each set of heads that evicts on its own.

    Attributes:
        rows: Number of such sets.
        places: Places of a row.
        statistic: First word of the statistics [rows, places].
        position: First word of the positions of the tokens, int32 [rows, places].
        penalty: First word of what scores gain: 0, or `_EXCLUDED` where no token lies.
        free: First word of the free places, int32 [rows, interval].
    """

    rows: int
    places: int
    statistic: int
    position: int
    penalty: int
    free: int


@dataclass(frozen=True)
class ScoredCache(KeepAll):
    """Tokens fill the places in order; then each takes one that the latest eviction has freed.

    Attributes:
        scored: Budget, interval, and what the statistic counts.
    """

    scored: Scored

    @property
    def places(self) -> int:
        """Tokens that a full cache holds, just before an eviction."""
        return self.scored.budget + self.scored.interval

    def capacity(self, tokens: int) -> int:
        """All places, or the context when that is smaller."""
        return min(tokens, self.places)

    def state_words(self, cache: Cache, tokens: int) -> int:
        """Statistics, positions, penalties and free places; nothing when no token is ever evicted."""
        rows = 1 if self.scored.shared else cache.kv_heads
        return rows * (3 * self.places + self.scored.interval) if tokens > self.places else 0

    def _state(self, rooms: CacheRooms) -> _State | None:
        if rooms.context <= self.places:
            return None
        rows, first = 1 if self.scored.shared else rooms.keys.kv_heads, rooms.state_word
        size = rows * self.places
        return _State(rows, self.places, first, first + size, first + 2 * size, first + 3 * size)

    def symbols(self, rooms: CacheRooms) -> Iterator[Symbol]:
        """What is kept from token to token."""
        state = self._state(rooms)
        if state is not None:
            size = state.rows * state.places
            yield Symbol("statistics", "sb", state.statistic, size)
            yield Symbol("positions", "sb", state.position, size)
            yield Symbol("penalties", "sb", state.penalty, size)
            yield Symbol("free_places", "sb", state.free, state.rows * self.scored.interval)

    def indices(self, low: Lowering, rooms: CacheRooms) -> Iterator[CacheIndex]:
        """The place of the current token, for all heads or one after the other."""
        state = self._state(rooms)
        if state is None:
            yield from super().indices(low, rooms)
            return
        for row in range(state.rows):
            with low.temporary_registers():
                key = ("scored", rooms.state_word, row)
                place = low.token_registers[key] = self._place(low, rooms, state, row)
                yield CacheIndex(place, key, None if self.scored.shared else row)

    def _place(self, low: Lowering, rooms: CacheRooms, state: _State, row: int) -> int:
        emit, scalar, position = low.emitter.emit, low.emitter.scalar, low.position(rooms.first)
        place = scalar("min", position, state.places - 1)
        beyond = scalar("sub", position, state.places - 1)
        emit("max", beyond, beyond, 0)
        with low.emitter.unless_zero(beyond):
            emit("sub", beyond, beyond, 1)
            emit("remu", beyond, beyond, self.scored.interval)
            emit("lds", place, indexed(state.free + row * self.scored.interval, beyond))
            emit("max", place, place, 0)
            emit("min", place, place, state.places - 1)
        low.emitter.release(beyond)
        return place

    def appended(self, low: Lowering, rooms: CacheRooms, index: CacheIndex) -> None:
        """Note the new token: its position, and that no query has looked at it."""
        state = self._state(rooms)
        if state is None:
            return
        row = (index.head or 0) * state.places
        low.emitter.emit("sts", indexed(state.position + row, index.register), low.position(rooms.first))
        for words in (state.statistic, state.penalty):
            low.emitter.emit("vfill", indexed(words + row, index.register), len=1)

    def end(self, low: Lowering, rooms: CacheRooms, is_causal: bool) -> int:
        """The smaller of the tokens so far and the places."""
        total = super().end(low, rooms, is_causal)
        return low.once(("scored end", total, self.places), lambda: low.emitter.scalar("min", total, self.places))

    def adjust_scores(self, block: Block) -> None:
        """Exclude the places that are free since the latest eviction."""
        state = self._state(block.rooms)
        if state is None or self.scored.interval == 1:
            return
        for row, scores, heads in _rows(block, state):
            strides = {"dst_row": block.score_row, "a_row": block.score_row}
            penalty, length = state.penalty + row * state.places, indexed(0, block.extent.end)
            block.low.emitter.emit("vadd", scores, scores, penalty, length, heads, **strides)

    def observe(self, block: Block, statistics: Words) -> None:
        """Add the weights that the query gave: exponentials times 1 / sum, head after head."""
        state = self._state(block.rooms)
        if state is None:
            return
        self._forget_queries(block, state)
        first = statistics
        for row, scores, heads in _rows(block, state):
            strides = {"a_row": block.score_row, "b_row": 1, "b_step": 0}
            own, length = state.statistic + row * state.places, indexed(0, block.extent.end)
            block.low.emitter.emit("vmac", own, scores, first.operand, length, heads, **strides)
            first = first + heads

    def _forget_queries(self, block: Block, state: _State) -> None:
        """Begin the statistic anew where only the latest queries count."""
        low, queries = block.low, self.scored.queries
        if queries == 0:
            return
        if queries == 1:
            low.emitter.emit("vfill", state.statistic, len=state.rows * state.places)
            return
        since = self._tokens_since_eviction(block)
        low.emitter.emit("sub", since, since, (self.scored.interval - queries + 1) % self.scored.interval)
        with if_zero(low, since):
            low.emitter.emit("vfill", state.statistic, len=state.rows * state.places)
        low.emitter.release(since)

    def _tokens_since_eviction(self, block: Block) -> int:
        """Register of (n - places) mod interval: 0 when the cache is full."""
        low, interval = block.low, self.scored.interval
        since = low.emitter.scalar("add", low.position(block.rooms.first), 1 + -self.places % interval)
        low.emitter.emit("remu", since, since, interval)
        return since

    def finish(self, block: Block) -> None:
        """Evict when the token has filled the last place."""
        state = self._state(block.rooms)
        if state is None:
            return
        low = block.low
        full = low.emitter.scalar("sub", low.position(block.rooms.first), state.places - 2)
        low.emitter.emit("max", full, full, 0)
        with low.emitter.unless_zero(full):
            if self.scored.interval == 1:
                self._evict(block, state)
            else:
                since = self._tokens_since_eviction(block)
                with if_zero(low, since):
                    self._evict(block, state)
                low.emitter.release(since)
        low.emitter.release(full)

    def _evict(self, block: Block, state: _State) -> None:
        low, size, emit = block.low, state.rows * state.places, block.low.emitter.emit
        with (
            low.storage.scratch(size, "the tokens that may be evicted") as mask,
            low.storage.scratch(1, "the first protected position") as limit,
            low.storage.scratch(size if self.scored.kernel > 1 else 0, "statistics of neighbours") as pooled,
        ):
            first_protected = low.emitter.scalar("sub", low.position(block.rooms.first), self.scored.protected - 1)
            emit("sts", limit.operand, first_protected)
            low.emitter.release(first_protected)
            lengths = {"len": state.places, "rows": state.rows, "a_row": state.places}
            place, row = mask.operand, {"dst_row": state.places, "b_step": 0}
            emit("vcmp", place, state.position, limit.operand, fn="less", type="i32", **lengths, **row)
            statistic = state.statistic if self.scored.kernel == 1 else self._pool(low, state, pooled)
            row = {"count": self.scored.interval, "dst_row": self.scored.interval, "mask_row": state.places}
            emit("kselect", state.free, statistic, place, fn="smallest", form="list", **lengths, **row)
        if self.scored.interval > 1:
            self._free(low, state)

    def _pool(self, low: Lowering, state: _State, pooled: Words) -> int:
        """Sum each statistic with its neighbours, the earlier ones first."""
        half = self.scored.kernel // 2
        low.emitter.emit("vfill", pooled.operand, len=state.rows * state.places)
        for offset in range(-half, half + 1):
            target, source = max(-offset, 0), max(offset, 0)
            strides = {"dst_row": state.places, "a_row": state.places, "b_row": state.places}
            place = (pooled + target).operand
            words = state.statistic + source
            low.emitter.emit("vadd", place, place, words, state.places - abs(offset), state.rows, **strides)
        return pooled.word

    def _free(self, low: Lowering, state: _State) -> None:
        for row in range(state.rows):
            with low.emitter.loop(self.scored.interval) as number:
                place = low.emitter.register()
                low.emitter.emit("lds", place, indexed(state.free + row * self.scored.interval, number))
                low.emitter.emit("max", place, place, 0)
                low.emitter.emit("min", place, place, state.places - 1)
                low.emitter.emit("vfill", indexed(state.penalty + row * state.places, place), _EXCLUDED, 1)
                low.emitter.release(place)


def _rows(block: Block, state: _State) -> Iterator[tuple[int, int | Indexed, int]]:
    """For each row of the state the first of its query heads' scores, and how many query heads it has."""
    heads = int(block.node.attributes["heads"]) // state.rows
    for row in range(state.rows):
        yield row, (block.scores + row * heads * block.score_row).operand, heads
