"""A small graph of its own for what some values are computed from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from passes.ir import Graph, Node, Value
from passes.recognition.matching import Refusal

_ACTIVATIONS = frozenset(
    ("linear", "matmul", "softmax", "attention", "cached_attention", "feed_forward", "layer_norm", "rms_norm", "rotary")
)
_LARGEST_PART = 1000


def extract(targets: Sequence[Value], cuts: Collection[Value] = ()) -> tuple[Graph, list[Value]]:
    """Copy the ancestors of the targets, so that evaluating them costs nothing for the rest of the graph.

    Args:
        targets: Values of one graph.
        cuts: Values that become inputs of the part; what they are computed from is left out.

    Returns:
        A graph without outputs that shares the constants, and the targets in it.

    Raises:
        Refusal: The targets depend on what the model computes from its tokens, or on very many nodes.
    """
    part = Graph("part")
    copies: dict[Value, Value] = {}
    for node in needed_nodes(targets, cuts):
        inputs = [None if value is None else _copied(part, copies, value) for value in node.inputs]
        types = [value.type for value in node.outputs]
        names = [value.name for value in node.outputs]
        copy = part.add_node(node.op, inputs, types, node.attributes, node.name, node.origins, names)
        copies.update({old: new for old, new in zip(node.outputs, copy.outputs, strict=True) if old not in cuts})
    return part, [_copied(part, copies, target) for target in targets]


def _copied(part: Graph, copies: dict[Value, Value], value: Value) -> Value:
    if value not in copies:
        if value.constant is None:
            copies[value] = part.add_input(value.name, value.type)
        else:
            copies[value] = part.add_constant(value.constant, value.name, value.type.dtype)
    return copies[value]


def needed_nodes(targets: Sequence[Value], cuts: Collection[Value] = ()) -> Iterator[Node]:
    """The nodes that the targets need, operands before users, without those that only the cuts need.

    Raises:
        Refusal: One of them computes with what the model computes from its tokens, or they are very many.
    """
    done: set[Node] = set()
    stack = [(node, False) for value in targets if value not in cuts and (node := value.producer) is not None]
    while stack:
        node, is_ready = stack.pop()
        if is_ready:
            yield node
            continue
        if node in done:
            continue
        done.add(node)
        if node.op in _ACTIVATIONS:
            raise Refusal(f"the mask is computed by {node.op}")
        if len(done) > _LARGEST_PART:
            raise Refusal("the mask is computed by very many nodes")
        stack.append((node, True))
        stack += [
            (v.producer, False) for v in node.inputs if v is not None and v not in cuts and v.producer is not None
        ]
