"""The cache that keeps every token, exactly and in order; other mechanisms replace steps of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from isa import Symbol
    from passes import Cache, Node
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.emitter import Words
    from pimc.backend.lowering import CacheRooms, Lowering


class CacheIndex(NamedTuple):
    """Which of the tokens of a `KvLayout` a token of the sequence is.

    Attributes:
        register: Scalar register with the number.
        key: Tells such numbers apart, for what is computed from them once a token.
        head: The key/value head that it holds for, `None` when it holds for all.
    """

    register: int
    key: object
    head: int | None = None


@dataclass(frozen=True)
class KeepAll:
    """Token t of the sequence is token t of the layout, and every query attends to all that its mask allows."""

    @property
    def levers(self) -> str:
        """What makes the words of the shared buffer that it needs fewer."""
        return "lower --max-context"

    def capacity(self, tokens: int) -> int:
        """Tokens that the layout needs for a context of `tokens` tokens."""
        return tokens

    def state_words(self, cache: Cache, tokens: int) -> int:
        """Words of the shared buffer that it keeps from token to token, for a context of `tokens` tokens."""
        return 0

    def code_columns(self, rooms: CacheRooms) -> int:
        """Columns of the banks that hold codes, for all sequences of the longest context."""
        return 0

    def symbols(self, rooms: CacheRooms) -> Iterator[Symbol]:
        """Names of what it keeps beside the layouts, without that of the cache."""
        yield from ()

    def take_key(self, low: Lowering, rooms: CacheRooms, key: Words) -> None:
        """Look at the current token's key, whose elements lie side by side."""

    def indices(self, low: Lowering, rooms: CacheRooms) -> Iterator[CacheIndex]:
        """Where the current token's key and value go; code of the caller runs between one head and the next."""
        yield CacheIndex(low.position(rooms.first), rooms.first)

    def appended(self, low: Lowering, rooms: CacheRooms, index: CacheIndex) -> None:
        """Note that the current token's key was written."""

    def end(self, low: Lowering, rooms: CacheRooms, is_causal: bool) -> int:
        """Register of the number of tokens of the layout that the current query visits."""
        if is_causal:
            return low.once(("end", rooms.first), lambda: low.emitter.scalar("add", low.position(rooms.first), 1))
        return low.once(("total", rooms.tokens), lambda: low.extents.register(rooms.tokens))

    def base(self, low: Lowering, rooms: CacheRooms) -> int | None:
        """Register of the number of tokens that come before those of the layout, `None` where there never are any."""
        return None

    def score_words(self, rooms: CacheRooms) -> int:
        """Words of the scores of one query head, in whole slots."""
        return rooms.keys.max_slots * rooms.keys.slot_tokens

    def score_others(self, block: Block) -> None:
        """Emit the scores of tokens that do not lie in the layout, which come first; what it writes behind is free."""

    def add_others(self, block: Block, result: Words) -> None:
        """Add their values, weighted with the probabilities, to the result."""

    def exact_tokens(self, low: Lowering, rooms: CacheRooms) -> int | None:
        """Register that is zero when `attend_encoded` does all of the attention, `None` where it never does."""
        return None

    def attend_encoded(self, low: Lowering, node: Node, rooms: CacheRooms, result: Words) -> None:
        """Emit the attention where `exact_tokens` is zero, and skip it elsewhere."""

    def adjust_scores(self, block: Block) -> None:
        """Change the scores, which were capped, before their softmax; it may yet multiply them by a positive scale."""

    def observe(self, block: Block, statistics: Words) -> None:
        """Look at the probabilities, which lack the factor 1 / sum in `statistics`."""

    def finish(self, block: Block) -> None:
        """Do what is left when the token's attention is done."""
