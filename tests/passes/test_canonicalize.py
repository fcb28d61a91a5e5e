"""One case a rule: what it makes, that the meaning stays, and what it must not touch."""

from collections.abc import Callable

import numpy as np
import pytest
from tests_graphs import PAST, SEQ, TOTAL, Net, assert_same_meaning, operations, run_passes

from isa import GraphError
from passes import Graph, Node, TensorType, Value
from passes.canonicalize import RULES, Canonicalize
from passes.constant_folding import ConstantFolding
from passes.dead_code import DeadCode

Body = Callable[[Net, Value], Value]


def graph_of(body: Body) -> Graph:
    net = Net()
    net.output("y", body(net, net.input("x", 1, SEQ, 4)))
    return net.graph


def attend_shape(net: Net, x: Value) -> Value:
    heads = net.op("transpose", net.op("reshape", x, shape=(1, SEQ, 2, 2)), perm=(0, 2, 1, 3))
    return net.op("reshape", net.op("transpose", heads, perm=(0, 2, 1, 3)), shape=(1, SEQ, 4))


def expanded_table(net: Net, x: Value) -> Value:
    row = net.op("expand", net.weights(1, 1, 4), shape=(1, SEQ, 4))
    return net.op("add", x, row)


def bmm_transpose(net: Net, x: Value) -> Value:
    four = net.op("reshape", x, shape=(1, 2, 2 * SEQ, 1))
    flat = net.op("reshape", four, shape=(2, 2 * SEQ, 1))
    return net.op("reshape", net.op("transpose", flat, perm=(0, 2, 1)), shape=(1, 2, 1, 2 * SEQ))


def position_rows(net: Net, x: Value) -> Value:
    positions = net.constant(np.arange(3, 67)[None], "int64")
    return net.op("add", x, net.op("gather", net.weights(80, 4), net.cut(positions, 1, 0, SEQ), axis=0))


def same_row(net: Net, x: Value) -> Value:
    kinds = net.constant(np.ones((1, 64)), "int64")
    return net.op("add", x, net.op("gather", net.weights(2, 4), net.cut(kinds, 1, 0, SEQ), axis=0))


def transposed_angles(net: Net, x: Value) -> Value:
    frequencies = net.weights(1, 4, 1)
    position = net.op("cast", net.op("range", start=0, stop=SEQ, step=1, to="int64"), to="float32")
    product = net.op("matmul", frequencies, net.op("reshape", position, shape=(1, 1, SEQ)))
    return net.op("add", x, net.op("transpose", product, perm=(0, 2, 1)))


def rows_by_nd(net: Net, x: Value) -> Value:
    """gather_nd of whole rows."""
    places = net.input("ids", SEQ, 1, dtype="int64")
    kind = TensorType("float32", (SEQ, 4))
    node = net.graph.add_node("gather_nd", [net.weights(2, 4), places], [kind], {"batch_dims": 0})
    return net.op("add", x, node.output)


def rows_by_elements(net: Net, x: Value) -> Value:
    """gather_elements of a table that is repeated for each sequence, with repeated positions."""
    table = net.constant(np.broadcast_to(np.arange(8.0).reshape(1, 2, 4), (3, 2, 4)))
    places = net.op("reshape", net.input("ids", 3, SEQ, dtype="int64"), shape=(3, SEQ, 1, 1))
    repeated = net.op("reshape", net.op("expand", places, shape=(3, SEQ, 4, 1)), shape=(3, SEQ, 4))
    kind = TensorType("float32", (3, SEQ, 4))
    node = net.graph.add_node("gather_elements", [table, repeated], [kind], {"axis": 1})
    return net.op("add", x, node.output)


