"""Reads keys and values of those slots and channels alone that hold tokens of chosen pages.

For each head of a group of channels a word a slot says in which channels a page is chosen; for each run of slots a word
of bits says which of them are hit at all, so that the sequencer passes over the others in a few cycles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Indexed
from pimc.backend.attention import ceil_div, first_token, read_scores, slot_column, write_probabilities
from pimc.backend.cache_append import group_channels, head_column
from pimc.backend.caches.page_density import Density, expect, expect_channels, expect_run, release
from pimc.backend.emitter import Words, indexed

if TYPE_CHECKING:
    from pimc.backend.attention_block import Block
    from pimc.backend.caches.page_choice import PageChoice
    from pimc.backend.caches.page_extremes import PageRooms
    from pimc.backend.lowering import Lowering

TABLE = (*(1 << channel for channel in range(32)), 0)
"""Constants: powers of two, the first of which also is a word that is not 0, and a zero."""
_ZERO = len(TABLE) - 1
_MOST_BITS = 31
"""Slots of a run at most: bits of a word that is not negative."""


@dataclass(frozen=True)
class PageHits:
    """The slots and channels that are read.

    Attributes:
        choice: The chosen pages.
        run: Slots of a run.
        slot_row: Words of the slots of one head of a group of channels, in whole runs.
        masks: First word of the masks of channels [heads of a group, slot_row].
        bits: First word of the bits of hit slots [heads of a group, runs].
        everyone: Register with the mask of all channels that hold a part of the cache.
        density: What is expected in runs without data.
    """

    choice: PageChoice
    run: int
    slot_row: int
    masks: Words
    bits: Words
    everyone: int
    density: Density

    def score(self, block: Block, member: int, queries: range) -> None:
        """Emit the scores of some query heads, which share a key/value head, for the slots that are hit."""
        low, layout, emit = block.low, block.rooms.keys, block.low.emitter.emit
        with self._runs(block, member) as (slot, count, bits):
            emit("wracc", ch=group_channels(layout), count=self.run * len(queries))
            with self._hits(block, member, (slot, count, bits)) as (hit, inside, channels):
                column = slot_column(block, hit)
                emit(
                    "mac",
                    ch=indexed(0, channels),
                    addr=indexed(block.rooms.key_column + head_column(layout, member), column),
                    cols=layout.head_columns,
                    outs=len(queries),
                    acc=indexed(0, inside),
                    gstride=layout.head_columns,
                    astride=self.run,
                )
                low.emitter.release(column)
            token = first_token(block, slot)
            for place, query in enumerate(queries):
                read_scores(block, block.head(member, query), token, place * self.run, count)
            low.emitter.release(token)

    def sum_values(self, block: Block, member: int, queries: range) -> None:
        """Emit the sums of the values of the slots that are hit, weighted with the probabilities, in the banks."""
        low, layout, emit = block.low, block.rooms.values, block.low.emitter.emit
        emit("wracc", ch=group_channels(layout), count=len(queries) * layout.head_columns)
        with self._runs(block, member) as (slot, count, bits):
            token = first_token(block, slot)
            for place, query in enumerate(queries):
                write_probabilities(block, block.head(member, query), token, place * self.run, count)
            low.emitter.release(token)
            with self._hits(block, member, (slot, count, bits)) as (hit, inside, channels):
                column = _value_column(block, hit)
                for place in range(len(queries)):
                    emit(
                        "mac",
                        ch=indexed(0, channels),
                        addr=indexed(block.rooms.value_column + head_column(layout, member), column),
                        gb=indexed(place * self.run, inside),
                        cols=1,
                        outs=layout.head_columns,
                        acc=place * layout.head_columns,
                        bstride=layout.slots_per_row,
                    )
                low.emitter.release(column)

    @contextmanager
    def _runs(self, block: Block, member: int) -> Iterator[tuple[int, int, int]]:
        """Loop over the runs with hits; gives registers of the first slot, the number of slots, the bits of hits."""
        low, slots, emit = block.low, block.extent.slots, block.low.emitter.emit
        runs = ceil_div(low, slots, self.run)
        with low.emitter.loop(indexed(0, runs)) as number:
            bits = low.emitter.register()
            emit("lds", bits, indexed(self.bits.word + member * (self.slot_row // self.run), number))
            first = low.emitter.scalar("mul", number, self.run)
            count = low.emitter.scalar("sub", slots, Indexed(0, first))
            emit("min", count, count, self.run)
            expect_run(block, self.density, first, count, self.run, bits)
            with low.emitter.unless_zero(bits):
                yield first, count, bits
            low.emitter.release(bits, first, count)
        low.emitter.release(runs)

    @contextmanager
    def _hits(self, block: Block, member: int, run: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
        """Loop over the hit slots of a run; gives registers of the slot, its place in the run, its channels."""
        low, emit = block.low, block.low.emitter.emit
        first, count, bits = run
        with low.emitter.loop(indexed(0, count)) as inside:
            is_hit = low.emitter.scalar("shr", bits, Indexed(0, inside))
            emit("and", is_hit, is_hit, 1)
            with low.emitter.unless_zero(is_hit):
                low.emitter.release(is_hit)
                slot = low.emitter.scalar("add", first, Indexed(0, inside))
                channels = low.emitter.register()
                emit("lds", channels, indexed(self.masks.word + member * self.slot_row, slot))
                expect_channels(block, self.density, slot, channels)
                emit("and", channels, channels, Indexed(0, self.everyone))
                emit("max", channels, channels, 1)
                yield slot, inside, channels
                low.emitter.release(slot, channels)


@contextmanager
def page_hits(block: Block, pages: PageRooms, choice: PageChoice) -> Iterator[PageHits]:
    """Emit the slots and channels that hold tokens of the chosen pages; scores begin as zeros, whatever is read."""
    low, keys, heads = block.low, block.rooms.keys, int(block.node.attributes["heads"])
    run = _slots_of_run(block)
    slot_row = -(-keys.max_slots // run) * run
    words = keys.heads_per_group * slot_row
    with (
        low.storage.scratch(words, "channels with chosen pages") as masks,
        low.storage.scratch(words // run, "slots with chosen pages") as bits,
    ):
        _find_channels(block, pages, choice, masks, slot_row)
        _find_slots(block, masks, words, run, bits)
        visited = low.emitter.scalar("mul", block.extent.slots, keys.slot_tokens)
        low.emitter.emit("vfill", block.scores.operand, 0.0, indexed(0, visited), heads, block.score_row)
        low.emitter.release(visited)
        everyone, density = _all_channels(block), expect(block, choice)
        yield PageHits(choice, run, slot_row, masks, bits, everyone, density)
        release(low, density)
        low.emitter.release(everyone)


def _slots_of_run(block: Block) -> int:
    """Slots for which accumulators and global buffer have room, with as many query heads as go together."""
    near_bank, keys = block.low.near_bank, block.rooms.keys
    most = min(near_bank.accumulators, near_bank.global_buffer_columns)
    together = min(near_bank.global_buffer_columns // keys.head_columns, near_bank.accumulators, block.query_heads)
    return min(most // together, _MOST_BITS)


def _all_channels(block: Block) -> int:
    """A register with the mask of all channels that hold a part of the cache."""
    emit, keys = block.low.emitter.emit, block.rooms.keys
    mask = block.low.emitter.register()
    emit("li", mask, 1)
    emit("shl", mask, mask, keys.groups * keys.channels_per_group)
    emit("sub", mask, mask, 1)
    return mask


def _find_channels(block: Block, pages: PageRooms, choice: PageChoice, masks: Words, slot_row: int) -> None:
    """Emit the words of channels: the sum over channels of 2^channel where the page there is chosen."""
    low, keys, emit = block.low, block.rooms.keys, block.low.emitter.emit
    width, table, slots = keys.channels_per_group, block.rooms.selection_table, indexed(0, block.extent.slots)
    channels = keys.groups * width
    emit("vfill", masks.operand, len=keys.heads_per_group * slot_row)
    with (
        _flags_of_channels(low, block, pages, choice) as (flags, row),
        low.storage.scratch(keys.max_slots * channels, "bits of channels") as parts,
    ):
        for member in range(keys.heads_per_group):
            for group in range(keys.groups):
                place, own = parts + group * width, flags + (group * keys.heads_per_group + member) * row
                strides = {"dst_row": channels, "a_row": width}
                power = table + group * width
                emit("vmul", place.operand, own.operand, power, width, slots, **strides, type="i32")
            target = (masks + member * slot_row).operand
            emit("rsum", target, parts.operand, channels, slots, a_row=channels, type="i32")


@contextmanager
def _flags_of_channels(
    low: Lowering, block: Block, pages: PageRooms, choice: PageChoice
) -> Iterator[tuple[Words, int]]:
    """Whether tokens are chosen, a word for as many as fill the banks of a channel; and words from head to head."""
    keys, repeats = block.rooms.keys, pages.groups_of_banks
    if repeats == 1:
        yield choice.flags, choice.row
        return
    row = choice.row * repeats
    with low.storage.scratch(keys.kv_heads * row, "pages by channel") as flags:
        for head in range(keys.kv_heads):
            place, own = (flags + head * row).operand, (choice.flags + head * choice.row).operand
            low.emitter.emit("vmap", place, own, "copy", repeats, choice.row, dst_row=repeats, a_row=1, a_step=0)
        yield flags, row


def _find_slots(block: Block, masks: Words, words: int, run: int, bits: Words) -> None:
    """Emit the bits of the slots whose mask is not zero, a word a run."""
    low, emit, table = block.low, block.low.emitter.emit, block.rooms.selection_table
    with low.storage.scratch(words, "bits of slots") as parts:
        place, integers = parts.operand, {"type": "i32"}
        emit("vcmp", place, masks.operand, table + _ZERO, words, b_step=0, fn="not_equal", **integers)
        emit("vmul", place, place, table, run, words // run, dst_row=run, a_row=run, **integers)
        emit("rsum", bits.operand, place, run, words // run, a_row=run, **integers)


def _value_column(block: Block, slot: int) -> int:
    """Register of the column of a slot's first stripe of values, relative to the head."""
    layout, scalar, emit = block.rooms.values, block.low.emitter.scalar, block.low.emitter.emit
    column = scalar("divu", slot, layout.slots_per_row)
    emit("mul", column, column, layout.row_columns)
    inside = scalar("remu", slot, layout.slots_per_row)
    emit("add", column, column, Indexed(0, inside))
    block.low.emitter.release(inside)
    return column
