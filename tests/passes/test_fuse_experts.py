"""Products with gathered matrices: found on either side, the same numbers, nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest

from passes import Graph, TensorType, interpret
from passes.fuse_experts import FuseExperts

EXPERTS, INPUTS, OUTPUTS, ROWS = 5, 6, 4, 3


def _graph(is_left: bool, vectors: int = 1) -> Graph:
    graph = Graph("experts")
    random = np.random.default_rng(0)
    matrix = (OUTPUTS, INPUTS) if is_left else (INPUTS, OUTPUTS)
    table = graph.add_constant(random.standard_normal((EXPERTS, *matrix)).astype(np.float32), "experts")
    index = graph.add_input("index", TensorType("int64", (ROWS,)))
    shape = (ROWS, INPUTS, vectors) if is_left else (ROWS, vectors, INPUTS)
    x = graph.add_input("x", TensorType("float32", shape))
    chosen = graph.add_node("gather", [table, index], [TensorType("float32", (ROWS, *matrix))], {"axis": 0}).output
    result = (ROWS, OUTPUTS, vectors) if is_left else (ROWS, vectors, OUTPUTS)
    operands = [chosen, x] if is_left else [x, chosen]
    product = graph.add_node("matmul", operands, [TensorType("float32", result)]).output
    graph.outputs["y"] = product
    for value in (index, x):
        graph.signature[value.name] = value.type
    graph.signature["y"] = product.type
    return graph


@pytest.mark.parametrize("is_left", [True, False])
def test_products_with_chosen_matrices_are_fused_and_keep_their_values(is_left: bool) -> None:
    graph = _graph(is_left)
    random = np.random.default_rng(1)
    inputs = {
        "index": np.array([4, 0, 4]),
        "x": random.standard_normal([int(str(size)) for size in graph.inputs[1].shape]).astype(np.float32),
    }
    before = interpret(graph, inputs)["y"]
    assert FuseExperts().run(graph)
    assert [node.op for node in graph.nodes if node.op in ("matmul", "expert_linear")] == ["expert_linear"]
    np.testing.assert_allclose(interpret(graph, inputs)["y"], before, rtol=1e-6)


def test_products_with_several_vectors_stay() -> None:
    graph = _graph(True, vectors=2)
    assert not FuseExperts().run(graph)
    assert "matmul" in {node.op for node in graph.nodes}
