import numpy as np
import pytest
from tests_attention_graphs import HEAD_DIM, HEADS, WIDTH, attention_block
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from passes import Graph, Value
from passes.canonicalize import Canonicalize
from passes.merge_linear import MergeLinear
from passes.pipelines import pipeline


def attend(net: Net, query: Value, key: Value, value: Value) -> None:
    kv_heads = key.shape[-1] // HEAD_DIM  # type: ignore[operator]
    attributes = {"heads": HEADS, "kv_heads": kv_heads, "scale": 1.0, "causal": True, "window": 0, "softcap": 0.0}
    kept = type(key.type)("float32", (1, kv_heads, SEQ, HEAD_DIM))
    node = net.graph.add_node("attention", [query, key, value, None, None, None], [query.type, kept, kept], attributes)
    net.output("y", node.output)


def biased(which: str) -> Graph:
    net = Net()
    x = net.input("x", 1, SEQ, WIDTH)
    parts = []
    for name, width in (("q", WIDTH), ("k", 16), ("v", 16)):
        bias = net.weights(width) if name in which else None
        parts.append(net.op("linear", x, net.weights(WIDTH, width), bias))
    attend(net, *parts)
    return net.graph


@pytest.mark.parametrize("which", ["qkv", "qv", ""])
def test_projections_become_one_with_zeros_for_absent_biases(which: str) -> None:
    after = assert_same_meaning(lambda: biased(which), MergeLinear(), Canonicalize(), tolerance=1e-5)
    assert operations(after) == ["linear", "split", "attention"]
    shapes = [value.shape for value in after.nodes[0].inputs[1:] if value is not None]
    assert shapes == [(WIDTH, 64), (64,)][: 1 + bool(which)]
    assert after.nodes[1].attributes == {"axis": 2, "sizes": (WIDTH, 16, 16)}
    assert after.facts["merge_linear"]["fused"] == {"projections of one value": 1}


def test_the_pipeline_merges_behind_layout_changes() -> None:
    graph = run_passes(attention_block(kv_heads=2, layers=2), *pipeline("default"))
    assert operations(graph).count("linear") == 4
    assert operations(graph).count("split") == 2


def test_only_projections_of_the_same_value_are_merged() -> None:
    net = Net()
    x, z = net.input("x", 1, SEQ, WIDTH), net.input("z", 1, SEQ, WIDTH)
    query, key, value = (net.op("linear", source, net.weights(WIDTH, WIDTH)) for source in (x, z, z))
    attend(net, query, key, value)
    run_passes(net.graph, MergeLinear())
    assert sorted(operations(net.graph)) == ["attention", "linear", "linear", "split"]


def test_one_map_for_two_operands_is_not_merged_with_itself() -> None:
    net = Net()
    x = net.input("x", 1, SEQ, WIDTH)
    shared = net.op("linear", x, net.weights(WIDTH, WIDTH))
    attend(net, net.op("exp", x), shared, shared)
    assert not MergeLinear().run(net.graph)


def test_weights_are_joined_in_the_order_of_the_operands() -> None:
    graph = biased("q")
    matrices = [np.asarray(node.operand(1).constant) for node in graph.nodes if node.op == "linear"]
    MergeLinear().run(graph)
    merged = graph.nodes[0].operand(1).constant
    assert merged is not None
    assert np.array_equal(merged, np.concatenate(matrices, axis=1))
