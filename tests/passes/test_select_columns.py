"""Queries, keys and values that take turns in a joint projection become projections with columns of their own."""

from collections.abc import Callable

import numpy as np
import pytest
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from passes import Graph, TensorType, Value
from passes.select_columns import SelectColumns

HEADS, HEAD_DIM, BATCH = 3, 4, 2
WIDTH = HEADS * HEAD_DIM
SHAPE = (BATCH, SEQ, WIDTH)


def attend(net: Net, query: Value, key: Value, value: Value) -> Graph:
    attributes = {"heads": HEADS, "kv_heads": HEADS, "scale": 1.0, "causal": True, "window": 0, "softcap": 0.0}
    node = net.graph.add_node("attention", [query, key, value], [query.type], attributes)
    net.output("y", node.output)
    return net.graph


def projection(net: Net, bias: bool = True) -> Value:
    x = net.input("x", BATCH, SEQ, 5)
    return net.op("linear", x, net.weights(5, 3 * WIDTH), net.weights(3 * WIDTH) if bias else None)


def by_head(net: Net, bias: bool = True) -> Graph:
    """BLOOM: [H, 3, D]."""
    apart = net.op("reshape", projection(net, bias), shape=(BATCH, SEQ, HEADS, 3, HEAD_DIM))
    parts = (net.cut(apart, 3, place, place + 1) for place in range(3))
    return attend(net, *(net.op("reshape", part, shape=SHAPE) for part in parts))


def by_head_in_head_major(net: Net) -> Graph:
    """GPT-NeoX: [H, 3*D], heads before tokens, cut behind the transpose."""
    apart = net.op("reshape", projection(net), shape=(BATCH, SEQ, HEADS, 3 * HEAD_DIM))
    heads = net.op("transpose", apart, perm=(0, 2, 1, 3))
    parts = (net.cut(heads, 3, place * HEAD_DIM, (place + 1) * HEAD_DIM) for place in range(3))
    tokens = (net.op("transpose", part, perm=(0, 2, 1, 3)) for part in parts)
    return attend(net, *(net.op("reshape", each, shape=SHAPE) for each in tokens))


def looked_up(net: Net) -> Graph:
    """Parts first: taken by number."""
    apart = net.op("reshape", projection(net), shape=(BATCH, SEQ, HEADS, 3, HEAD_DIM))
    first = net.op("transpose", apart, perm=(3, 0, 1, 2, 4))
    parts = (net.op("gather", first, net.constant([place], "int64"), axis=0) for place in range(3))
    return attend(net, *(net.op("reshape", part, shape=SHAPE) for part in parts))


@pytest.mark.parametrize("build", [by_head, by_head_in_head_major, looked_up, lambda net: by_head(net, False)])
def test_parts_become_projections(build: Callable[[Net], Graph]) -> None:
    after = assert_same_meaning(lambda: build(Net()), SelectColumns(), tolerance=1e-6)
    assert operations(after) == ["linear", "linear", "linear", "attention"]
    assert after.facts["select_columns"]["fused"] == {"divided projections": 1}


def test_parts_side_by_side_become_slices() -> None:
    def build() -> Graph:
        net = Net()
        apart = net.op("reshape", projection(net), shape=(BATCH, SEQ, 3, HEADS, HEAD_DIM))
        parts = net.split(apart, 2, 1, 1, 1)
        return attend(net, *(net.op("reshape", part, shape=SHAPE) for part in parts))

    after = assert_same_meaning(build, SelectColumns(), tolerance=1e-6)
    assert operations(after) == ["linear", "slice", "slice", "slice", "attention"]


def also_returned(net: Net) -> Graph:
    graph = by_head(net)
    whole = next(node.output for node in graph.nodes if node.op == "linear")
    net.output("whole", net.op("exp", whole))
    return graph


def mixed_tokens(net: Net) -> Graph:
    """A reshape that moves elements from one token to another."""
    whole = projection(net)
    turned = net.op("transpose", net.op("reshape", whole, shape=(BATCH, 3 * WIDTH, SEQ)), perm=(0, 2, 1))
    return attend(net, *(net.cut(turned, 2, place * WIDTH, (place + 1) * WIDTH) for place in range(3)))


def plain_parts(net: Net) -> Graph:
    return attend(net, *net.split(projection(net), 2, WIDTH, WIDTH, WIDTH))


def computed_weights(net: Net) -> Graph:
    apart = net.op("reshape", projection(net), shape=(BATCH, SEQ, HEADS, 3, HEAD_DIM))
    linear = next(node for node in net.graph.nodes if node.op == "linear")
    net.graph.set_input(linear, 1, net.input("w", 5, 3 * WIDTH))
    parts = (net.cut(apart, 3, place, place + 1) for place in range(3))
    return attend(net, *(net.op("reshape", part, shape=SHAPE) for part in parts))


@pytest.mark.parametrize("build", [also_returned, mixed_tokens, plain_parts, computed_weights])
def test_what_stays(build: Callable[[Net], Graph]) -> None:
    assert not SelectColumns().run(build(Net()))


def test_weights_keep_their_type() -> None:
    graph = run_passes(by_head(Net()), SelectColumns())
    (kinds,) = {tuple(v.type for v in node.inputs[1:] if v) for node in graph.nodes if node.op == "linear"}
    assert kinds == (TensorType("float32", (5, WIDTH)), TensorType("float32", (WIDTH,)))
    assert np.concatenate([n.operand(1).constant for n in graph.nodes if n.op == "linear"], axis=1).shape == (5, 36)
