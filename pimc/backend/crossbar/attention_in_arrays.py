"""Attention over a KV cache in groups of arrays: keys enter from the rows, values are used from the columns."""

from __future__ import annotations

from functools import partial

from isa import Indexed
from passes import Node
from pimc.backend.attention.attention_block import Block
from pimc.backend.attention.attention_in_banks import ceil_div, extent_of
from pimc.backend.attention.attention_softmax import masked_scores, probabilities
from pimc.backend.crossbar.cache_arrays import ArrayRooms
from pimc.backend.crossbar.hybrid_softmax import SoftmaxRows, emit_hybrid_softmax
from pimc.backend.emitter import Words, indexed
from pimc.backend.lowering import CacheRooms, Lowering
from pimc.backend.operations.normalization import at_least


def append_key_column(low: Lowering, node: Node) -> None:
    """Write the current token's key of every head to a column."""
    rooms, arrays = _rooms(low, node)
    with low.contiguous(low.storage.row_part(node.operand(1))) as key:
        for head in range(arrays.heads):
            _write(low, rooms, arrays, arrays.key_groups(head), key + head * arrays.key_rows, arrays.key_rows)


def append_value_column(low: Lowering, node: Node) -> None:
    """Write the current token's value of every head to a column, unless it was written as its key."""
    rooms, arrays = _rooms(low, node)
    if arrays.is_shared:
        return
    with low.contiguous(low.storage.row_part(node.operand(2))) as value:
        for head in range(arrays.heads):
            _write(low, rooms, arrays, arrays.value_groups(head), value + head * arrays.value_rows, arrays.value_rows)


