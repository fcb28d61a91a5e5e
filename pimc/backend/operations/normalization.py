"""Normalisation, softmax and rotary embedding as short sequences of vector instructions."""

from __future__ import annotations

from isa import OperandValue
from passes import Node, Value
from pimc.backend.emitter import Words
from pimc.backend.lowering import KeyMask, Lower, Lowering, MaskBounds
from pimc.backend.operations.elementwise import emit_binary, emit_map
from pimc.backend.operations.reductions import reduce_last
from pimc.backend.rooms.views import View


def _spread(statistics: View, like: View) -> View:
    """One word a row under the shape of the rows."""
    return View(statistics.words, like.shape, (*statistics.strides, 0))


def _feature(low: Lowering, value: Value, like: View) -> View:
    """A vector of weights under the shape of the rows."""
    return low.storage.view(value).broadcast(like.shape)


def lower_rms_norm(low: Lowering, node: Node) -> None:
    """x * rsqrt(mean(x^2) + epsilon) * weight: four instructions."""
    source, result = low.storage.aligned(node.operand(0), node), low.storage.define(node.output)
    rows = source.without(-1)
    with low.storage.scratch(low.storage.capacity_words(rows), "the statistics of a norm") as words:
        statistics = low.dense(rows, words)
        reduce_last(low, "rsumsq", statistics, source)
        _scale_rows(low, node, source, result, statistics)
    emit_binary(low, "vmul", (result, result, _feature(low, node.operand(1), result)), "f32")


def lower_layer_norm(low: Lowering, node: Node) -> None:
    """(x - mean) * rsqrt(variance + epsilon) * weight + bias: seven or eight instructions."""
    source, result = low.storage.aligned(node.operand(0), node), low.storage.define(node.output)
    rows, length = source.without(-1), int(str(source.shape[-1]))
    with low.storage.scratch(low.storage.capacity_words(rows), "the statistics of a norm") as words:
        statistics = low.dense(rows, words)
        reduce_last(low, "rsum", statistics, source)
        emit_map(low, statistics, statistics, "copy", 1.0 / length)
        emit_binary(low, "vsub", (result, source, _spread(statistics, result)), "f32")
        reduce_last(low, "rsumsq", statistics, result)
        _scale_rows(low, node, result, result, statistics)
    emit_binary(low, "vmul", (result, result, _feature(low, node.operand(1), result)), "f32")
    bias = node.optional(2)
    if bias is not None:
        emit_binary(low, "vadd", (result, result, _feature(low, bias, result)), "f32")


def _scale_rows(low: Lowering, node: Node, source: View, result: View, sum_of_squares: View) -> None:
    length, epsilon = int(str(source.shape[-1])), float(node.attributes["epsilon"])
    emit_map(low, sum_of_squares, sum_of_squares, "rsqrt", 1.0 / length, epsilon)
    emit_binary(low, "vmul", (result, source, _spread(sum_of_squares, result)), "f32")


def lower_softmax(low: Lowering, node: Node) -> None:
    """exp(x - max) / sum along any axis: six instructions."""
    axis = int(node.attributes["axis"])
    source = low.storage.aligned(node.operand(0), node).moved_last(axis)
    result = low.storage.define(node.output).moved_last(axis)
    rows = source.without(-1)
    with low.storage.scratch(low.storage.capacity_words(rows), "the statistics of a softmax") as words:
        statistics = low.dense(rows, words)
        reduce_last(low, "rmax", statistics, source)
        emit_binary(low, "vsub", (result, source, _spread(statistics, result)), "f32")
        emit_map(low, result, result, "exp")
        reduce_last(low, "rsum", statistics, result)
        emit_map(low, statistics, statistics, "reciprocal")
        emit_binary(low, "vmul", (result, result, _spread(statistics, result)), "f32")


