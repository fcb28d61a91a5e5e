"""Attention over a KV cache in the banks: scores, softmax and weighted sum of one token's queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isa import Indexed
from passes import Node
from pimc.backend.attention.attention_block import Block, Extent
from pimc.backend.attention.attention_softmax import softmax
from pimc.backend.attention.cache_append import (
    add_sequence,
    append_value,
    group_channels,
    head_column,
    padded_heads,
    sequence_offset,
)
from pimc.backend.emitter import Words, indexed
from pimc.backend.lowering import CacheRooms, Lowering


def attend(low: Lowering, node: Node, value_waits: bool) -> None:
    """Emit softmax(q K^T * scale + mask) V for the current token.

    Args:
        low: State of the lowering.
        node: The `cached_attention`.
        value_waits: Whether the token's value still has to be appended; that is done while the softmax runs.
    """
    rooms = low.caches[str(node.attributes["cache"])]
    result = low.storage.define(node.output).words
    exact = rooms.mechanism.exact_tokens(low, rooms)
    if exact is None:
        _attend_layout(low, node, rooms, result, value_waits)
        return
    with low.emitter.unless_zero(exact), low.temporary_registers():
        _attend_layout(low, node, rooms, result, value_waits)
    rooms.mechanism.attend_encoded(low, node, rooms, result)


def _attend_layout(low: Lowering, node: Node, rooms: CacheRooms, result: Words, value_waits: bool) -> None:
    """Attention over the tokens of the layout, and over what the mechanism adds to them."""
    heads, keys = int(node.attributes["heads"]), rooms.keys
    score_row = rooms.selection.row_words(rooms.mechanism.score_words(rooms))
    with (
        low.storage.scratch(heads * score_row, "the attention scores") as scores,
        low.storage.scratch(heads, "the statistics of a softmax") as statistics,
    ):
        extent = extent_of(low, node, rooms)
        for layout in (rooms.keys, rooms.values):
            sequence_offset(low, layout)
        visited = Block(low, node, rooms, heads // keys.kv_heads, extent, scores, score_row)
        rooms.mechanism.score_others(visited)
        with rooms.selection.narrowed(visited) as block:
            score_keys(block)
            if value_waits:
                _append_waiting(block)
            softmax(block, statistics)
            rooms.mechanism.observe(block, statistics)
            _weighted_sum(block, result)
        rooms.mechanism.add_others(block, result)
        width = rooms.values.head_dim
        strides = {"dst_row": width, "a_row": width, "b_row": 1, "b_step": 0}
        low.emitter.emit("vmul", result.operand, result.operand, statistics.operand, width, heads, **strides)
        rooms.mechanism.finish(block)


def _append_waiting(block: Block) -> None:
    """Append the token's value; registers that this computes are free again where reading needs them."""
    if block.hits is None:
        append_value(block.low, block.node)
        return
    with block.low.temporary_registers():
        append_value(block.low, block.node)


def extent_of(low: Lowering, node: Node, rooms: CacheRooms) -> Extent:
    """Emit the numbers that say which positions the current token's queries attend to."""
    causal, window = bool(node.attributes["causal"]), int(node.attributes["window"] or 0)
    scalar, layout = low.emitter.scalar, rooms.keys
    end = rooms.mechanism.end(low, rooms, causal)
    slots = end
    if layout.slot_tokens > 1:
        slots = low.once(("slots", end, layout.slot_tokens), lambda: ceil_div(low, end, layout.slot_tokens))
    base = rooms.mechanism.base(low, rooms)
    if base is not None:
        total = low.once(("based end", end, base), lambda: scalar("add", end, Indexed(0, base)))
        return Extent(None, total, total, slots, base)
    if not window:
        return Extent(None, end, end, slots)
    first = low.once(("first", end, window), lambda: _at_least_zero(low, end, window))
    length = low.once(("length", end, window), lambda: scalar("sub", end, Indexed(0, first)))
    return Extent(first, length, end, slots)


def ceil_div(low: Lowering, register: int, divisor: int) -> int:
    """A new register with the quotient, rounded up."""
    result = low.emitter.scalar("add", register, divisor - 1)
    low.emitter.emit("divu", result, result, divisor)
    return result


