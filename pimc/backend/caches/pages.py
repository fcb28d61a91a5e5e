"""Attention to the best pages of tokens (`BestPages`): the banks read the slots that hold tokens of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pimc.backend.caches.page_choice import page_choice
from pimc.backend.caches.page_extremes import extreme_elements, note_key, page_rooms, state_words
from pimc.backend.caches.page_hits import TABLE, page_hits
from pimc.backend.caches.selection import AllTokens

if TYPE_CHECKING:
    from isa import Symbol
    from passes import BestPages, Cache
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.emitter import Words
    from pimc.backend.lowering import CacheRooms, Lowering


@dataclass(frozen=True)
class BestPagesSelection(AllTokens):
    """Bounds of pages come from their extremes; a context of few pages is attended to as ever.

    Attributes:
        chosen: Tokens of a page, pages that are attended to.
    """

    chosen: BestPages

    def state_words(self, cache: Cache, tokens: int) -> int:
        """Extremes of the latest page, when there are pages to choose from."""
        return state_words(cache) if tokens > self.chosen.page * self.chosen.count else 0

    def constants(self) -> tuple[int, ...]:
        """Powers of two, a zero, scores of tokens that are not read."""
        return TABLE

    def most_elements(self, cache: Cache) -> int:
        """Extremes of a head lie in one row."""
        return max(cache.value_dim, extreme_elements(cache.head_dim))

    def columns(self, rooms: CacheRooms) -> int:
        """Extremes of all pages."""
        pages = page_rooms(rooms, self.chosen)
        return 0 if pages is None else pages.layout.columns

    def symbols(self, rooms: CacheRooms) -> Iterator[Symbol]:
        """The extremes."""
        pages = page_rooms(rooms, self.chosen)
        yield from () if pages is None else pages.symbols()

    def take_key(self, low: Lowering, rooms: CacheRooms, key: Words) -> None:
        """Widen the extremes of the latest page."""
        pages = page_rooms(rooms, self.chosen)
        if pages is not None:
            note_key(low, rooms, pages, key)

    @contextmanager
    def narrowed(self, block: Block) -> Iterator[Block]:
        """Choose pages, and find the slots and channels that hold tokens of them."""
        pages = page_rooms(block.rooms, self.chosen)
        if pages is None:
            yield block
            return
        with page_choice(block, pages) as choice, page_hits(block, choice) as hits:
            yield replace(block, hits=hits, extent=hits.extent)

    def convert_scores(self, block: Block) -> None:
        """The scores of the slots that were read lie side by side."""
        if block.hits is not None:
            block.hits.measure(block.low)
