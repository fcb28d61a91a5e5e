"""One rotary embedding for the query and key heads of an attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.explain import record
from passes.ir import Graph, Node, TensorType, Value
from passes.rewriting import origins_of, prune


@dataclass(frozen=True)
class MergeRotary:
    """Rotate neighbouring parts of one value together.

    Precondition: query, key and value are parts of one `split` (`merge_linear`).
    Effect: two `rotary` nodes with the same angles whose operands are neighbours in a split of the last axis become one
    over both, between a coarser and a finer split.
    Postcondition: no two `rotary` nodes of one split could be joined.
    """

    name: ClassVar[str] = "merge_rotary"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        """Join every pair; returns whether there was one."""
        pairs = 0
        for node in graph.nodes:
            if node.op != "split" or node.attributes["axis"] != node.operand(0).type.rank - 1:
                continue
            place = next((i for i in range(len(node.outputs) - 1) if _is_pair(node, i)), None)
            if place is not None:
                _join(graph, node, place)
                pairs += 1
        record(graph, self.name, {"rotary embeddings of query and key": pairs})
        return pairs > 0


def _only_rotary(value: Value) -> Node | None:
    users = value.users
    return users[0] if len(users) == 1 and users[0].op == "rotary" and users[0].operand(0) is value else None


def _head_dim(node: Node) -> int:
    return int(str(node.output.shape[-1])) // int(node.attributes["heads"])


def _is_pair(split: Node, place: int) -> bool:
    first, second = _only_rotary(split.outputs[place]), _only_rotary(split.outputs[place + 1])
    if first is None or second is None or first.inputs[1:] != second.inputs[1:]:
        return False
    same = first.attributes["interleaved"] == second.attributes["interleaved"]
    return same and _head_dim(first) == _head_dim(second)


def _join(graph: Graph, split: Node, place: int) -> None:
    first, second = _only_rotary(split.outputs[place]), _only_rotary(split.outputs[place + 1])
    assert first is not None
    assert second is not None
    sizes = tuple(split.attributes["sizes"])
    kind = split.operand(0).type
    joint_sizes = (*sizes[:place], sizes[place] + sizes[place + 1], *sizes[place + 2 :])
    types = [TensorType(kind.dtype, (*kind.shape[:-1], size)) for size in joint_sizes]
    coarse = graph.add_node(
        "split", [split.operand(0)], types, {**split.attributes, "sizes": joint_sizes}, origins=split.origins
    )
    heads = int(first.attributes["heads"]) + int(second.attributes["heads"])
    origins = origins_of([first, second])
    operands = [coarse.outputs[place], *first.inputs[1:]]
    rotated = graph.add_node("rotary", operands, [types[place]], {**first.attributes, "heads": heads}, origins=origins)
    fine = graph.add_node(
        "split",
        [rotated.output],
        [first.output.type, second.output.type],
        {**split.attributes, "sizes": sizes[place : place + 2]},
        origins=origins,
    )
    graph.replace_uses(first.output, fine.outputs[0])
    graph.replace_uses(second.output, fine.outputs[1])
    _replace_others(graph, split, coarse, place)
    for node in (first, second, split):
        prune(graph, node)


def _replace_others(graph: Graph, split: Node, coarse: Node, place: int) -> None:
    """Let users of the other parts of `split` use the same parts of `coarse`, which has one part less."""
    for position, value in enumerate(split.outputs):
        if position < place:
            graph.replace_uses(value, coarse.outputs[position])
        elif position > place + 1:
            graph.replace_uses(value, coarse.outputs[position - 1])