def _at_least_zero(low: Lowering, register: int, subtrahend: int) -> int:
    result = low.emitter.scalar("sub", register, subtrahend)
    low.emitter.emit("max", result, result, 0)
    return result


def _slot_tile(block: Block, queries: int) -> int:
    """Slots of one filling of the accumulators; tiles never straddle rows whose slots leave columns unused."""
    layout = block.rooms.keys
    most = block.low.near_bank.accumulators // queries
    if layout.slots_per_row * layout.head_columns == layout.row_columns:
        return most
    return max(size for size in range(1, most + 1) if layout.slots_per_row % size == 0)


def _batches(heads: int, most: int) -> list[range]:
    """Query heads in batches of at most `most`."""
    return [range(first, min(first + most, heads)) for first in range(0, heads, most)]


@contextmanager
def _pieces(block: Block, piece: int) -> Iterator[tuple[int, int]]:
    """Loop over the attended slots in pieces; gives the registers of the first slot and of the number of slots."""
    low, extent, scalar = block.low, block.extent, block.low.emitter.scalar
    emit = low.emitter.emit
    if extent.first is None:
        start = None
        count = ceil_div(low, extent.slots, piece)
    else:
        start = scalar("divu", extent.first, block.rooms.keys.slot_tokens * piece)
        count = ceil_div(low, extent.slots, piece)
        emit("sub", count, count, Indexed(0, start))
    with low.emitter.loop(indexed(0, count)) as number:
        slot = scalar("mul", number, piece)
        if start is not None:
            offset = scalar("mul", start, piece)
            emit("add", slot, slot, Indexed(0, offset))
            low.emitter.release(offset)
        rest = scalar("sub", extent.slots, Indexed(0, slot))
        emit("min", rest, rest, piece)
        yield slot, rest
        low.emitter.release(slot, rest)
    low.emitter.release(count, *([] if start is None else [start]))


