"""The graph: order, def-use lists, names, removal."""

import numpy as np
import pytest

from isa import GraphError
from passes import Graph, Node, TensorType, constant_scalar
from passes.dims import symbol

FLOATS = TensorType("float32", (symbol("seq"), 4))


def diamond() -> tuple[Graph, Node, Node, Node]:
    graph = Graph("diamond")
    x = graph.add_input("x", FLOATS)
    top = graph.add_node("neg", [x], [FLOATS], name="top")
    left = graph.add_node("abs", [top.output], [FLOATS], name="left")
    bottom = graph.add_node("add", [left.output, top.output], [FLOATS], name="bottom")
    graph.outputs["y"] = bottom.output
    return graph, top, left, bottom


def test_order_follows_operands_then_age() -> None:
    graph, top, left, bottom = diamond()
    late = graph.add_node("exp", [top.output], [FLOATS], name="late")
    graph.set_input(bottom, 0, late.output)
    assert graph.nodes == [top, left, late, bottom]


def test_uses_follow_every_change() -> None:
    graph, top, left, bottom = diamond()
    assert list(top.output.uses) == [(left, 0), (bottom, 1)]
    assert top.output.users == [left, bottom]
    graph.replace_uses(left.output, top.output)
    assert list(left.output.uses) == []
    assert list(top.output.uses) == [(left, 0), (bottom, 1), (bottom, 0)]
    graph.remove(left)
    assert list(top.output.uses) == [(bottom, 1), (bottom, 0)]
    assert left not in graph
    assert len(graph) == 2


def test_replacing_an_output_keeps_its_name() -> None:
    graph, top, _, bottom = diamond()
    graph.replace_uses(bottom.output, top.output)
    assert graph.outputs == {"y": top.output}
    assert graph.is_output(top.output)
    graph.remove(bottom)


@pytest.mark.parametrize("index", [0, 2])
def test_a_used_node_is_not_removed(index: int) -> None:
    graph, *nodes = diamond()
    node = nodes[index]
    with pytest.raises(GraphError) as caught:
        graph.remove(node)
    assert str(caught.value) == f"error: cannot remove {node!r}: its result '{node.output.name}' is used"


def test_names_are_made_unique() -> None:
    graph = Graph("names")
    x = graph.add_input("x", FLOATS)
    nodes = [graph.add_node("neg", [x], [FLOATS], name="x") for _ in range(2)]
    assert [node.name for node in nodes] == ["x.1", "x.2"]
    assert [node.output.name for node in nodes] == ["x.1:0", "x.2:0"]


def test_a_cycle_is_refused() -> None:
    graph, top, _, bottom = diamond()
    graph.set_input(top, 0, bottom.output)
    with pytest.raises(GraphError, match="the graph has a cycle through neg 'top'"):
        _ = graph.nodes


def test_values_are_listed_once_in_order() -> None:
    graph, _, left, _ = diamond()
    graph.set_input(left, 0, graph.add_constant(np.zeros((1, 4), np.float32), "c"))
    assert [value.name for value in graph.values()] == ["x", "top:0", "c", "left:0", "bottom:0"]


def test_the_networkx_view_has_the_same_edges() -> None:
    graph, top, left, bottom = diamond()
    view = graph.to_networkx()
    assert list(view.edges) == [(top, left), (top, bottom), (left, bottom)]


def test_an_absent_operand_is_named() -> None:
    graph, top, _, _ = diamond()
    graph.set_input(top, 0, None)
    with pytest.raises(GraphError, match="operand 0 of neg 'top' is absent"):
        top.operand(0)


def test_constant_scalars() -> None:
    graph = Graph("c")
    assert constant_scalar(graph.add_constant(np.full((1, 1), 2.5, np.float32))) == 2.5
    assert constant_scalar(graph.add_constant(np.zeros(2, np.float32))) is None
    assert constant_scalar(graph.add_input("x", FLOATS)) is None
    assert constant_scalar(None) is None


def test_symbols_of_the_signature() -> None:
    graph, *_ = diamond()
    graph.signature = {"x": FLOATS, "y": TensorType("float32", (symbol("past") + symbol("seq"),))}
    assert graph.symbols() == {"past", "seq"}
