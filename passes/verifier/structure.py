"""Rules on the structure of a graph: known operations, operand counts, def-use lists, names, caches, no cycles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sized
from typing import cast

from isa import GraphError
from passes.ir import Graph, Node, Value
from passes.ops import OPS, OpSpec
from passes.verifier.findings import Finding


def structure_findings(graph: Graph) -> Iterator[Finding]:
    """All findings; a cycle ends the search."""
    try:
        nodes = graph.nodes
    except GraphError as problem:
        yield Finding(problem.message)
        return
    for node in nodes:
        yield from _node_findings(graph, node)
    yield from _value_findings(graph)
    yield from _name_findings(graph, nodes)
    yield from _cache_findings(graph, nodes)


def _node_findings(graph: Graph, node: Node) -> Iterator[Finding]:
    spec = OPS.get(node.op)
    if spec is None:
        yield Finding("there is no such operation", node)
        return
    yield from (Finding(message, node) for message in _count_messages(spec, node))
    if set(node.attributes) != set(spec.attributes):
        given, wanted = ", ".join(sorted(node.attributes)), ", ".join(sorted(spec.attributes))
        yield Finding(f"has the attributes ({given}), but must have ({wanted})", node)
    for position, value in enumerate(node.inputs):
        if value is not None:
            yield from (Finding(message, node) for message in _operand_messages(graph, node, position, value))
    for value in node.outputs:
        if value.producer is not node:
            yield Finding(f"its result '{value.name}' names another producer", node)


def _count_messages(spec: OpSpec, node: Node) -> Iterator[str]:
    variadic = spec.operands and spec.operands[-1].endswith("*")
    required = [index for index, name in enumerate(spec.operands) if not name.endswith("?")]
    least = required[-1] + 1 if required else 0
    if len(node.inputs) < least or (len(node.inputs) > len(spec.operands) and not variadic):
        yield f"has {len(node.inputs)} operands, but takes ({', '.join(spec.operands)})"
    else:
        for index in required:
            if node.inputs[index] is None:
                yield f"the operand '{spec.operands[index]}' is absent"
    sizes = node.attributes.get("sizes")
    pieces = len(cast(Sized, sizes)) if isinstance(sizes, (tuple, list)) else len(node.outputs)
    allowed = (1, 3) if spec.name == "attention" else (spec.results or pieces,)
    if len(node.outputs) not in allowed:
        yield f"has {len(node.outputs)} results, but must have {' or '.join(map(str, allowed))}"


def _operand_messages(graph: Graph, node: Node, position: int, value: Value) -> Iterator[str]:
    if (node, position) not in value.uses:
        yield f"operand {position} '{value.name}' does not list this use"
    if value.is_constant:
        if value.producer is not None:
            yield f"operand {position} '{value.name}' is a constant with a producer"
    elif value.producer is None:
        if value not in graph.inputs:
            yield f"operand {position} '{value.name}' is neither computed nor a graph input"
    elif value.producer not in graph:
        yield f"operand {position} '{value.name}' is computed by a node outside the graph"


def _value_findings(graph: Graph) -> Iterator[Finding]:
    for value in graph.values():
        for user, position in value.uses:
            if user not in graph:
                yield Finding(f"'{value.name}' lists a use by {user!r}, which is not in the graph", value.producer)
            elif position >= len(user.inputs) or user.inputs[position] is not value:
                yield Finding(f"'{value.name}' lists operand {position} of {user!r}, which is another value")
        yield from _constant_findings(value)
    for name, value in graph.outputs.items():
        if value.producer is not None and value.producer not in graph:
            yield Finding(f"the output '{name}' is computed by a node outside the graph")
    for value in (*graph.inputs, *graph.outputs.values()):
        said = graph.signature.get(value.name)
        if said is not None and value in graph.inputs and said != value.type:
            yield Finding(f"the input '{value.name}' is {value.type}, but the signature says {said}")


def _constant_findings(value: Value) -> Iterator[Finding]:
    if value.constant is None:
        return
    if value.constant.shape != value.shape or value.constant.dtype.name != value.type.dtype:
        held = f"{value.constant.dtype.name}{list(value.constant.shape)}"
        yield Finding(f"the constant '{value.name}' is said to be {value.type}, but holds {held}")


def _name_findings(graph: Graph, nodes: list[Node]) -> Iterator[Finding]:
    for what, names in (("node", [n.name for n in nodes]), ("value", [v.name for v in graph.values()])):
        yield from (
            Finding(f"{count} {what}s have the name '{name}'") for name, count in Counter(names).items() if count > 1
        )


def _cache_findings(graph: Graph, nodes: list[Node]) -> Iterator[Finding]:
    users: dict[str, Node] = {}
    for node in nodes:
        if node.op != "cached_attention":
            continue
        name = str(node.attributes.get("cache"))
        if name not in graph.caches:
            yield Finding(f"the cache '{name}' does not exist", node)
        elif name in users:
            yield Finding(f"the cache '{name}' belongs to {users[name]!r} already", node)
        users[name] = node
    for name, cache in graph.caches.items():
        if cache.name != name:
            yield Finding(f"the cache '{name}' calls itself '{cache.name}'")
        if name not in users:
            yield Finding(f"nobody uses the cache '{name}'")
