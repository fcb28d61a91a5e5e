"""What the parts of an attention block share: its cache, the attended positions, where the scores are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from passes import Node
from pimc.backend.emitter import Words
from pimc.backend.lowering import CacheRooms, Lowering

if TYPE_CHECKING:
    from pimc.backend.caches.page_hits import PageHits


@dataclass(frozen=True)
class Extent:
    """Registers that say which positions are attended to.

    Attributes:
        first: First position, `None` when it is always 0.
        length: Number of positions from `first` on.
        end: Position after the last one.
        slots: Slots that hold positions from `base` on, below `end`.
        base: Position of the first token of the layout, `None` when it is 0; those before lie elsewhere.
    """

    first: int | None
    length: int
    end: int
    slots: int
    base: int | None = None


@dataclass(frozen=True)
class Block:
    """Everything about one attention block that its parts share.

    Attributes:
        low: State of the lowering.
        node: The `cached_attention`.
        rooms: Its cache.
        query_heads: Query heads that share a key/value head.
        extent: Attended positions.
        scores: Scores, later probabilities: one row of `score_row` words a query head.
        score_row: Words of a row: all positions of the longest context, in whole slots.
        hits: Slots that are read, `None` where all are.
    """

    low: Lowering
    node: Node
    rooms: CacheRooms
    query_heads: int
    extent: Extent
    scores: Words
    score_row: int
    hits: PageHits | None = None

    def head(self, member: int, query: int) -> int:
        """Row of query head `query` of the group's key/value head `member`, in the first group."""
        return member * self.query_heads + query

    @property
    def group_heads(self) -> int:
        """Query heads of a group of channels."""
        return self.rooms.keys.heads_per_group * self.query_heads