CASES: dict[str, tuple[Body, list[str]]] = {
    "neutral addition": (lambda n, x: n.op("add", n.op("sub", x, 0.0), 0.0), []),
    "neutral product": (lambda n, x: n.op("div", n.op("mul", x, 1.0), 1.0), []),
    "square": (lambda n, x: n.op("pow", x, 2.0), ["mul"]),
    "reciprocal": (lambda n, x: n.op("div", n.constant(1.0), x), ["reciprocal"]),
    "exact division": (lambda n, x: n.op("div", x, 8.0), ["mul"]),
    "negation": (lambda n, x: n.op("mul", n.op("neg", x), -1.0), []),
    "identity": (lambda n, x: n.op("identity", x), []),
    "same type": (lambda n, x: n.op("cast", x, to="float32"), []),
    "two conversions": (lambda n, x: n.op("cast", n.op("cast", x, to="float64"), to="float16"), ["cast"]),
    "equal choices": (lambda n, x: n.op("where", n.op("greater", x, 0.0), x, x), []),
    "known choice": (lambda n, x: n.op("where", n.constant(True, "bool"), n.op("exp", x), x), ["exp"]),
    "inverse choice": (
        lambda n, x: n.op("where", n.op("not", n.op("greater", x, 0.0)), x, n.op("exp", x)),
        ["greater", "exp", "where"],
    ),
    "true conjunction": (
        lambda n, x: n.op("and", n.op("greater", x, 0.0), n.constant(np.ones((1, 1, 4)), "bool")),
        ["greater"],
    ),
    "reshapes in a row": (
        lambda n, x: n.op("reshape", n.op("reshape", x, shape=(SEQ, 4)), shape=(SEQ, 2, 2)),
        ["reshape"],
    ),
    "head layout and back": (attend_shape, []),
    "transposed units": (lambda n, x: n.op("transpose", x, perm=(1, 0, 2)), ["reshape"]),
    "batched transpose": (bmm_transpose, ["reshape"]),
    "expanded operand": (expanded_table, ["add"]),
    "expand to the own shape": (lambda n, x: n.op("expand", x, shape=(1, SEQ, 4)), []),
    "whole slice": (lambda n, x: n.cut(x, 2, 0, 4), []),
    "slice of slice": (lambda n, x: n.cut(n.cut(x, 2, 1, 4), 2, 1, 2), ["slice"]),
    "slice of concat": (lambda n, x: n.cut(n.op("concat", n.op("exp", x), x, axis=2), 2, 5, 7), ["slice"]),
    "concat of one": (lambda n, x: n.op("concat", x, axis=1), []),
    "split of one": (lambda n, x: n.split(x, 2, 4)[0], []),
    "constant positions": (position_rows, ["range", "reshape", "gather", "add"]),
    "constant types": (same_row, ["add"]),
    "first token": (lambda n, x: n.op("gather", x, n.constant(0, "int64"), axis=1), ["slice", "reshape"]),
    "rows by coordinates": (rows_by_nd, ["reshape", "gather", "add"]),
    "rows by elements": (rows_by_elements, ["gather", "add"]),
    "outer product": (transposed_angles, ["range", "cast", "reshape", "mul", "add"]),
    "linear of a reshape": (
        lambda n, x: n.op("linear", n.op("reshape", x, shape=(SEQ, 4)), n.weights(4, 3)),
        ["linear", "reshape"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    body, expected = CASES[name]
    after = assert_same_meaning(
        lambda: graph_of(body), Canonicalize(), ConstantFolding(), Canonicalize(), DeadCode(), numbers={"seq": 3}
    )
    assert operations(after) == expected
    assert run_passes(after, Canonicalize()) is after


UNTOUCHED: dict[str, Body] = {
    "inexact division": lambda n, x: n.op("div", x, 3.0),
    "cube": lambda n, x: n.op("pow", x, 3.0),
    "lossy conversions": lambda n, x: n.op("cast", n.op("cast", x, to="int64"), to="float32"),
    "addition that broadcasts": lambda n, x: n.op("add", x, n.constant(np.zeros((2, 1, 1, 1)))),
    "transpose of heads": lambda n, x: n.op("transpose", x, perm=(0, 2, 1)),
    "expand that grows": lambda n, x: n.op("expand", x, shape=(2, SEQ, 4)),
    "false conjunction": lambda n, x: n.op("and", n.op("greater", x, 0.0), n.constant([1, 0, 1, 1], "bool")),
    "slice across a concat": lambda n, x: n.cut(n.op("concat", n.op("exp", x), x, axis=2), 2, 3, 7),
    "strided slice": lambda n, x: n.cut(x, 2, 0, 4, 2),
    "uneven positions": lambda n, x: n.op(
        "gather", n.weights(9, 4), n.cut(n.constant([[1, 2, 4, 8]], "int64"), 1, 0, SEQ), axis=0
    ),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_no_rule_applies(name: str) -> None:
    graph = graph_of(UNTOUCHED[name])
    assert not Canonicalize().run(graph)


def test_pieces_of_symbolic_concats_are_found() -> None:
    net = Net()
    past, new = net.input("past", 1, PAST, 4), net.input("x", 1, SEQ, 4)
    joined = net.op("concat", past, new, axis=1)
    net.output("new", net.cut(joined, 1, PAST, TOTAL))
    net.output("mixed", net.cut(joined, 1, 1, TOTAL))
    run_passes(net.graph, Canonicalize())
    assert net.graph.outputs["new"] is new
    assert net.graph.outputs["mixed"].producer is not None


def test_rules_that_undo_each_other_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def flip(graph: Graph, node: Node) -> Value:
        return graph.add_node(node.op, node.inputs, [node.output.type]).output

    monkeypatch.setitem(RULES, "exp", (flip,))
    with pytest.raises(GraphError, match="no fixed point after 50 sweeps: two canonicalisation rules undo each other"):
        Canonicalize().run(graph_of(lambda n, x: n.op("exp", x)))


def test_rules_that_change_the_type_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "reduce_mean", (lambda graph, node: node.operand(0),))
    with pytest.raises(GraphError, match="rule '<lambda>' turns"):
        Canonicalize().run(graph_of(lambda n, x: n.op("reduce_mean", x, axes=(2,), keepdims=True)))
