"""Projections in the order of columns in which attention wants them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isa import GraphError
from passes.dims import evaluate as evaluate_dim
from passes.explain import record
from passes.interpreter.interpret import evaluate
from passes.interpreter.operations import Array
from passes.ir import Graph, Node, Value
from passes.recognition.extraction import extract
from passes.recognition.matching import Refusal, piece_of
from passes.rewriting import add, cut, replace

_VIEWS = frozenset(("reshape", "transpose", "slice", "split", "gather", "concat"))
_READERS = frozenset(("attention", "rotary", "rms_norm", "layer_norm"))
_LEAST_ROWS = 5
_MOST_ELEMENTS = 1 << 25
"""Projections of larger arrays are not followed element by element."""


@dataclass(frozen=True)
class SelectColumns:
    """Let parts of a joint projection that lie across it be projections of their own.

    Precondition: attention, norms and rotary embeddings are fused.
    Effect: where `linear` is reshaped, transposed and cut into parts [B, S, N] (queries, keys and values that take
    turns by head), each part becomes a `linear` with its columns of the weight, or a slice when they stand side by
    side already.
    Postcondition: no part of a projection is gathered at run time, unless something else uses the projection too.
    """

    name: ClassVar[str] = "select_columns"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Divide every such projection; returns whether there was one."""
        divided = 0
        for node in graph.nodes:
            if node.op == "linear" and all(value is None or value.is_constant for value in node.inputs[1:]):
                parts = _parts(node)
                if parts:
                    _divide(graph, node, parts)
                    divided += 1
        record(graph, self.name, {"divided projections": divided})
        return divided > 0


def _parts(linear: Node) -> dict[Value, Array]:
    """Columns of every part that is read; nothing when the projection is used otherwise, or is not cut across."""
    leaves = _leaves(linear)
    if leaves is None or all(piece_of(leaf) is not None and _source(leaf) is linear.output for leaf in leaves):
        return {}
    found: dict[Value, Array] = {}
    for leaf in leaves:
        columns = _columns(linear, leaf)
        if columns is None:
            return {}
        found[leaf] = columns
    return found


def _source(leaf: Value) -> Value | None:
    piece = piece_of(leaf)
    return None if piece is None else piece.source


def _leaves(linear: Node) -> list[Value] | None:
    """Values at which views of the projection end, when all of them end at nodes that take [B, S, N]."""
    found: dict[Value, None] = {}
    waiting = [linear.output]
    while waiting:
        value = waiting.pop()
        for user in value.users:
            if user.op in _VIEWS and user.inputs[0] is value:
                waiting += user.outputs
            elif user.op in _READERS and value.type.rank == 3 and value is not linear.output:
                found[value] = None
            else:
                return None
    return list(found) or None


def _columns(linear: Node, leaf: Value) -> Array | None:
    """Which columns of the projection each element of a row of the leaf is; `None` when it is not rows of it."""
    whole, width = linear.output, linear.output.shape[-1]
    rows = [dim for dim in whole.shape[:-1] if isinstance(dim, int)]
    if leaf.shape[:-1] != whole.shape[:-1] or not isinstance(width, int) or math.prod(rows) * width > _MOST_ELEMENTS:
        return None
    try:
        part, targets = extract([leaf], (whole,))
        names = sorted({name for value in part.values() for name in value.type.symbols})
        numbers = {name: _LEAST_ROWS + 2 * place for place, name in enumerate(names)}
        shape = [evaluate_dim(dim, numbers) for dim in whole.shape]
        elements = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
        (found,) = evaluate(part, targets, numbers, {whole.name: elements})
    except (Refusal, GraphError):
        return None
    taken = found.astype(np.int64).reshape(-1, found.shape[-1])
    columns = taken[0]
    starts = np.arange(len(taken))[:, None] * width
    return columns if len(taken) > 1 and np.array_equal(taken, starts + columns) and columns.max() < width else None


def _divide(graph: Graph, linear: Node, parts: dict[Value, Array]) -> None:
    weight, bias = np.asarray(linear.operand(1).constant), linear.optional(2)
    axis = linear.output.type.rank - 1
    for leaf, columns in parts.items():
        first, count = int(columns[0]), len(columns)
        if np.array_equal(columns, np.arange(first, first + count)):
            replace(graph, leaf, cut(graph, linear.output, axis, first, first + count, linear.origins))
            continue
        inputs = [linear.operand(0), graph.add_constant(weight[:, columns], linear.operand(1).name)]
        if bias is not None:
            inputs.append(graph.add_constant(np.asarray(bias.constant)[columns], bias.name))
        replace(graph, leaf, add(graph, "linear", inputs, leaf.type, linear.origins))
