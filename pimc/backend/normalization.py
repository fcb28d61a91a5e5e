"""Normalisation, softmax rows and rotary embedding as short sequences of vector instructions."""

from __future__ import annotations

from isa import OperandValue, Place, UnsupportedError
from passes import Node
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lower, Lowering


def _rows(low: Lowering, node: Node) -> tuple[int, int]:
    """(rows, length) of a token's part of the operand, normalised over its last axis."""
    shape = low.axes.token_shape(node.operand(0))
    rows = 1
    for size in shape[:-1]:
        rows *= size
    return rows, shape[-1]


def lower_rms_norm(low: Lowering, node: Node) -> None:
    """x * rsqrt(mean(x^2) + epsilon) * weight: four instructions."""
    rows, length = _rows(low, node)
    source = low.storage.words(node.operand(0))
    result = low.storage.define(node.output)
    with low.storage.scratch(rows, "the statistics of a norm") as statistics:
        low.emitter.emit("rsumsq", statistics.operand, source.operand, length, rows, a_row=length)
        _scale_rows(low, node, source, result, statistics, float(node.attributes["epsilon"]))
    _multiply_weight(low, node, result, rows, length)


def lower_layer_norm(low: Lowering, node: Node) -> None:
    """(x - mean) * rsqrt(variance + epsilon) * weight + bias: seven or eight instructions."""
    rows, length = _rows(low, node)
    emit = low.emitter.emit
    source = low.storage.words(node.operand(0))
    result = low.storage.define(node.output)
    with low.storage.scratch(rows, "the statistics of a norm") as statistics:
        emit("rsum", statistics.operand, source.operand, length, rows, a_row=length)
        emit("vmap", statistics.operand, statistics.operand, "copy", rows, scale=1.0 / length)
        strides = {"dst_row": length, "a_row": length, "b_row": 1, "b_step": 0}
        emit("vsub", result.operand, source.operand, statistics.operand, length, rows, **strides)
        emit("rsumsq", statistics.operand, result.operand, length, rows, a_row=length)
        _scale_rows(low, node, result, result, statistics, float(node.attributes["epsilon"]))
    _multiply_weight(low, node, result, rows, length)
    bias = node.optional(2)
    if bias is not None:
        place = low.storage.words(bias).operand
        emit("vadd", result.operand, result.operand, place, length, rows, dst_row=length, a_row=length)


def _scale_rows(
    low: Lowering, node: Node, source: Words, result: Words, sum_of_squares: Words, epsilon: float
) -> None:
    rows, length = _rows(low, node)
    place = sum_of_squares.operand
    low.emitter.emit("vmap", place, place, "rsqrt", rows, scale=1.0 / length, bias=epsilon)
    strides = {"dst_row": length, "a_row": length, "b_row": 1, "b_step": 0}
    low.emitter.emit("vmul", result.operand, source.operand, place, length, rows, **strides)


def _multiply_weight(low: Lowering, node: Node, result: Words, rows: int, length: int) -> None:
    weight = low.storage.words(node.operand(1)).operand
    low.emitter.emit("vmul", result.operand, result.operand, weight, length, rows, dst_row=length, a_row=length)


def lower_softmax(low: Lowering, node: Node) -> None:
    """Softmax over the last axis of a token's part: five instructions."""
    rows, length = _rows(low, node)
    if int(node.attributes["axis"]) % node.output.type.rank != node.output.type.rank - 1:
        raise UnsupportedError("softmax over an axis that is not the last cannot be lowered", Place(node=node.name))
    result = low.storage.define(node.output)
    source = low.storage.words(node.operand(0))
    with low.storage.scratch(rows, "the statistics of a softmax") as statistics:
        softmax_rows(low, source, result, statistics, (rows, length, length), length, 1.0)
        strides = {"dst_row": length, "a_row": length, "b_row": 1, "b_step": 0}
        low.emitter.emit("vmul", result.operand, result.operand, statistics.operand, length, rows, **strides)


def softmax_rows(
    low: Lowering,
    source: Words,
    result: Words,
    statistics: Words,
    extent: tuple[int, int, int],
    length: OperandValue,
    scale: float,
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
    """
    rows, source_row, result_row = extent
    emit = low.emitter.emit
    emit("rmax", statistics.operand, source.operand, length, rows, a_row=source_row)
    strides = {"dst_row": result_row, "a_row": source_row, "b_row": 1, "b_step": 0}
    emit("vsub", result.operand, source.operand, statistics.operand, length, rows, **strides)
    rows_of = {"dst_row": result_row, "a_row": result_row}
    emit("vmap", result.operand, result.operand, "exp", length, rows, scale=scale, **rows_of)
    emit("rsum", statistics.operand, result.operand, length, rows, a_row=result_row)
    emit("vmap", statistics.operand, statistics.operand, "reciprocal", rows)


def lower_rotary(low: Lowering, node: Node) -> None:
    """Rotate the first elements of every head; the rest is copied."""
    heads = int(node.attributes["heads"])
    width = low.axes.words(node.operand(0)) // heads
    half = low.axes.words(node.operand(1))
    source, result = low.storage.words(node.operand(0)), low.storage.define(node.output)
    cosine, sine = low.storage.words(node.operand(1)).operand, low.storage.words(node.operand(2)).operand
    apart, step = (1, 2) if node.attributes["interleaved"] else (half, 1)
    rows = {"dst_row": width, "a_row": width, "dst_step": step, "a_step": step}
    emit = low.emitter.emit
    with low.storage.scratch(heads * half, "a rotary product") as product:
        low_half, high_half = source.operand, (source + apart).operand
        emit("vmul", result.operand, low_half, cosine, half, heads, **rows)
        emit("vmul", product.operand, high_half, sine, half, heads, dst_row=half, a_row=width, a_step=step)
        own = {"dst_row": width, "a_row": width, "b_row": half, "dst_step": step, "a_step": step}
        emit("vsub", result.operand, result.operand, product.operand, half, heads, **own)
    emit("vmul", (result + apart).operand, high_half, cosine, half, heads, **rows)
    emit("vmac", (result + apart).operand, low_half, sine, half, heads, **rows)
    if width > 2 * half:
        place = (result + 2 * half).operand, (source + 2 * half).operand
        emit("vmap", *place, "copy", width - 2 * half, heads, dst_row=width, a_row=width)


NORMALIZATION: dict[str, Lower] = {
    "rms_norm": lower_rms_norm,
    "layer_norm": lower_layer_norm,
    "softmax": lower_softmax,
    "rotary": lower_rotary,
}
