"""Graphs of one node, and what the verifier says of them."""

from __future__ import annotations

import pytest

from isa import GraphError
from passes import Graph, TensorType, verify
from passes.dims import Dim, symbol
from passes.ir import Attribute

SEQ, PAST = symbol("seq"), symbol("past")


def kind(dtype: str, *shape: Dim) -> TensorType:
    return TensorType(dtype, shape)


def f32(*shape: Dim) -> TensorType:
    return kind("float32", *shape)


def one(op: str, operands: list[TensorType | None], results: list[TensorType], **attributes: Attribute) -> Graph:
    """A graph of one node, from the ONNX node /n."""
    graph = Graph("g")
    values = [None if t is None else graph.add_input(f"x{i}", t) for i, t in enumerate(operands)]
    node = graph.add_node(op, values, results, attributes, name="n", origins=["/n"])
    graph.outputs = {f"y{i}": value for i, value in enumerate(node.outputs)}
    return graph


def findings(graph: Graph, level: str = "fused") -> str:
    with pytest.raises(GraphError) as caught:
        verify(graph, level)
    return str(caught.value)