def softmax_rows(
    low: Lowering,
    source: Words,
    result: Words,
    statistics: Words,
    extent: tuple[int, int, int],
    length: OperandValue,
    scale: float,
    bounds: MaskBounds | None = None,
    mask: KeyMask | None = None,
) -> None:
    """result = exp(scale * (x - max)) and statistics = 1 / sum, row by row; the product of both is left to the caller.

    Args:
        low: State of the lowering.
        source: First word of x.
        result: First word of the result, may equal `source`.
        statistics: One word a row.
        extent: (rows, words from row to row of x, of the result).
        length: Elements of a row, as an operand value.
        scale: Positive factor.
        bounds: Given when all elements of a row may be excluded; the result of such a row is 0.
        mask: The key mask when nothing else excludes elements.
    """
    rows, source_row, result_row = extent
    emit = low.emitter.emit
    emit("rmax", statistics.operand, source.operand, length, rows, a_row=source_row)
    if bounds is not None:
        at_least(low, statistics, rows, mask, bounds.least_maximum)
    strides = {"dst_row": result_row, "a_row": source_row, "b_row": 1, "b_step": 0}
    emit("vsub", result.operand, source.operand, statistics.operand, length, rows, **strides)
    rows_of = {"dst_row": result_row, "a_row": result_row}
    emit("vmap", result.operand, result.operand, "exp", length, rows, scale=scale, **rows_of)
    emit("rsum", statistics.operand, result.operand, length, rows, a_row=result_row)
    if bounds is not None:
        at_least(low, statistics, rows, mask, bounds.least_sum)
    emit("vmap", statistics.operand, statistics.operand, "reciprocal", rows)


def at_least(low: Lowering, statistics: Words, rows: int, mask: KeyMask | None, bound: int) -> None:
    """Emit: raise the statistics to the word `bound`, where the mask excludes anything at all."""
    place = statistics.operand
    with low.masked(mask):
        low.emitter.emit("vmax", place, place, bound, rows, b_step=0)


def lower_rotary(low: Lowering, node: Node) -> None:
    """Rotate the first elements of every head; the rest is copied."""
    heads = int(node.attributes["heads"])
    source, cosine, sine = (low.storage.aligned(node.operand(position), node) for position in range(3))
    result = low.storage.define(node.output)
    width = int(str(source.shape[-1])) // heads
    half = int(str(cosine.shape[-1]))
    apart, step = (1, 2) if node.attributes["interleaved"] else (half, 1)
    first, second, low_result, high_result = (
        _parts(view, heads, width, offset, half, step)
        for view, offset in ((source, 0), (source, apart), (result, 0), (result, apart))
    )
    cosines, sines = (_per_head(view, first) for view in (cosine, sine))
    with low.storage.scratch(low.storage.capacity_words(first), "a rotary product") as words:
        product = low.dense(first, words)
        emit_binary(low, "vmul", (low_result, first, cosines), "f32")
        emit_binary(low, "vmul", (product, second, sines), "f32")
        emit_binary(low, "vsub", (low_result, low_result, product), "f32")
    emit_binary(low, "vmul", (high_result, second, cosines), "f32")
    emit_binary(low, "vmac", (high_result, first, sines), "f32")
    if width > 2 * half:
        rest = (_parts(view, heads, width, 2 * half, width - 2 * half, 1) for view in (result, source))
        low.copy_view(*rest)


def _parts(view: View, heads: int, width: int, offset: int, size: int, step: int) -> View:
    """Elements offset, offset + step, ... of every head: [..., heads, size]."""
    last = view.strides[-1]
    shape, strides = (*view.shape[:-1], heads, size), (*view.strides[:-1], width * last, step * last)
    return View(view.words + offset * last, shape, strides)


def _per_head(table: View, like: View) -> View:
    """A table [..., size], the same for every head."""
    whole = View(table.words, (*table.shape[:-1], 1, table.shape[-1]), (*table.strides[:-1], 0, table.strides[-1]))
    return whole.broadcast(like.shape)


NORMALIZATION: dict[str, Lower] = {
    "rms_norm": lower_rms_norm,
    "layer_norm": lower_layer_norm,
    "softmax": lower_softmax,
    "rotary": lower_rotary,
}
