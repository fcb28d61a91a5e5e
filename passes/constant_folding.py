"""Evaluation of everything that depends on constants alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from passes.dims import Affine
from passes.interpreter.interpret import evaluate
from passes.ir import Attribute, Graph, Node, Value
from passes.rewriting import attribute_parts, prune

_VIEWS = ("reshape", "transpose", "slice", "expand", "identity", "split")


@dataclass(frozen=True)
class ConstantFolding:
    """Replace nodes whose operands are constants by constants.

    Precondition: none.
    Effect: such a node disappears when its results are views of its operands (weights are not copied), or are not
    larger than four times the operands or `max_bytes`.
    Postcondition: no node has constants as its only operands, but for those that would make a large constant.
    """

    name: ClassVar[str] = "constant_folding"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False
    max_bytes: int = 1 << 26

    def run(self, graph: Graph) -> bool:
        """Fold in one sweep; returns whether anything changed."""
        foldable = _foldable(graph, self.max_bytes)
        targets = [
            value
            for node in foldable
            for value in node.outputs
            if graph.is_output(value) or any(user not in foldable for user in value.users)
        ]
        arrays = evaluate(graph, targets, {})
        for target, array in zip(targets, arrays, strict=True):
            graph.replace_uses(target, graph.add_constant(array, _name(target), target.type.dtype))
        for node in reversed(foldable):
            prune(graph, node)
        return bool(foldable)


def _foldable(graph: Graph, max_bytes: int) -> dict[Node, None]:
    """Nodes to fold, operands before users."""
    foldable: dict[Node, None] = {}
    for node in graph.nodes:
        known = all(v is None or v.is_constant or v.producer in foldable for v in node.inputs)
        if known and node.op != "cached_attention" and not _is_symbolic(node) and _is_moderate(node, max_bytes):
            foldable[node] = None
    return foldable


def _is_symbolic(node: Node) -> bool:
    return any(map(_has_symbols, node.attributes.values())) or any(value.type.symbols for value in node.outputs)


def _has_symbols(attribute: Attribute) -> bool:
    return any(isinstance(part, Affine) for part in attribute_parts(attribute))


def _is_moderate(node: Node, max_bytes: int) -> bool:
    if node.op in _VIEWS:
        return True
    made = sum(_bytes(value) for value in node.outputs)
    return made <= max(max_bytes, 4 * sum(_bytes(value) for value in node.inputs if value is not None))


def _bytes(value: Value) -> int:
    sizes = [dim for dim in value.shape if isinstance(dim, int)]
    return int(np.prod(sizes, dtype=np.int64)) * np.dtype(value.type.dtype).itemsize


def _name(value: Value) -> str:
    """The name of the constant that a value is a view of, otherwise its own."""
    source = value
    while source.producer is not None and source.producer.op in _VIEWS:
        source = source.producer.operand(0)
    return source.name if source.is_constant else value.name
