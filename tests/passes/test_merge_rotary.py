"""Joining the rotary embeddings of query and key."""

from __future__ import annotations

import numpy as np

from passes import Graph, TensorType, interpret
from passes.dims import symbol
from passes.merge_rotary import MergeRotary

S = symbol("seq")


def _graph(second_interleaved: bool = False, key_heads: int = 1, key_dim: int = 8) -> Graph:
    graph = Graph("g")
    width = 16 + key_heads * key_dim + 8
    x = graph.add_input("x", TensorType("float32", (1, S, width)))
    angles = [graph.add_input(name, TensorType("float32", (1, S, 4))) for name in ("cos", "sin")]
    sizes = (16, key_heads * key_dim, 8)
    types = [TensorType("float32", (1, S, size)) for size in sizes]
    parts = graph.add_node("split", [x], types, {"axis": 2, "sizes": sizes}).outputs
    for name, part, heads, crossed in (("q", parts[0], 2, False), ("k", parts[1], key_heads, second_interleaved)):
        attributes = {"heads": heads, "interleaved": crossed}
        graph.outputs[name] = graph.add_node("rotary", [part, *angles], [part.type], attributes).output
    graph.outputs["v"] = parts[2]
    return graph


def _outputs(graph: Graph) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    inputs = {v.name: random.standard_normal((1, 3, v.shape[2])).astype(np.float32) for v in graph.inputs}
    return interpret(graph, inputs)


def test_query_and_key_are_rotated_together() -> None:
    graph = _graph()
    before = _outputs(graph)
    assert MergeRotary().run(graph)
    assert [node.op for node in graph.nodes] == ["split", "rotary", "split"]
    assert graph.nodes[1].attributes["heads"] == 3
    for name, value in _outputs(graph).items():
        np.testing.assert_array_equal(value, before[name])


def test_different_pairing_stays_apart() -> None:
    graph = _graph(second_interleaved=True)
    assert not MergeRotary().run(graph)
    assert len(graph) == 3


def test_different_head_sizes_stay_apart() -> None:
    assert not MergeRotary().run(_graph(key_dim=16))
