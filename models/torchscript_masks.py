"""Attention masks as torch's TorchScript exporter spells them: index grids, and a Gather of the flattened padding."""

from __future__ import annotations

from onnx_builder import BOOL, INT64, GraphBuilder, Value
from torchscript_shapes import axis_length, expand, filled


def causal_mask(
    builder: GraphBuilder, hidden: Value, padding: Value, past_key: Value | None, window: int | None
) -> Value:
    """Returns `[b, 1, s, t]`: keys up to the query's position, within the window, where `padding [b, t]` is true."""
    sequence = axis_length(builder, hidden, 1)
    if past_key is None:
        total, offset = axis_length(builder, padding, 1), None
    else:
        past = axis_length(builder, past_key, 2)
        offset = builder.node("Cast", past, to=INT64)
        total = builder.node("Add", past, sequence)
    batch = axis_length(builder, hidden, 0)
    batches, queries, keys = _grids(builder, batch, sequence, total, offset)
    everywhere = filled(builder, builder.constant([]), True)
    mask = everywhere
    if window is not None:
        oldest = builder.node("Sub", queries, builder.constant(window))
        mask = _and(builder, mask, builder.node("Greater", keys, oldest))
    mask = _and(builder, mask, builder.node("LessOrEqual", keys, queries))
    if window is not None:
        mask = _and(builder, everywhere, mask)
    mask = _and(builder, mask, _gather_padding(builder, padding, batches, keys))
    return expand(builder, mask, batch, -1, sequence, total)


def padding_mask(builder: GraphBuilder, hidden: Value, padding: Value) -> Value:
    """Returns `[b, 1, s, s]`: true where the key is no padding, whatever the query."""
    sequence, total = axis_length(builder, hidden, 1), axis_length(builder, padding, 1)
    batch = axis_length(builder, hidden, 0)
    batches, queries, keys = _grids(builder, batch, sequence, total, None)
    mask = filled(builder, builder.constant([]), True)
    mask = _and(builder, mask, builder.node("GreaterOrEqual", queries, builder.constant(0)))
    mask = _and(builder, mask, _gather_padding(builder, padding, batches, keys))
    return expand(builder, mask, batch, -1, sequence, total)


def _grids(
    builder: GraphBuilder, batch: Value, sequence: Value, total: Value, offset: Value | None
) -> tuple[Value, Value, Value]:
    """Returns the indices of batch `[b, 1, 1, 1]`, query position `[1, 1, s, 1]` and key position `[1, 1, 1, t]`."""
    batches, queries = _range(builder, batch), _range(builder, sequence)
    if offset is not None:
        queries = builder.node("Add", queries, offset)
    keys = _range(builder, total)
    return (
        _unsqueeze(builder, batches, 1, 2, 3),
        _unsqueeze(builder, queries, 0, 1, 3),
        _unsqueeze(builder, keys, 0, 1, 2),
    )


def _range(builder: GraphBuilder, length: Value) -> Value:
    """Counts from 0 up to a scalar length."""
    end = builder.node("Cast", length, to=INT64)
    return builder.node("Range", builder.constant(0), end, builder.constant(1))


def _unsqueeze(builder: GraphBuilder, tensor: Value, *axes: int) -> Value:
    """Inserts one axis after the other."""
    for axis in axes:
        tensor = builder.node("Unsqueeze", tensor, builder.constant([axis]))
    return tensor


def _and(builder: GraphBuilder, left: Value, right: Value) -> Value:
    """Joins two conditions, the second by way of a Cast to bool."""
    return builder.node("And", left, builder.node("Cast", right, to=BOOL))


def _gather_padding(builder: GraphBuilder, padding: Value, batches: Value, keys: Value) -> Value:
    """Looks up `padding [b, t]` by flat index batch * t + key: `[b, 1, 1, t]`."""
    length = builder.node("Gather", builder.node("Shape", padding), builder.constant([1]), axis=0)
    flat = builder.node("Flatten", padding, axis=2)
    index = builder.node("Add", keys, builder.node("Mul", batches, length))
    found = builder.node("Gather", flat, index, axis=0)
    shape = builder.node("Shape", index)
    found = builder.node("Reshape", found, builder.constant([-1]), allowzero=0)
    return builder.node("Reshape", found, builder.node("Concat", shape, axis=0), allowzero=0)
