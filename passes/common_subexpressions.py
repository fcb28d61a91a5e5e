"""One node for all that compute the same."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from passes.ir import Graph, Node, Value
from passes.rewriting import prune

_COMPARED_BYTES = 1024


@dataclass(frozen=True)
class CommonSubexpressions:
    """Merge nodes with the same operation, operands and attributes, and constants with the same contents.

    Precondition: none.
    Effect: later duplicates disappear; constants above 1 KiB count as the same only when they are the same memory.
    Postcondition: no two nodes with one result agree in operation, operands and attributes.
    """

    name: ClassVar[str] = "common_subexpressions"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        """Merge in one sweep from operands to users; returns whether anything changed."""
        changed = _merge_constants(graph)
        seen: dict[Hashable, Node] = {}
        for node in graph.nodes:
            first = seen.setdefault(_node_key(node), node)
            if first is node or node.op == "cached_attention":
                continue
            for old, new in zip(node.outputs, first.outputs, strict=True):
                graph.replace_uses(old, new)
            first.origins = tuple(dict.fromkeys((*first.origins, *node.origins)))
            prune(graph, node)
            changed = True
        return changed


def _merge_constants(graph: Graph) -> bool:
    seen: dict[Hashable, Value] = {}
    changed = False
    for value in list(graph.values()):
        if value.constant is None:
            continue
        first = seen.setdefault(_constant_key(value), value)
        if first is not value:
            graph.replace_uses(value, first)
            changed = True
    return changed


def _constant_key(value: Value) -> Hashable:
    array = np.asarray(value.constant)
    if array.nbytes <= _COMPARED_BYTES:
        return value.type, array.tobytes()
    return value.type, array.__array_interface__["data"][0], array.strides


def _node_key(node: Node) -> Hashable:
    types = tuple(value.type for value in node.outputs)
    attributes = tuple(sorted((name, repr(value)) for name, value in node.attributes.items()))
    return node.op, tuple(node.inputs), attributes, types