def score_keys(block: Block) -> None:
    """Emit the products of the queries and the keys of the visited slots, a row of scores a query head."""
    low, layout = block.low, block.rooms.keys
    query = low.storage.aligned(block.node.operand(0), block.node)
    most = min(low.near_bank.global_buffer_columns // layout.head_columns, low.near_bank.accumulators)
    heads = layout.kv_heads * block.query_heads
    with (
        low.contiguous(query) as packed,
        block.rooms.selection.scored_form(low, packed, heads * layout.head_dim) as formed,
        padded_heads(low, formed, heads, layout) as (words, width),
    ):
        for member in range(layout.heads_per_group):
            for queries in _batches(block.query_heads, most):
                low.emitter.emit(
                    "wrgb",
                    ch=group_channels(layout),
                    src=(words + block.head(member, queries.start) * width).operand,
                    cols=len(queries) * layout.head_columns,
                    cdiv=layout.channels_per_group,
                    si=block.group_heads * width,
                    sn=low.near_bank.lanes,
                )
                (_score_tiles if block.hits is None else block.hits.score)(block, member, queries)


def _score_tiles(block: Block, member: int, queries: range) -> None:
    low, layout, emit = block.low, block.rooms.keys, block.low.emitter.emit
    everyone = group_channels(layout)
    tile = _slot_tile(block, len(queries))
    with _pieces(block, tile) as (slot, count):
        column = slot_column(block, slot)
        add_sequence(low, column, layout)
        token = first_token(block, slot)
        emit("wracc", ch=everyone, count=tile * len(queries))
        for place in range(len(queries)):
            emit(
                "mac",
                ch=everyone,
                addr=indexed(block.rooms.key_column + head_column(layout, member), column),
                gb=place * layout.head_columns,
                cols=layout.head_columns,
                outs=indexed(0, count),
                acc=place * tile,
                bstride=layout.head_columns,
            )
        for place, query in enumerate(queries):
            read_scores(block, block.head(member, query), token, place * tile, count)
        low.emitter.release(column, token)


def first_token(block: Block, slot: int) -> int:
    """Register of the position of the first token of `slot`."""
    token = block.low.emitter.scalar("mul", slot, block.rooms.keys.slot_tokens)
    if block.extent.base is not None:
        block.low.emitter.emit("add", token, token, Indexed(0, block.extent.base))
    return token


def read_scores(block: Block, head: int, token: int, accumulator: int, count: int) -> None:
    """Read the accumulators of one query head: in order of slot, channel and bank they are in order of tokens."""
    layout = block.rooms.keys
    block.low.emitter.emit(
        "rdacc",
        ch=group_channels(layout),
        acc=accumulator,
        count=indexed(0, count),
        dst=indexed((block.scores + head * block.score_row).word, token),
        cdiv=layout.channels_per_group,
        si=block.group_heads * block.score_row,
        sj=layout.banks,
        sn=layout.slot_tokens,
    )


def slot_column(block: Block, slot: int) -> int:
    """Register of the first key column of `slot`, relative to the head."""
    layout, scalar, emit = block.rooms.keys, block.low.emitter.scalar, block.low.emitter.emit
    if layout.slots_per_row * layout.head_columns == layout.row_columns:
        return scalar("mul", slot, layout.head_columns)
    column = scalar("divu", slot, layout.slots_per_row)
    emit("mul", column, column, layout.row_columns)
    inside = scalar("remu", slot, layout.slots_per_row)
    emit("mul", inside, inside, layout.head_columns)
    emit("add", column, column, Indexed(0, inside))
    block.low.emitter.release(inside)
    return column


def _weighted_sum(block: Block, result: Words) -> None:
    low, layout = block.low, block.rooms.values
    width = layout.head_columns * layout.banks
    slots = layout.slots_per_row if block.hits is None else block.hits.run
    most = min(low.near_bank.accumulators // layout.head_columns, low.near_bank.global_buffer_columns // slots)
    heads = layout.kv_heads * block.query_heads
    exact = width == layout.head_dim
    with low.storage.scratch(0 if exact else heads * width, "padded attention results") as padded:
        target = result if exact else padded
        for member in range(layout.heads_per_group):
            for queries in _batches(block.query_heads, most):
                (_sum_rows if block.hits is None else block.hits.sum_values)(block, member, queries)
                _read_sums(block, member, queries, target + block.head(member, queries.start) * width)
        if not exact:
            place = result.operand, padded.operand
            low.emitter.emit("vmap", *place, "copy", layout.head_dim, heads, dst_row=layout.head_dim, a_row=width)


def _sum_rows(block: Block, member: int, queries: range) -> None:
    low, layout, emit = block.low, block.rooms.values, block.low.emitter.emit
    everyone, slots = group_channels(layout), layout.slots_per_row
    emit("wracc", ch=everyone, count=len(queries) * layout.head_columns)
    with _pieces(block, slots) as (slot, count):
        token = first_token(block, slot)
        for place, query in enumerate(queries):
            write_probabilities(block, block.head(member, query), token, place * slots, count)
        column = low.emitter.scalar("divu", slot, slots)
        emit("mul", column, column, layout.row_columns)
        add_sequence(low, column, layout)
        for place in range(len(queries)):
            emit(
                "mac",
                ch=everyone,
                addr=indexed(block.rooms.value_column + head_column(layout, member), column),
                gb=place * slots,
                cols=indexed(0, count),
                outs=layout.head_columns,
                acc=place * layout.head_columns,
                bstride=slots,
            )
        low.emitter.release(token, column)


def write_probabilities(block: Block, head: int, token: int, column: int, count: int) -> None:
    """Write a query head's probabilities to the channels that hold the tokens' values."""
    layout = block.rooms.values
    block.low.emitter.emit(
        "wrgb",
        ch=group_channels(layout),
        gb=column,
        src=indexed((block.scores + head * block.score_row).word, token),
        cols=indexed(0, count),
        cdiv=layout.channels_per_group,
        si=block.group_heads * block.score_row,
        sj=layout.banks,
        sn=layout.slot_tokens,
    )


def _read_sums(block: Block, member: int, queries: range, target: Words) -> None:
    """Read the sums of all query heads of the batch; channels of a group are added in the read path."""
    layout = block.rooms.values
    width = layout.head_columns * layout.banks
    block.low.emitter.emit(
        "rdacc",
        ch=group_channels(layout),
        count=len(queries) * layout.head_columns,
        dst=target.operand,
        cdiv=layout.channels_per_group,
        si=block.group_heads * width,
        sn=layout.banks,
    )
