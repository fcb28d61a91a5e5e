"""A cache that prunes tokens and stores what survives as records (`Levelled`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Symbol
from pimc.backend.caches.conditions import if_zero
from pimc.backend.caches.keep_all import CacheIndex, KeepAll
from pimc.backend.caches.level_records import compress_warmup
from pimc.backend.caches.level_tiles import attend_records
from pimc.backend.caches.stream_rooms import StreamRooms, stream_rooms
from pimc.kv_stream import state_words

if TYPE_CHECKING:
    from passes import Cache, Levelled, Node
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.emitter import Words
    from pimc.backend.lowering import CacheRooms, Lowering


@dataclass(frozen=True)
class LevelledCache(KeepAll):
    """The first tokens are exact; when there are more, all are records, which codec and vector unit work on.

    Attributes:
        chosen: Thresholds, bits, warm-up, levels.
    """

    chosen: Levelled

    @property
    def levers(self) -> str:
        """Each level takes a word a channel; records of the longest context must fit when everything survives."""
        return "give cpq fewer levels or bits, lower --max-context"

    def capacity(self, tokens: int) -> int:
        """The warm-up, or the context when that is smaller."""
        return min(tokens, self.chosen.warmup)

    def _rooms(self, rooms: CacheRooms) -> StreamRooms | None:
        """Places of the records; `None` when the context is so short that no query ever looks at them."""
        return stream_rooms(rooms, self.chosen) if rooms.context > self.chosen.warmup else None

    def state_words(self, cache: Cache, tokens: int) -> int:
        """The newest token, the latest levels, the table of all levels, and the size of the stream."""
        keys, values = cache.kv_heads * cache.head_dim, cache.kv_heads * cache.value_dim
        return state_words(keys + values, self.chosen.levels) if tokens > self.chosen.warmup else 0

    def code_columns(self, rooms: CacheRooms) -> int:
        """Room for the records of all tokens, whatever survives."""
        records = self._rooms(rooms)
        return 0 if records is None else records.layout.columns

    def symbols(self, rooms: CacheRooms) -> Iterator[Symbol]:
        """The stream and its state."""
        records = self._rooms(rooms)
        if records is not None:
            layout, state = records.layout, records.state
            yield Symbol("records", "bank", records.column, layout.columns, layout.to_json())
            yield Symbol("newest", "sb", state, layout.channels)
            yield Symbol("latest_keys", "sb", state + layout.latest_keys, layout.latest_values - layout.latest_keys)
            yield Symbol("latest_values", "sb", state + layout.latest_values, layout.table - layout.latest_values)
            yield Symbol("levels", "sb", state + layout.table, layout.size - layout.table)
            yield Symbol("record_bytes", "sb", state + layout.size, 1)
            yield Symbol("has_records", "sb", state + layout.has_data, 1)

    def indices(self, low: Lowering, rooms: CacheRooms) -> Iterator[CacheIndex]:
        """The position, while the tokens are exact."""
        if self._rooms(rooms) is None:
            yield from super().indices(low, rooms)
            return
        with low.emitter.unless_zero(self.exact_tokens(low, rooms) or 0), low.temporary_registers():
            key = ("warm-up", rooms.first, self.chosen.warmup)
            last = self.chosen.warmup - 1
            place = low.once(key, lambda: low.emitter.scalar("min", low.position(rooms.first), last))
            yield CacheIndex(place, key)

    def end(self, low: Lowering, rooms: CacheRooms, is_causal: bool) -> int:
        """The tokens so far, at most those of the warm-up."""
        total, warmup = super().end(low, rooms, is_causal), self.chosen.warmup
        return low.once(("warm-up end", total, warmup), lambda: low.emitter.scalar("min", total, warmup))

    def take_key(self, low: Lowering, rooms: CacheRooms, key: Words) -> None:
        """Keep the newest token's key for its record, rounded as the banks would round it."""
        records = self._rooms(rooms)
        if records is not None:
            low.emitter.emit("vmap", records.state, key.operand, low.stored, records.keys.width)

    def exact_tokens(self, low: Lowering, rooms: CacheRooms) -> int | None:
        """Zero when the warm-up is over."""
        if self._rooms(rooms) is None:
            return None

        def compute() -> int:
            rest = low.emitter.scalar("sub", low.position(rooms.first), self.chosen.warmup)
            low.emitter.emit("min", rest, rest, 0)
            return rest

        return low.once(("exact tokens", rooms.first, self.chosen.warmup), compute)

    def attend_encoded(self, low: Lowering, node: Node, rooms: CacheRooms, result: Words) -> None:
        """Behind the warm-up: the record of the newest token, then attention over all records."""
        records = self._rooms(rooms)
        if records is None:
            return
        beyond = low.emitter.scalar("sub", low.position(rooms.first), self.chosen.warmup - 1)
        low.emitter.emit("max", beyond, beyond, 0)
        with low.contiguous(low.storage.row_part(node.operand(2))) as value, low.emitter.unless_zero(beyond):
            low.emitter.release(beyond)
            with low.temporary_registers():
                part = records.values
                low.emitter.emit("vmap", records.state + part.first, value.operand, low.stored, part.width)
                attend_records(low, node, rooms, records, result)

    def finish(self, block: Block) -> None:
        """Compress the warm-up when it is complete."""
        records = self._rooms(block.rooms)
        if records is None:
            return
        low = block.low
        rest = low.emitter.scalar("sub", low.position(block.rooms.first), self.chosen.warmup - 1)
        with if_zero(low, rest), low.temporary_registers():
            compress_warmup(block, records, self.chosen.warmup)
        low.emitter.release(rest)
