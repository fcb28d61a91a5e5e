"""Which pages of tokens the query heads of a key/value head attend to: bounds by the banks, choice by the codec."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pimc.backend.attention.attention_block import Block, Extent
from pimc.backend.attention.attention_in_banks import ceil_div, score_keys
from pimc.backend.caches.selection import AllTokens
from pimc.backend.emitter import Words, indexed

if TYPE_CHECKING:
    from isa import OperandValue
    from pimc.backend.caches.page_extremes import PageRooms
    from pimc.backend.lowering import Lowering


@dataclass(frozen=True)
class PageChoice:
    """The chosen pages of every key/value head.

    Attributes:
        rooms: The pages.
        flags: First word of the int32 words [kv_heads, row] that are 1 for a chosen page, else 0.
        row: Words from one key/value head to the next.
        complete: Register with the number of pages before the latest one.
        beyond: Register with the number of pages that are not chosen.
    """

    rooms: PageRooms
    flags: Words
    row: int
    complete: int
    beyond: int


@dataclass(frozen=True)
class _Bounding(AllTokens):
    """Queries as extremes are multiplied: max(q, 0), which meets the largest elements, and min(q, 0).

    Attributes:
        heads: Query heads.
        head_dim: Elements of one.
    """

    heads: int
    head_dim: int

    @contextmanager
    def scored_form(self, low: Lowering, source: Words, elements: int) -> Iterator[Words]:
        """The two halves of every head, in whole columns."""
        width = elements // self.heads
        half, emit, extent = width // 2, low.emitter.emit, (self.head_dim, self.heads)
        with low.storage.scratch(elements, "queries by sign") as form:
            if half != self.head_dim:
                emit("vfill", form.operand, len=elements)
            emit("vmap", form.operand, source.operand, "relu", *extent, dst_row=width, a_row=self.head_dim)
            rows = {"dst_row": width, "a_row": self.head_dim, "b_row": width}
            emit("vsub", (form + half).operand, source.operand, form.operand, *extent, **rows)
            yield form


@contextmanager
def page_choice(block: Block, pages: PageRooms) -> Iterator[PageChoice]:
    """Emit a choice of all pages for the current query; `choose` is to make it."""
    low, layout, heads = block.low, block.rooms.keys, block.rooms.keys.kv_heads
    emit, scalar = low.emitter.emit, low.emitter.scalar
    places = -(-layout.max_slots * layout.channels_per_group // pages.groups_of_banks)
    row = max(pages.pages, places)
    with low.storage.scratch(heads * row, "the chosen pages") as flags:
        complete = scalar("divu", low.position(block.rooms.first), pages.chosen.page)
        beyond = scalar("sub", complete, pages.chosen.count - 1)
        emit("max", beyond, beyond, 0)
        emit("vfill", flags.operand, len=heads * row)
        emit("vfill", flags.operand, 1.0, indexed(1, complete), heads, row, type="i32")
        yield PageChoice(pages, flags, row, complete, beyond)
        low.emitter.release(complete, beyond)


def choose(block: Block, choice: PageChoice) -> None:
    """Emit the choice where there are more pages than are attended to; the latest page always is among them."""
    low = block.low
    low.storage.aligned(block.node.operand(0), block.node)  # its offset must not be computed in what is skipped
    with low.emitter.unless_zero(choice.beyond), low.temporary_registers():
        _choose_best(block, choice)


def _choose_best(block: Block, choice: PageChoice) -> None:
    """Emit the bounds of the complete pages, the largest of each key/value head's queries, and the best of them."""
    low, pages, queries = block.low, choice.rooms, block.query_heads
    layout, heads, emit = pages.layout, pages.layout.kv_heads, low.emitter.emit
    bound_row = layout.max_slots * layout.slot_tokens
    apart, complete = queries * bound_row, choice.complete
    with low.storage.scratch(heads * apart, "bounds of pages") as bounds:
        slots = ceil_div(low, complete, layout.slot_tokens)
        form = _Bounding(heads * queries, block.rooms.keys.head_dim)
        rooms = replace(block.rooms, keys=layout, key_column=pages.column, selection=form)
        extent = Extent(None, complete, complete, slots)
        score_keys(Block(low, block.node, rooms, queries, extent, bounds, bound_row))
        low.emitter.release(slots)
        place, strides = bounds.operand, {"dst_row": apart, "a_row": apart}
        for query in range(1, queries):
            other = (bounds + query * bound_row).operand
            emit("vmax", place, place, other, indexed(0, complete), heads, **strides, b_row=apart)
        found, anything, length = choice.flags.operand, block.rooms.selection_table, indexed(0, complete)
        kind: dict[str, OperandValue] = {"mask_step": 0, "fn": "largest", "form": "mask"}
        rows = {"rows": heads, "dst_row": choice.row, "a_row": apart}
        emit("kselect", found, place, anything, pages.chosen.count - 1, length, **rows, **kind)
