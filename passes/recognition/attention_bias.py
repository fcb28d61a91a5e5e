"""Key masks and biases of an attention as operands: aligned to [B, H, S, T], summed, of the right type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from passes.dims import Dim
from passes.ir import Graph, TensorType, Value
from passes.layout import reshape_groups
from passes.recognition.attention_operands import Heads
from passes.recognition.masks import MaskTerm
from passes.recognition.matching import Refusal
from passes.rewriting import add, cast, expand, origins_of, reshape

EXCLUDED = -1e30
"""What stands for minus infinity in a bias: its exponential is 0, and sums of it stay finite."""


def key_mask_of(graph: Graph, masks: Sequence[Value], keys: Dim) -> Value | None:
    """The conjunction of key masks as bool [B|1, T], `None` when there are none."""
    rows = [_row(graph, mask, keys) for mask in masks]
    if not rows:
        return None
    result = rows[0]
    for row in rows[1:]:
        shape = max(result.shape, row.shape, key=lambda dims: dims[0] != 1)
        result = add(graph, "and", [result, row], TensorType("bool", shape), _origins(row))
    return result


def _row(graph: Graph, mask: Value, keys: Dim) -> Value:
    flat = reshape(graph, mask, (mask.shape[0], keys), _origins(mask))
    return cast(graph, flat, "bool", _origins(mask))


def _origins(value: Value) -> tuple[str, ...]:
    return () if value.producer is None else origins_of([value.producer])


def bias_of(graph: Graph, terms: Sequence[MaskTerm], scores: Heads, dtype: str, origins: Iterable[str]) -> Value | None:
    """The sum of the terms as a value that broadcasts to [B, H, S, T], `None` when there are none."""
    total: Value | None = None
    for term in terms:
        value = _numbers(graph, term, scores, dtype, tuple(origins))
        if total is None:
            total = value
            continue
        shape = tuple(b if a == 1 else a for a, b in zip(total.shape, value.shape, strict=True))
        total = add(graph, "add", [total, value], TensorType(dtype, shape), origins)
    return total


def _numbers(graph: Graph, term: MaskTerm, scores: Heads, dtype: str, origins: tuple[str, ...]) -> Value:
    value = aligned(graph, term.value, term.scores or scores, scores, origins)
    if term.kind == "additive":
        value = cast(graph, value, dtype, origins)
        if term.factor == 1.0:
            return value
        factor = graph.add_constant(np.asarray(term.factor, np.float32), "factor", "float32")
        return add(graph, "mul", [value, cast(graph, factor, dtype, origins)], value.type, origins)
    zero, low = (cast(graph, graph.add_constant(np.asarray(x, np.float32)), dtype, origins) for x in (0, EXCLUDED))
    chosen = (zero, low) if term.kind == "allowed" else (low, zero)
    condition = cast(graph, value, "bool", origins)
    return add(graph, "where", [condition, *chosen], TensorType(dtype, value.shape), origins)


def aligned(graph: Graph, value: Value, shape: Sequence[Dim], target: Heads, origins: tuple[str, ...]) -> Value:
    """What broadcasts to scores of a shape as a value that broadcasts to the same scores as [B, H, S, T].

    Raises:
        Refusal: The axes of the two shapes do not correspond.
    """
    groups = reshape_groups(tuple(shape), tuple(target))
    if groups is None:
        raise Refusal("the axes of the scores are not told apart")
    padded: tuple[Dim, ...] = (*(1,) * (len(shape) - value.type.rank), *value.shape)
    full: list[Dim] = list(padded)
    result: list[Dim] = []
    for before, after in groups:
        whole = tuple(shape[axis] for axis in before)
        own = tuple(padded[axis] for axis in before)
        if all(dim == 1 for dim in own):
            result += [1] * len(after)
            continue
        if len(before) == len(after) == 1 or own == whole:
            result += [target[axis] for axis in after]
        elif len(before) > 1:
            for axis, dim in zip(before, whole, strict=True):
                full[axis] = dim
            result += [target[axis] for axis in after]
    if full == list(padded):
        return reshape(graph, value, result, origins)
    widened = expand(graph, reshape(graph, value, padded, origins), full, origins)
    return reshape(graph, widened, result, origins)
