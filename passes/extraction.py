"""A small graph of its own for what some values are computed from."""

from __future__ import annotations

from collections.abc import Sequence

from passes.ir import Graph, Value
from passes.rewriting import ancestors


def extract(graph: Graph, targets: Sequence[Value]) -> tuple[Graph, list[Value]]:
    """Copy the ancestors of the targets, so that evaluating them costs nothing for the rest of the graph.

    Returns:
        A graph without outputs that shares the constants, and the targets in it.
    """
    wanted = ancestors(targets)
    part = Graph(graph.name)
    copies: dict[Value, Value] = {}

    def copied(value: Value) -> Value:
        if value not in copies:
            if value.constant is None:
                copies[value] = part.add_input(value.name, value.type)
            else:
                copies[value] = part.add_constant(value.constant, value.name, value.type.dtype)
        return copies[value]

    for node in graph.nodes:
        if node not in wanted:
            continue
        inputs = [None if value is None else copied(value) for value in node.inputs]
        types = [value.type for value in node.outputs]
        copy = part.add_node(node.op, inputs, types, node.attributes, node.name, node.origins)
        copies.update(zip(node.outputs, copy.outputs, strict=True))
    return part, [copied(target) for target in targets]
