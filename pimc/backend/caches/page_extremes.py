"""Smallest and largest key elements of pages of tokens: of complete pages in the banks, of the latest one beside them.

In the banks the extremes lie as keys do, a page in the place of a token: a vector of a head is its largest elements, in
whole columns, and then its smallest ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from isa import Symbol, UnsupportedError
from pimc.backend.attention.cache_append import store_key
from pimc.backend.caches.conditions import if_zero
from pimc.backend.caches.keep_all import CacheIndex
from pimc.backend.emitter import Words
from pimc.backend.rooms.shared_buffer import COLUMN_WORDS
from pimc.kv_layout import KvLayout, choose_groups

if TYPE_CHECKING:
    from passes import BestPages, Cache
    from pimc.backend.lowering import CacheRooms, Lowering


@dataclass(frozen=True)
class PageRooms:
    """Where the extremes of a cache's pages lie.

    Attributes:
        chosen: Tokens of a page, pages that are attended to.
        layout: Places in the banks; its tokens are pages.
        column: First linear column in the banks.
        latest: First word of the extremes of the latest page [kv_heads, layout.head_dim].
        has_data: Word that is not 0 once a run with data has come by.
    """

    chosen: BestPages
    layout: KvLayout
    column: int
    latest: int
    has_data: int

    @property
    def pages(self) -> int:
        """Pages of the longest context."""
        return self.layout.max_tokens

    @property
    def groups_of_banks(self) -> int:
        """How many times the tokens of a page fill all banks of a channel."""
        return self.chosen.page // self.layout.banks

    def symbols(self) -> Iterator[Symbol]:
        """Names of the extremes, without that of the cache."""
        facts = {**self.layout.to_json(), "kind": "page_extremes", "page": self.chosen.page}
        yield Symbol("page_extremes", "bank", self.column, self.layout.columns, facts)


def extreme_elements(head_dim: int) -> int:
    """Words of the largest and smallest elements of a head, both in whole columns."""
    return -(-head_dim // COLUMN_WORDS) * COLUMN_WORDS * 2


def state_words(cache: Cache) -> int:
    """Words of the latest page, and the one that tells runs with data."""
    return COLUMN_WORDS + cache.kv_heads * extreme_elements(cache.head_dim)


def page_rooms(rooms: CacheRooms, chosen: BestPages) -> PageRooms | None:
    """The places of a cache's extremes; `None` when its context never has more pages than are attended to.

    Raises:
        UnsupportedError: a channel has another number of banks than pages, which are multiples of 16 tokens, can fill.
    """
    keys, pages = rooms.keys, -(-rooms.context // chosen.page)
    if pages <= chosen.count:
        return None
    if COLUMN_WORDS % keys.banks:
        raise UnsupportedError(
            f"pages of {chosen.page} tokens do not fill the {keys.banks} banks of a channel",
            help=f"choose a machine whose channels have {COLUMN_WORDS} banks, or another policy",
        )
    groups, width = choose_groups(keys.kv_heads, rooms.channels, pages)
    elements = extreme_elements(keys.head_dim)
    layout = replace(keys, head_dim=elements, groups=groups, channels_per_group=width, max_tokens=pages)
    return PageRooms(chosen, layout, rooms.selection_column, rooms.state_word + COLUMN_WORDS, rooms.state_word)


def note_key(low: Lowering, rooms: CacheRooms, pages: PageRooms, key: Words) -> None:
    """Widen the extremes of the latest page by the newest key, and write them to the banks when it is complete.

    Args:
        low: State of the lowering.
        rooms: The cache.
        pages: Its pages.
        key: First word of the key [kv_heads, head_dim].
    """
    emit, position, layout = low.emitter.emit, low.position(rooms.first), pages.layout
    width, extent = layout.head_dim, (rooms.keys.head_dim, layout.kv_heads)
    places = {"vmax": pages.latest, "vmin": pages.latest + width // 2}
    inside = low.emitter.scalar("remu", position, pages.chosen.page)
    with if_zero(low, inside):
        for place in places.values():
            emit("vmap", place, key.operand, "copy", *extent, dst_row=width, a_row=rooms.keys.head_dim)
    for mnemonic, place in places.items():
        emit(mnemonic, place, place, key.operand, *extent, dst_row=width, a_row=width, b_row=rooms.keys.head_dim)
    emit("remu", inside, position, pages.chosen.page)
    emit("sub", inside, inside, pages.chosen.page - 1)
    with if_zero(low, inside), low.temporary_registers():
        name = ("page", rooms.first, pages.chosen.page)
        page = low.once(name, lambda: low.emitter.scalar("divu", position, pages.chosen.page))
        store_key(low, layout, pages.column, CacheIndex(page, name), Words(pages.latest), width)
    low.emitter.release(inside)
