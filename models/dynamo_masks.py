"""Attention masks as torch's dynamo exporter spells them: index grids, comparisons and a GatherND of the padding."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_builder import BOOL, GraphBuilder, Value


@dataclass(frozen=True)
class DynamoLengths:
    """Lengths of the call as vectors of one int64 each, and as scalars.

    Attributes:
        batch: sequences.
        sequence: new tokens.
        total: past and new tokens.
        batch_scalar: `batch` as a scalar.
        sequence_scalar: `sequence` as a scalar.
        past_scalar: past tokens as a scalar; None without a cache.
        total_scalar: `total` as a scalar.
    """

    batch: Value
    sequence: Value
    total: Value
    batch_scalar: Value
    sequence_scalar: Value
    past_scalar: Value | None
    total_scalar: Value


def cached_lengths(builder: GraphBuilder, input_ids: Value, past: list[Value]) -> DynamoLengths:
    """Reads the lengths off the ids and the cache."""
    sequence, sequence_scalar = _axis_length(builder, input_ids, 1)
    _, past_scalar = _axis_length(builder, past[0], 2)
    batch, batch_scalar = _axis_length(builder, past[-1], 0)
    total_scalar = builder.node("Add", past_scalar, sequence_scalar)
    total = builder.node("Reshape", total_scalar, builder.constant([-1]), allowzero=0)
    return DynamoLengths(batch, sequence, total, batch_scalar, sequence_scalar, past_scalar, total_scalar)


def plain_lengths(builder: GraphBuilder, tokens: Value) -> DynamoLengths:
    """Reads the lengths off an int64 value `[batch, seq]`; there is no past."""
    batch, batch_scalar = _axis_length(builder, tokens, 0)
    sequence, sequence_scalar = _axis_length(builder, tokens, 1)
    return DynamoLengths(batch, sequence, sequence, batch_scalar, sequence_scalar, None, sequence_scalar)


def causal_mask(builder: GraphBuilder, lengths: DynamoLengths, padding: Value, window: int | None) -> Value:
    """Returns `[b, 1, s, t]`: keys up to the query's position, within the window, where `padding [b, t]` is true."""
    batches, queries, keys = _grids(builder, lengths)
    visible = builder.constant(True)
    if window is not None:
        oldest = builder.node("Sub", queries, builder.constant(window))
        inside = builder.node("And", visible, builder.node("Greater", keys, oldest))
        causal = builder.node("And", inside, builder.node("LessOrEqual", keys, queries))
    else:
        causal = builder.node("LessOrEqual", keys, queries)
    mask = builder.node("And", visible, causal)
    mask = builder.node("And", mask, _gather_padding(builder, padding, batches, keys))
    if lengths.past_scalar is None:
        return mask
    shape = builder.node("Concat", lengths.batch, builder.constant([1]), lengths.sequence, lengths.total, axis=0)
    return builder.node("Expand", mask, shape)


def padding_mask(builder: GraphBuilder, lengths: DynamoLengths, padding: Value) -> Value:
    """Returns `[b, 1, s, s]`: true where the key is no padding, whatever the query."""
    batches, queries, keys = _grids(builder, lengths)
    everywhere = builder.node("GreaterOrEqual", queries, builder.constant(0))
    mask = builder.node("And", builder.constant(True), everywhere)
    return builder.node("And", mask, _gather_padding(builder, padding, batches, keys))


def as_bool(builder: GraphBuilder, attention_mask: Value) -> Value:
    """Turns the int64 mask into bool."""
    return builder.node("Cast", attention_mask, to=BOOL)


def _axis_length(builder: GraphBuilder, tensor: Value, axis: int) -> tuple[Value, Value]:
    """Returns the length of an axis as a vector of one and as a scalar."""
    vector = builder.node("Shape", tensor, start=axis, end=axis + 1)
    return vector, builder.node("Squeeze", vector)


def _grids(builder: GraphBuilder, lengths: DynamoLengths) -> tuple[Value, Value, Value]:
    """Returns the indices of batch `[b, 1, 1, 1]`, query position `[1, 1, s, 1]` and key position `[1, 1, 1, t]`."""
    zero, one, last = builder.constant(0), builder.constant(1), builder.constant([3])
    batches = builder.node("Range", zero, lengths.batch_scalar, one)
    queries = builder.node("Range", zero, lengths.sequence_scalar, one)
    keys = queries
    if lengths.past_scalar is not None:
        queries = builder.node("Add", queries, lengths.past_scalar)
        keys = builder.node("Range", zero, lengths.total_scalar, one)
    batches = builder.node("Unsqueeze", batches, builder.constant([1, 2]))
    batches = builder.node("Unsqueeze", batches, last)
    rows = builder.node("Unsqueeze", queries, builder.constant([0, 1]))
    columns = rows if keys == queries else builder.node("Unsqueeze", keys, builder.constant([0, 1]))
    return batches, builder.node("Unsqueeze", rows, last), builder.node("Unsqueeze", columns, builder.constant([2]))


def _gather_padding(builder: GraphBuilder, padding: Value, batches: Value, keys: Value) -> Value:
    """Looks up `padding [b, t]` at every pair of batch and key index: `[b, 1, 1, t]`."""
    shape = builder.node("Shape", builder.node("Max", batches, keys), start=0)
    last = builder.constant([-1])
    pairs = [builder.node("Unsqueeze", builder.node("Expand", grid, shape), last) for grid in (batches, keys)]
    return builder.node("GatherND", padding, builder.node("Concat", *pairs, axis=-1), batch_dims=0)
