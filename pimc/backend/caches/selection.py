"""Attention to the best of the kept tokens (`BestKeys`, `BinaryKeys`), and to all of them where nothing selects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Indexed
from pimc.backend.emitter import Words, indexed
from pimc.backend.operations.elementwise import integer_word

if TYPE_CHECKING:
    from isa import OperandValue, Symbol
    from passes import BestKeys, BinaryKeys, Cache
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.lowering import CacheRooms, Lowering

_EXCLUDED = 1e30
"""What the score of a token loses that is not attended to; finite, so that no later product is NaN."""


@dataclass(frozen=True)
class _Rows:
    """Rows of scores.

    Attributes:
        words: First word.
        length: Scores of a row.
        rows: Number of rows.
        apart: Words from one row to the next.
        capacity: Words of all rows at most.
    """

    words: Words
    length: OperandValue
    rows: OperandValue
    apart: int
    capacity: int


@dataclass(frozen=True)
class AllTokens:
    """Every query attends to all tokens that its cache and its mask allow; a selection replaces steps of it."""

    def row_words(self, words: int) -> int:
        """Words of the scores of one query head, when those of its tokens take `words`."""
        return words

    def state_words(self, cache: Cache, tokens: int) -> int:
        """Words of the shared buffer that it keeps from token to token, for a context of `tokens` tokens."""
        return 0

    def constants(self) -> tuple[int, ...]:
        """Words that it reads from the shared buffer."""
        return ()

    def most_elements(self, cache: Cache) -> int:
        """Elements of the longest vector that lies in one row of a bank."""
        return max(cache.head_dim, cache.value_dim)

    def columns(self, rooms: CacheRooms) -> int:
        """Columns of the banks that it keeps numbers in, for all sequences of the longest context."""
        return 0

    def symbols(self, rooms: CacheRooms) -> Iterator[Symbol]:
        """Names of what it keeps, without that of the cache."""
        yield from ()

    def take_key(self, low: Lowering, rooms: CacheRooms, key: Words) -> None:
        """Look at the current token's key, whose elements lie side by side."""

    @contextmanager
    def narrowed(self, block: Block) -> Iterator[Block]:
        """The block, with the slots that are to be read when they are not all."""
        yield block

    @contextmanager
    def scored_form(self, low: Lowering, source: Words, elements: int) -> Iterator[Words]:
        """What is multiplied in the place of a query or key of so many elements."""
        yield source

    def convert_scores(self, block: Block) -> None:
        """Turn the products of queries and keys into what counts as one, before they are scaled and masked."""

    def choose(self, block: Block) -> None:
        """Exclude tokens, once cache and mask have excluded theirs; the scores may yet be scaled."""


@dataclass(frozen=True)
class BestKeysSelection(AllTokens):
    """The codec compares the scores of a query head, and those that are not among the best lose theirs.

    Attributes:
        chosen: How many are attended to.
    """

    chosen: BestKeys

    def choose(self, block: Block) -> None:
        """Keep the best scores of every query head."""
        heads = int(block.node.attributes["heads"])
        rows = _Rows(block.scores, indexed(0, block.extent.length), heads, block.score_row, heads * block.score_row)
        _keep_best(block.low, rows, self.chosen.count)


@dataclass(frozen=True)
class BinaryKeysSelection(AllTokens):
    """Keys lie in the banks as +1 and -1, and so are queries multiplied: products count channels of equal signs.

    Attributes:
        chosen: Winners, tiles, and the resolution of the match line.
    """

    chosen: BinaryKeys

    def row_words(self, words: int) -> int:
        """In whole tiles."""
        return -(-words // self.chosen.tile) * self.chosen.tile

    @contextmanager
    def scored_form(self, low: Lowering, source: Words, elements: int) -> Iterator[Words]:
        """1 where an element is above 0, else -1: the sign of the sign less a half."""
        with low.storage.scratch(elements, "signs") as signs:
            low.emitter.emit("vmap", signs.operand, source.operand, "sign", elements)
            low.emitter.emit("vmap", signs.operand, signs.operand, "sign", elements, bias=-0.5)
            yield signs

    def convert_scores(self, block: Block) -> None:
        """What the codes of the match lines stand for: code = min(2^bits - 1, floor(matches 2^bits / d)).

        matches = (product + d) / 2. The half in 2^bits matches + 1/2 keeps the floor of a multiple of d from falling
        when 1 / d is rounded: other numbers are further than that from one.
        """
        channels, steps = block.rooms.keys.head_dim, 1 << self.chosen.code_bits
        self._map(block, "floor", steps / (2 * channels), steps / 2 + 0.5 / channels)
        with block.low.storage.scratch(1, "the largest code") as most:
            heads, row, place = int(block.node.attributes["heads"]), block.score_row, block.scores.operand
            block.low.emitter.emit("vfill", most.operand, steps - 1.0, 1)
            strides = {"dst_row": row, "a_row": row, "b_step": 0}
            block.low.emitter.emit(
                "vmin", place, place, most.operand, indexed(0, block.extent.length), heads, **strides
            )
        self._map(block, "copy", 2.0 * channels / steps, -float(channels))

    def _map(self, block: Block, function: str, scale: float, bias: float) -> None:
        heads, row, place = int(block.node.attributes["heads"]), block.score_row, block.scores.operand
        count, strides = indexed(0, block.extent.length), {"dst_row": row, "a_row": row}
        block.low.emitter.emit("vmap", place, place, function, count, heads, scale, bias, **strides)

    def choose(self, block: Block) -> None:
        """Keep the best of each tile, then the best of these."""
        low, tile = block.low, self.chosen.tile
        heads, row, length = int(block.node.attributes["heads"]), block.score_row, block.extent.length
        with low.temporary_registers():
            tiles = low.emitter.scalar("add", length, tile - 1)
            low.emitter.emit("divu", tiles, tiles, tile)
            beyond = low.emitter.scalar("mul", tiles, tile)
            low.emitter.emit("sub", beyond, beyond, Indexed(0, length))
            with low.emitter.unless_zero(beyond):
                end = indexed(block.scores.word, length)
                low.emitter.emit("vfill", end, -_EXCLUDED, indexed(0, beyond), heads, row)
            for head in range(heads):
                scores = block.scores + head * row
                _keep_best(low, _Rows(scores, tile, indexed(0, tiles), tile, row), self.chosen.tile_top)
            low.emitter.release(tiles, beyond)
        _keep_best(low, _Rows(block.scores, indexed(0, length), heads, row, heads * row), self.chosen.count)


def _keep_best(low: Lowering, rows: _Rows, count: int) -> None:
    """Emit: all scores but the `count` largest of each row, of equal ones the first, lose theirs."""
    emit, place, strides = low.emitter.emit, rows.words.operand, {"dst_row": rows.apart, "a_row": rows.apart}
    extent: dict[str, OperandValue] = {"len": rows.length, "rows": rows.rows}
    form: dict[str, OperandValue] = {"mask_step": 0, "fn": "largest", "form": "mask"}
    purpose = "the tokens that are attended to"
    with low.storage.scratch(rows.capacity, purpose) as chosen, integer_word(low, 1) as anything:
        words, most = chosen.operand, min(count, rows.capacity)
        emit("kselect", words, place, anything.operand, most, **extent, **strides, **form)
        emit("vmap", words, words, "from_int", **extent, scale=_EXCLUDED, bias=-_EXCLUDED, **strides)
        emit("vadd", place, place, words, **extent, **strides, b_row=rows.apart)
