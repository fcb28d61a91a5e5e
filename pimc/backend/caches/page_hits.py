"""Reads keys and values of those slots and channels alone that hold tokens of chosen pages.

For each head of a group of channels a word a slot says in which channels a page is chosen; for each run of slots a word
of bits says which of them are hit at all, so that the sequencer passes over the others in a few cycles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isa import Indexed
from pimc.backend.attention.attention_block import Extent
from pimc.backend.attention.attention_in_banks import (
    ceil_div,
    first_token,
    read_scores,
    slot_column,
    write_probabilities,
)
from pimc.backend.attention.cache_append import group_channels, head_column
from pimc.backend.caches.page_choice import choose
from pimc.backend.caches.page_density import Density, expect, expect_channels, expect_run, find_data, release
from pimc.backend.emitter import Words, indexed

if TYPE_CHECKING:
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.caches.page_choice import PageChoice
    from pimc.backend.lowering import Lowering

_UNREAD = int(np.float32(-1e30).view(np.uint32))
"""The score of a token that is not read; finite, so that no later product is NaN."""
_POWERS, _BANKS = 32, 16
TABLE = (*(1 << bit for bit in range(_POWERS)), 0, *(_UNREAD for _ in range(_BANKS)))
"""Constants: powers of two, the first of which also is a word that is not 0; a zero; a column of scores."""
_ZERO, _SCORES = _POWERS, _POWERS + 1
_MOST_BITS = 31
"""Slots of a run at most: bits of a word that is not negative."""


@dataclass(frozen=True)
class _Run:
    """Registers of some slots that follow one another.

    Attributes:
        first: The first slot.
        count: Slots.
        bits: A bit for each that is hit.
        begin: Slots before them that were hit.
        found: Slots of them that were hit so far.
    """

    first: int
    count: int
    bits: int
    begin: int
    found: int


@dataclass(frozen=True)
class PageHits:
    """The slots and channels that are read; scores of these slots lie side by side, those of others nowhere.

    Attributes:
        visited: All tokens.
        extent: Those of the slots that are read; registers that `measure` sets.
        run: Slots of a run.
        slot_tokens: Tokens of a slot.
        slot_row: Words of the slots of one head of a group of channels, in whole runs.
        masks: First word of the masks of channels [heads of a group, slot_row].
        bits: First word of the bits of the slots that are hit for any head of a group, a word a run.
        everyone: Register with the mask of all channels that hold a part of the cache.
        density: What is expected in runs without data.
    """

    visited: Extent
    extent: Extent
    run: int
    slot_tokens: int
    slot_row: int
    masks: Words
    bits: Words
    everyone: int
    density: Density

    def score(self, block: Block, member: int, queries: range) -> None:
        """Emit the scores of some query heads, which share a key/value head, for the slots that are hit."""
        low, layout, emit = block.low, block.rooms.keys, block.low.emitter.emit
        everyone, unread = group_channels(layout), block.rooms.selection_table + _SCORES
        with self._runs(block) as run:
            emit("wracc", ch=everyone, count=self.run * len(queries), source="buffer", src=unread, sn=0)
            with self._hits(block, member, run, slot_column) as (column, place, channels):
                for query in range(len(queries)):
                    emit("wracc", ch=indexed(0, channels), acc=indexed(query * self.run, place), count=1)
                emit(
                    "mac",
                    ch=indexed(0, channels),
                    addr=indexed(block.rooms.key_column + head_column(layout, member), column),
                    cols=layout.head_columns,
                    outs=len(queries),
                    acc=indexed(0, place),
                    gstride=layout.head_columns,
                    astride=self.run,
                )
            token = first_token(block, run.begin)
            emit("max", run.found, run.found, 0)
            emit("min", run.found, run.found, Indexed(0, run.count))
            for place, query in enumerate(queries):
                read_scores(block, block.head(member, query), token, place * self.run, run.found)
            low.emitter.release(token)

    def measure(self, low: Lowering) -> None:
        """Emit the number of tokens of the slots that were read: all before the last slot, which is read, are whole."""
        emit, slots, length = low.emitter.emit, self.extent.slots, self.extent.length
        last = low.emitter.scalar("sub", self.visited.slots, 1)
        emit("sub", length, last, Indexed(0, slots))
        emit("add", length, length, 1)
        emit("max", length, length, 0)
        emit("min", length, length, Indexed(0, last))
        emit("sub", slots, self.visited.slots, Indexed(0, length))
        emit("mul", length, length, self.slot_tokens)
        emit("sub", length, self.visited.length, Indexed(0, length))
        low.emitter.release(last)

    def sum_values(self, block: Block, member: int, queries: range) -> None:
        """Emit the sums of the values of the slots that are hit, weighted with the probabilities, in the banks."""
        low, layout, emit = block.low, block.rooms.values, block.low.emitter.emit
        emit("wracc", ch=group_channels(layout), count=len(queries) * layout.head_columns)
        with self._runs(block) as run:
            token = first_token(block, run.begin)
            for place, query in enumerate(queries):
                write_probabilities(block, block.head(member, query), token, place * self.run, run.count)
            low.emitter.release(token)
            with self._hits(block, member, run, _value_column) as (column, place, channels):
                for query in range(len(queries)):
                    emit(
                        "mac",
                        ch=indexed(0, channels),
                        addr=indexed(block.rooms.value_column + head_column(layout, member), column),
                        gb=indexed(query * self.run, place),
                        cols=1,
                        outs=layout.head_columns,
                        acc=query * layout.head_columns,
                        bstride=layout.slots_per_row,
                    )

    @contextmanager
    def _runs(self, block: Block) -> Iterator[_Run]:
        """Loop over the runs with hits; in the end `extent.slots` is the number of slots that were hit."""
        low, slots, emit = block.low, self.visited.slots, block.low.emitter.emit
        read, runs = self.extent.slots, ceil_div(low, slots, self.run)
        emit("li", read, 0)
        with low.emitter.loop(indexed(0, runs)) as number:
            bits = low.emitter.register()
            emit("lds", bits, indexed(self.bits.word, number))
            first = low.emitter.scalar("mul", number, self.run)
            count = low.emitter.scalar("sub", slots, Indexed(0, first))
            emit("min", count, count, self.run)
            expect_run(low, self.density, (first, count, slots), self.run, bits)
            with low.emitter.unless_zero(bits):
                begin = low.emitter.scalar("min", read, Indexed(0, first))
                emit("max", begin, begin, 0)
                found = low.emitter.register()
                emit("li", found, 0)
                yield _Run(first, count, bits, begin, found)
                emit("add", read, begin, Indexed(0, found))
                low.emitter.release(begin, found)
            low.emitter.release(bits, first, count)
        low.emitter.release(runs)

    @contextmanager
    def _hits(
        self, block: Block, member: int, run: _Run, column_of: Callable[[Block, int], int]
    ) -> Iterator[tuple[int, int, int]]:
        """Loop over the hit slots of a run; gives registers of the column, the place among hits, the channels.

        What does not need the channels is computed while their word is on its way.
        """
        low, emit = block.low, block.low.emitter.emit
        with low.emitter.loop(indexed(0, run.count)) as inside:
            place = low.emitter.scalar("shr", run.bits, Indexed(0, inside))
            emit("and", place, place, 1)
            with low.emitter.unless_zero(place):
                slot, channels = low.emitter.scalar("add", run.first, Indexed(0, inside)), low.emitter.register()
                emit("lds", channels, indexed(self.masks.word + member * self.slot_row, slot))
                emit("min", place, run.found, Indexed(0, inside))
                emit("max", place, place, 0)
                emit("add", run.found, run.found, 1)
                column = column_of(block, slot)
                expect_channels(block, self.density, run.begin, place, channels)
                emit("and", channels, channels, Indexed(0, self.everyone))
                with low.emitter.unless_zero(channels):
                    yield column, place, channels
                low.emitter.release(slot, channels, column)
            low.emitter.release(place)


@contextmanager
def page_hits(block: Block, choice: PageChoice) -> Iterator[PageHits]:
    """Choose pages, and emit the slots and channels that hold tokens of them."""
    low, keys = block.low, block.rooms.keys
    run = _slots_of_run(block)
    slot_row = -(-keys.max_slots // run) * run
    length, slots = low.emitter.register(), low.emitter.register()
    with (
        low.storage.scratch(keys.heads_per_group * slot_row, "channels with chosen pages") as masks,
        low.storage.scratch(slot_row // run, "slots with chosen pages") as bits,
    ):
        low.emitter.emit("vfill", masks.operand, len=keys.heads_per_group * slot_row)
        is_missing = find_data(low, choice)
        choose(block, choice)
        _find_channels(block, choice, masks, slot_row)
        _find_slots(block, masks, slot_row, run, bits)
        everyone, density = _all_channels(block), expect(block, choice, is_missing)
        extent = Extent(None, length, length, slots)
        yield PageHits(block.extent, extent, run, keys.slot_tokens, slot_row, masks, bits, everyone, density)
        release(low, density)
        low.emitter.release(everyone)
    low.emitter.release(length, slots)


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


def _find_channels(block: Block, choice: PageChoice, masks: Words, slot_row: int) -> None:
    """Emit the words of channels: the sum over channels of 2^channel where the page there is chosen."""
    low, keys, emit = block.low, block.rooms.keys, block.low.emitter.emit
    width, table, slots = keys.channels_per_group, block.rooms.selection_table, indexed(0, block.extent.slots)
    channels = keys.groups * width
    with (
        _flags_of_channels(block, choice) as (flags, row),
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
def _flags_of_channels(block: Block, choice: PageChoice) -> Iterator[tuple[Words, int]]:
    """Whether tokens are chosen, a word for as many as fill the banks of a channel; and words from head to head."""
    low, keys, repeats = block.low, block.rooms.keys, choice.rooms.groups_of_banks
    if repeats == 1:
        yield choice.flags, choice.row
        return
    row = choice.row * repeats
    with low.storage.scratch(keys.kv_heads * row, "pages by channel") as flags:
        for head in range(keys.kv_heads):
            place, own = (flags + head * row).operand, (choice.flags + head * choice.row).operand
            low.emitter.emit("vmap", place, own, "copy", repeats, choice.row, dst_row=repeats, a_row=1, a_step=0)
        yield flags, row


def _find_slots(block: Block, masks: Words, slot_row: int, run: int, bits: Words) -> None:
    """Emit the bits of the slots whose mask is not zero for any head of a group, a word a run."""
    low, emit, table = block.low, block.low.emitter.emit, block.rooms.selection_table
    heads = block.rooms.keys.heads_per_group
    with low.storage.scratch(heads * slot_row, "bits of slots") as parts:
        place, integers = parts.operand, {"type": "i32"}
        emit("vcmp", place, masks.operand, table + _ZERO, heads * slot_row, b_step=0, fn="not_equal", **integers)
        for head in range(1, heads):
            emit("vmax", place, place, (parts + head * slot_row).operand, slot_row, **integers)
        emit("vmul", place, place, table, run, slot_row // run, dst_row=run, a_row=run, **integers)
        emit("rsum", bits.operand, place, run, slot_row // run, a_row=run, **integers)


def _value_column(block: Block, slot: int) -> int:
    """Register of the column of a slot's first stripe of values, relative to the head."""
    layout, scalar, emit = block.rooms.values, block.low.emitter.scalar, block.low.emitter.emit
    column = scalar("divu", slot, layout.slots_per_row)
    emit("mul", column, column, layout.row_columns)
    inside = scalar("remu", slot, layout.slots_per_row)
    emit("add", column, column, Indexed(0, inside))
    block.low.emitter.release(inside)
    return column