def attend_in_arrays(low: Lowering, node: Node, value_waits: bool) -> None:
    """Emit softmax(q K^T * scale + mask) V for the current token; arguments as for `attend` in the banks."""
    rooms, arrays = _rooms(low, node)
    heads, score_row = int(node.attributes["heads"]), arrays.tokens
    result = low.storage.define(node.output).words
    with (
        low.storage.scratch(heads * score_row, "the attention scores") as scores,
        low.storage.scratch(heads, "the statistics of a softmax") as statistics,
    ):
        extent = extent_of(low, node, rooms)
        block = Block(low, node, rooms, heads // arrays.heads, extent, scores, score_row)
        counts = _counts(block, arrays)
        _score(block, arrays, counts)
        if value_waits:
            append_value_column(low, node)
        if low.machine.hybrid_softmax is not None:
            _hybrid_softmax(block, statistics)
        else:
            probabilities(block, statistics)
        if extent.first is not None:
            low.emitter.emit("vfill", scores.operand, 0.0, indexed(0, extent.first), heads, score_row)
        _mix(block, arrays, counts, result)
        if low.machine.hybrid_softmax is None:
            width = arrays.value_rows
            strides = {"dst_row": width, "a_row": width, "b_row": 1, "b_step": 0}
            low.emitter.emit("vmul", result.operand, result.operand, statistics.operand, width, heads, **strides)


def _rooms(low: Lowering, node: Node) -> tuple[CacheRooms, ArrayRooms]:
    rooms = low.caches[str(node.attributes["cache"])]
    assert rooms.arrays is not None
    return rooms, rooms.arrays


def _write(low: Lowering, rooms: CacheRooms, arrays: ArrayRooms, groups: range, source: Words, length: int) -> None:
    """Write a vector to the current token's column of the one of a head's groups that has it."""
    position = low.position(rooms.first)
    if len(groups) == 1:
        low.emitter.emit("xprog", groups[0], indexed(0, position), source.operand, length)
        return
    columns = arrays.crossbar.columns
    column = low.once(("column", position, columns), lambda: low.emitter.scalar("remu", position, columns))
    for number, group in enumerate(groups):
        owns = low.once(("owns", position, columns, number), partial(_owns, low, position, columns, number))
        with low.emitter.unless_zero(owns):
            low.emitter.emit("xprog", group, indexed(0, column), source.operand, length)


def _owns(low: Lowering, position: int, columns: int, number: int) -> int:
    """Register that is 1 when the position lies in the group `number` of a chain, else 0."""
    emit = low.emitter.emit
    distance = low.emitter.scalar("divu", position, columns)
    if number:
        emit("sub", distance, distance, number)
        below = low.emitter.scalar("mul", distance, -1)
        emit("max", distance, distance, Indexed(0, below))
        low.emitter.release(below)
    emit("min", distance, distance, 1)
    emit("mul", distance, distance, -1)
    emit("add", distance, distance, 1)
    return distance


def _counts(block: Block, arrays: ArrayRooms) -> list[tuple[int, int]]:
    """For each group of a chain registers with the columns of attended tokens, and with the arrays that these pass."""
    low, end, columns = block.low, block.extent.end, arrays.crossbar.columns
    lines = arrays.crossbar.array_columns

    def columns_of(number: int) -> int:
        if number == 0:
            return low.emitter.scalar("min", end, columns)
        count = low.emitter.scalar("sub", end, number * columns)
        low.emitter.emit("max", count, count, 0)
        low.emitter.emit("min", count, count, columns)
        return count

    found: list[tuple[int, int]] = []
    for number in range(arrays.chain):
        count = end
        if arrays.chain > 1:
            count = low.once(("columns", end, columns, number), partial(columns_of, number))
        found.append((count, low.once(("passed arrays", count, lines), partial(ceil_div, low, count, lines))))
    return found


def _score(block: Block, arrays: ArrayRooms, counts: list[tuple[int, int]]) -> None:
    """Emit the products of the queries and the keys of the tokens so far, a row of scores a query head."""
    low, part = block.low, arrays.crossbar
    with low.contiguous(low.storage.aligned(block.node.operand(0), block.node)) as query:
        for head in range(arrays.heads * block.query_heads):
            groups = arrays.key_groups(head // block.query_heads)
            for number, (group, (count, _)) in enumerate(zip(groups, counts, strict=True)):
                low.emitter.emit(
                    "xmvm",
                    dst=(block.scores + (head * block.score_row + number * part.columns)).operand,
                    a=(query + head * arrays.key_rows).operand,
                    begin=0,
                    group=group,
                    inputs=arrays.key_rows,
                    rows=-(-arrays.key_rows // part.array_rows),
                    len=indexed(0, count),
                )


def _hybrid_softmax(block: Block, largest: Words) -> None:
    """Emit probabilities that need no factor any more."""
    low, heads, row = block.low, int(block.node.attributes["heads"]), block.score_row
    found = masked_scores(block)
    with (
        low.storage.scratch(heads * row, "exponentials") as exponentials,
        low.storage.scratch(heads, "sums of exponentials") as sums,
    ):
        operands = (found.words.operand, exponentials.operand, largest.operand, sums.operand)
        part = SoftmaxRows(*operands, found.length, heads, row, found.scale)
        if found.bounds is None:
            emit_hybrid_softmax(low.emitter, part)
            return
        raised = partial(at_least, low, largest, heads, found.mask, found.bounds.least_maximum)
        emit_hybrid_softmax(
            low.emitter, part, raised, partial(at_least, low, sums, heads, found.mask, found.bounds.least_sum)
        )


def _mix(block: Block, arrays: ArrayRooms, counts: list[tuple[int, int]], result: Words) -> None:
    """Emit the sums of the values, weighted with the probabilities; groups of a chain add theirs."""
    low, columns = block.low, arrays.crossbar.columns
    for head in range(arrays.heads * block.query_heads):
        target = (result + head * arrays.value_rows).operand
        groups = arrays.value_groups(head // block.query_heads)
        for number, (group, (count, passed)) in enumerate(zip(groups, counts, strict=True)):
            low.emitter.emit(
                "xmvm",
                dst=target,
                a=(block.scores + (head * block.score_row + number * columns)).operand,
                begin=target if number else 0,
                group=group,
                inputs=indexed(0, count),
                rows=indexed(0, passed),
                len=arrays.value_rows,
                side="transposed",
                add="begin" if number else "no",
                vector="unsigned",
            )
