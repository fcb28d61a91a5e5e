"""Attention over records: they are read tile by tile, once for the scores and once more for the weighted sum.

Two passes instead of a running maximum: reading a record takes the codec two passes over its lanes, while rescaling
sums and maxima would take the vector unit about ten instructions a tile, and the softmax stays that of other caches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Indexed
from pimc.backend.attention.attention_block import Block, Extent
from pimc.backend.attention.attention_softmax import probabilities
from pimc.backend.caches.level_records import append_token
from pimc.backend.caches.stream_rooms import StreamRooms
from pimc.backend.emitter import Words, indexed
from pimc.backend.rooms.shared_buffer import COLUMN_WORDS

if TYPE_CHECKING:
    from passes import Node
    from pimc.backend.lowering import CacheRooms, Lowering

_MOST_TOKENS = 512
_BUFFER_SHARE = 3
"""A tile takes at most this part of the shared buffer."""


def attend_records(low: Lowering, node: Node, rooms: CacheRooms, records: StreamRooms, result: Words) -> None:
    """Emit the newest token's record, and its attention over all records."""
    heads, width = int(node.attributes["heads"]), rooms.values.head_dim
    position, tile = low.position(rooms.first), _tile_tokens(low, records)
    score_row = -(-rooms.context // COLUMN_WORDS) * COLUMN_WORDS
    with (
        low.storage.scratch(
            records.buffer_words(rooms.context, tile), "the records of a cache", rooms.mechanism.levers
        ) as stream,
        low.storage.scratch(heads * score_row, "the attention scores") as scores,
        low.storage.scratch(heads, "the statistics of a softmax") as statistics,
        low.contiguous(low.storage.aligned(node.operand(0), node)) as query,
    ):
        append_token(low, records, stream, position)
        total = low.once(("end", rooms.first), lambda: low.emitter.scalar("add", position, 1))
        extent = Extent(None, total, total, total)
        block = Block(low, node, rooms, heads // rooms.keys.kv_heads, extent, scores, score_row)
        tiles = _Tiles(block, records, stream, tile)
        tiles.score(query)
        probabilities(block, statistics)
        tiles.sum(result)
        strides = {"dst_row": width, "a_row": width, "b_row": 1, "b_step": 0}
        low.emitter.emit("vmul", result.operand, result.operand, statistics.operand, width, heads, **strides)


def _tile_tokens(low: Lowering, rooms: StreamRooms) -> int:
    """Tokens of a tile: a power of two; long tiles let the vector unit work long without starting anew."""
    words = low.machine.shared_buffer.capacity_words // _BUFFER_SHARE
    most = min(words // (3 * rooms.layout.channels), rooms.layout.max_tokens, _MOST_TOKENS)
    return 1 << max(most, 1).bit_length() - 1


@dataclass(frozen=True)
class _Tiles:
    """The records of an attention block in the shared buffer.

    Attributes:
        block: The attention block.
        rooms: Rooms of the cache.
        stream: First word of the records.
        tokens: Tokens of a tile.
    """

    block: Block
    rooms: StreamRooms
    stream: Words
    tokens: int

    def score(self, query: Words) -> None:
        """Emit the scores of all tokens, before their scale."""
        low, layout = self.block.low, self.block.rooms.keys
        width, heads = layout.head_dim, layout.kv_heads * self.block.query_heads
        emit = low.emitter.emit
        with (
            low.storage.scratch(self.tokens * width, "products of a query and keys") as products,
            self._tiles() as tile,
        ):
            rows = indexed(0, tile.count)
            for head in range(heads):
                place = tile.part(head // self.block.query_heads * width)
                strides = {"dst_row": width, "a_row": self.rooms.layout.channels}
                emit("vmul", products.operand, place, (query + head * width).operand, width, rows, **strides)
                scores = indexed((self.block.scores + head * self.block.score_row).word, tile.first)
                emit("rsum", scores, products.operand, width, rows, a_row=width)

    def sum(self, result: Words) -> None:
        """Emit the sums of all tokens' values, weighted with the probabilities."""
        low, layout = self.block.low, self.block.rooms.values
        width, heads = layout.head_dim, layout.kv_heads * self.block.query_heads
        low.emitter.emit("vfill", result.operand, len=heads * width)
        with self._tiles() as tile:
            for head in range(heads):
                place = tile.part(self.rooms.values.first + head // self.block.query_heads * width)
                weights = indexed((self.block.scores + head * self.block.score_row).word, tile.first)
                strides = {"a_row": self.rooms.layout.channels, "b_row": 1, "b_step": 0}
                target, rows = (result + head * width).operand, indexed(0, tile.count)
                low.emitter.emit("vmac", target, place, weights, width, rows, **strides)

    @contextmanager
    def _tiles(self) -> Iterator[_Tile]:
        """Loop over the tiles; gives what the keys and values of one are worth.

        Tiles take turns in two places, so that the codec reads one while the vector unit works on the other.
        """
        low, layout = self.block.low, self.rooms.layout
        emit, scalar, size = low.emitter.emit, low.emitter.scalar, self.tokens * layout.channels
        tokens = self.block.extent.end
        with (
            low.storage.scratch(2 * size, "keys and values of a tile") as elements,
            low.storage.scratch(size, "which elements opened a level") as flags,
            low.storage.scratch(layout.channels, "levels of the channels") as counters,
        ):
            emit("vfill", counters.operand, len=layout.channels)
            at = low.emitter.register()
            emit("li", at, 0)
            number = scalar("add", tokens, self.tokens - 1)
            emit("divu", number, number, self.tokens)
            with low.emitter.loop(indexed(0, number)) as index:
                turn = scalar("and", index, 1)
                emit("mul", turn, turn, size)
                first = scalar("mul", index, self.tokens)
                count = scalar("sub", tokens, Indexed(0, first))
                emit("min", count, count, self.tokens)
                emit("max", at, at, 0)
                emit("min", at, at, layout.max_bytes)
                tile = _Tile(Words(elements.word, turn), first, count)
                self._read(tile, at, flags, counters)
                yield tile
                low.emitter.release(turn, first, count)
            low.emitter.release(at, number)

    def _read(self, tile: _Tile, at: int, flags: Words, counters: Words) -> None:
        """Emit the records of a tile, from the byte in the register `at` on, which moves on, as what they are worth."""
        layout, emit = self.rooms.layout, self.block.low.emitter.emit
        words, rows = tile.elements.operand, indexed(0, tile.count)
        source = self.stream.operand, indexed(0, at)
        emit("kfetch", at, words, flags.operand, *source, rows=rows, **self.rooms.record)
        level = {"row": layout.channels, "table_row": layout.channels, "levels": layout.levels}
        places = words, words, flags.operand, counters.operand, self.rooms.table
        emit("kexpand", *places, layout.channels, rows, **level)


@dataclass(frozen=True)
class _Tile:
    """Some tokens.

    Attributes:
        elements: Keys and values [token, channel].
        first: Register of the first token.
        count: Register of their number.
    """

    elements: Words
    first: int
    count: int

    def part(self, channel: int) -> int | Indexed:
        """The elements of the tokens from a channel on."""
        return (self.elements + channel).operand
