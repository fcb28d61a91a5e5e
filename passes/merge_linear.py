"""One product for the query, key and value projections of an attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from passes.explain import record
from passes.interpreter.operations import Array
from passes.ir import Graph, Node, TensorType, Value
from passes.rewriting import origins_of, prune

_TRANSPARENT = ("rotary", "reshape", "transpose", "rms_norm", "layer_norm")


@dataclass(frozen=True)
class MergeLinear:
    """Concatenate the weights of `linear` nodes that read the same value and feed query, key or value of an attention.

    Precondition: attention is fused.
    Effect: one `linear` with the weights side by side, and a `split` of its result.
    Postcondition: query, key and value that are projections of the same value come from one `linear`.
    """

    name: ClassVar[str] = "merge_linear"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Merge for every attention; returns whether anything was merged."""
        merged = 0
        for node in graph.nodes:
            if node.op not in ("attention", "cached_attention"):
                continue
            projections = dict.fromkeys(filter(None, (_projection(value) for value in node.inputs[:3])))
            for group in _same_operand(list(projections)):
                _merge(graph, group)
                merged += 1
        record(graph, self.name, {"projections of one value": merged})
        return merged > 0


def _projection(value: Value | None) -> Node | None:
    """The linear map that an operand of an attention comes from."""
    node = value.producer if value is not None else None
    while node is not None and node.op in _TRANSPARENT:
        node = node.operand(0).producer
    return node if node is not None and node.op == "linear" and node.operand(1).is_constant else None


def _same_operand(nodes: list[Node]) -> list[list[Node]]:
    groups: dict[Value, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.operand(0), []).append(node)
    return [group for group in groups.values() if len(group) > 1]


def _side_by_side(weights: list[Array]) -> Array:
    """Matrices [K, N] joined along N; one number that stands for all (a model without weights) goes on doing so."""
    first = weights[0]
    if all(not any(each.strides) and each.flat[0] == first.flat[0] for each in weights):
        return np.broadcast_to(first[:1, :1], (first.shape[0], sum(each.shape[1] for each in weights)))
    return np.concatenate(weights, axis=1)


def _merge(graph: Graph, nodes: list[Node]) -> None:
    x = nodes[0].operand(0)
    origins = origins_of(nodes)
    weight = _side_by_side([np.asarray(node.operand(1).constant) for node in nodes])
    inputs = [x, graph.add_constant(weight, "qkv.weight", nodes[0].operand(1).type.dtype)]
    biases = [_bias(node) for node in nodes]
    if any(bias is not None for bias in biases):
        zeros = [np.zeros(np.asarray(node.operand(1).constant).shape[1], weight.dtype) for node in nodes]
        parts = [zero if bias is None else bias for bias, zero in zip(biases, zeros, strict=True)]
        inputs.append(graph.add_constant(np.concatenate(parts), "qkv.bias"))
    kind = nodes[0].output.type
    shape = (*kind.shape[:-1], weight.shape[1])
    whole = graph.add_node("linear", inputs, [TensorType(kind.dtype, shape)], origins=origins).output
    attributes = {"axis": kind.rank - 1, "sizes": tuple(node.output.shape[-1] for node in nodes)}
    parted = graph.add_node("split", [whole], [node.output.type for node in nodes], attributes, origins=origins)
    for node, part in zip(nodes, parted.outputs, strict=True):
        graph.replace_uses(node.output, part)
        prune(graph, node)


def _bias(node: Node) -> Array | None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return None if bias is None else np.asarray(bias.constant)
