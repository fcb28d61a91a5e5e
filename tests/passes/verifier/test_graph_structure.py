"""Damage to the links between nodes and values, which the verifier finds whatever the operations are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tests_verified_graphs import PAST, SEQ, f32, findings

from passes import Cache, Graph, Node, Value, verify


def negation() -> tuple[Graph, Value, Node]:
    graph = Graph("g")
    x = graph.add_input("x", f32(SEQ))
    node = graph.add_node("neg", [x], [f32(SEQ)], name="n", origins=["/n"])
    graph.outputs["y"] = node.output
    return graph, x, node


def _unknown_operation(graph: Graph, x: Value, node: Node) -> None:
    node.op = "negate"


def _attribute_too_much(graph: Graph, x: Value, node: Node) -> None:
    node.attributes["axis"] = 0


def _operand_too_much(graph: Graph, x: Value, node: Node) -> None:
    node.inputs.append(x)
    x.uses[node, 1] = None


def _absent_operand(graph: Graph, x: Value, node: Node) -> None:
    graph.set_input(node, 0, None)


def _lost_use(graph: Graph, x: Value, node: Node) -> None:
    x.uses.clear()


def _invented_use(graph: Graph, x: Value, node: Node) -> None:
    node.output.uses[node, 0] = None


def _foreign_use(graph: Graph, x: Value, node: Node) -> None:
    x.uses[Node("neg", [x], [], {}, "gone"), 0] = None


def _other_producer(graph: Graph, x: Value, node: Node) -> None:
    node.output.producer = None


def _unknown_input(graph: Graph, x: Value, node: Node) -> None:
    graph.set_input(node, 0, Value("stray", f32(SEQ)))


def _foreign_producer(graph: Graph, x: Value, node: Node) -> None:
    other = Node("neg", [x], [], {}, "elsewhere")
    graph.set_input(node, 0, Value("foreign", f32(SEQ), producer=other))


def _foreign_output(graph: Graph, x: Value, node: Node) -> None:
    graph.outputs["z"] = Value("foreign", f32(SEQ), producer=Node("neg", [x], [], {}, "elsewhere"))


def _wrong_constant(graph: Graph, x: Value, node: Node) -> None:
    constant = graph.add_constant(np.zeros(3, np.float32), "c")
    constant.type = f32(4)
    graph.set_input(node, 0, constant)


def _same_name(graph: Graph, x: Value, node: Node) -> None:
    node.output.name = "x"


def _wrong_signature(graph: Graph, x: Value, node: Node) -> None:
    graph.signature["x"] = f32(PAST)


def _unused_cache(graph: Graph, x: Value, node: Node) -> None:
    graph.caches["kv"] = Cache("kv", 1, 4, 4)


def _misnamed_cache(graph: Graph, x: Value, node: Node) -> None:
    graph.caches["kv"] = Cache("other", 1, 4, 4)


STRUCTURE: list[tuple[Callable[[Graph, Value, Node], None], str]] = [
    (_unknown_operation, "negate 'n' from '/n': there is no such operation"),
    (_attribute_too_much, "neg 'n' from '/n': has the attributes (axis), but must have ()"),
    (_operand_too_much, "neg 'n' from '/n': has 2 operands, but takes (x)"),
    (_absent_operand, "neg 'n' from '/n': the operand 'x' is absent"),
    (_lost_use, "neg 'n' from '/n': operand 0 'x' does not list this use"),
    (_invented_use, "'n:0' lists operand 0 of neg 'n', which is another value"),
    (_foreign_use, "'x' lists a use by neg 'gone', which is not in the graph"),
    (_other_producer, "neg 'n' from '/n': its result 'n:0' names another producer"),
    (_unknown_input, "neg 'n' from '/n': operand 0 'stray' is neither computed nor a graph input"),
    (_foreign_producer, "neg 'n' from '/n': operand 0 'foreign' is computed by a node outside the graph"),
    (_foreign_output, "the output 'z' is computed by a node outside the graph"),
    (_wrong_constant, "the constant 'c' is said to be float32[4], but holds float32[3]"),
    (_same_name, "2 values have the name 'x'"),
    (_wrong_signature, "the input 'x' is float32[seq], but the signature says float32[past]"),
    (_unused_cache, "nobody uses the cache 'kv'"),
    (_misnamed_cache, "the cache 'kv' calls itself 'other'"),
]


@pytest.mark.parametrize(("damage", "message"), STRUCTURE, ids=[message for _, message in STRUCTURE])
def test_broken_structure(damage: Callable[[Graph, Value, Node], None], message: str) -> None:
    graph, x, node = negation()
    verify(graph)
    damage(graph, x, node)
    lines = findings(graph).splitlines()
    assert message in [line.partition(" error: ")[2] or line.removeprefix("note: ") for line in lines]


def test_a_cycle_is_found() -> None:
    graph, _, node = negation()
    other = graph.add_node("neg", [node.output], [f32(SEQ)], name="m")
    graph.set_input(node, 0, other.output)
    assert findings(graph) == "g: error: the graph has a cycle through neg 'n'"


def test_all_findings_are_reported_with_their_nodes() -> None:
    graph, x, node = negation()
    graph.add_node("add", [x, x], [f32(PAST)], name="a", origins=["/a"])
    node.output.type = f32(PAST)
    assert findings(graph) == (
        "g: node '/n': error: neg 'n' from '/n': the result 'n:0' is float32[past], but must be float32[seq]\n"
        "note: add 'a' from '/a': the result 'a:0' is float32[past], but must be float32[seq]"
    )
