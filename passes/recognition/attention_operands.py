"""Queries, keys and values of an attention as heads [B, G, T, D], before what exporters put between."""

from __future__ import annotations

from dataclasses import dataclass, replace

from passes.dims import Dim
from passes.ir import Graph, Node, Value
from passes.recognition.attention_scores import scaling
from passes.rewriting import reshape, transpose

Heads = tuple[Dim, Dim, Dim, Dim]
"""[B, G, T, D]."""


@dataclass(frozen=True)
class Operand:
    """Query, keys or values of an attention before scaling, repetition of heads and transposition.

    Attributes:
        value: The elements of [B, G, T, D] in order; of [B, G, D, T] when `swapped`.
        shape: [B, G, T, D].
        swapped: Whether the last two axes are exchanged in `value`.
        scale: Constant factor that was taken off.
        nodes: Nodes that were taken off.
    """

    value: Value
    shape: Heads
    swapped: bool = False
    scale: float = 1.0
    nodes: tuple[Node, ...] = ()

    def heads(self, graph: Graph, origins: tuple[str, ...]) -> Value:
        """The operand as a value [B, G, T, D]; adds the nodes that this needs."""
        batch, groups, length, width = self.shape
        if not self.swapped:
            return reshape(graph, self.value, self.shape, origins)
        return transpose(
            graph, reshape(graph, self.value, (batch, groups, width, length), origins), (0, 1, 3, 2), origins
        )


def stripped(operand: Operand, scaled: bool = True) -> Operand:
    """The operand before everything that `attention` does itself, or that only rearranges.

    Args:
        operand: Any operand.
        scaled: Whether a constant factor may be taken off too.
    """
    if 1 in operand.shape[2:]:  # there is nothing to exchange
        operand = replace(operand, swapped=False)
    while (inner := _step(operand, scaled)) is not None:
        operand = inner
    return operand


def _step(operand: Operand, scaled: bool) -> Operand | None:
    node = operand.value.producer
    if node is None or operand.value not in node.outputs[:1]:
        return None
    inner: Operand | None = None
    if node.op == "reshape":
        inner = replace(operand, value=node.operand(0))
    elif node.op == "transpose" and _swaps_last_axes(node, operand):
        inner = replace(operand, value=node.operand(0), swapped=not operand.swapped)
    elif node.op in ("mul", "div") and scaled:
        found = scaling(node)
        inner = None if found is None else replace(operand, value=found[0], scale=operand.scale * found[1])
    elif node.op == "expand":
        inner = _before_repetition(node, operand)
    return None if inner is None else replace(inner, nodes=(*operand.nodes, node))


def _matrix_shape(operand: Operand) -> tuple[Dim, Dim]:
    """The last two axes as they stand in the value."""
    length, width = operand.shape[2:]
    return (width, length) if operand.swapped else (length, width)


def _swaps_last_axes(node: Node, operand: Operand) -> bool:
    """Whether a transpose exchanges the axes of length and width and nothing else that is longer than 1."""
    perm, shape = node.attributes["perm"], node.output.shape
    last = len(perm) - 1
    if perm == (*range(last - 1), last, last - 1):
        return shape[-2:] == _matrix_shape(operand)
    order = [axis for axis in perm if node.operand(0).shape[axis] != 1]
    target = [dim for dim in (*operand.shape[:2], *_matrix_shape(operand)) if dim != 1]
    if [dim for dim in shape if dim != 1] != target or len(order) < 2 or 1 in operand.shape[2:]:
        return False
    ahead = sorted(order)
    return order == [*ahead[:-2], ahead[-1], ahead[-2]]


def _before_repetition(node: Node, operand: Operand) -> Operand | None:
    """What [B, G, 1, T, D] expanded to [B, G, n, T, D] was, or [B, 1, T, D] expanded to [B, n, T, D]."""
    before, after = node.operand(0).shape, node.output.shape
    batch, heads, *_ = operand.shape
    if len(before) != len(after) or after[-2:] != _matrix_shape(operand) or before[-2:] != after[-2:]:
        return None
    if len(after) == 5 and before == (*after[:2], 1, *after[3:]) and after[0] == batch:
        groups, count = after[1], after[2]
    elif len(after) == 4 and before == (after[0], 1, *after[2:]) and after[:2] == (batch, heads):
        groups, count = 1, after[1]
    else:
        return None
    if not isinstance(groups, int) or not isinstance(count, int) or groups * count != heads:
        return None
    return replace(operand, value=node.operand(0), shape=(batch, groups, *operand.shape[2:]))


def without_past(operand: Operand, queries: Dim) -> tuple[Operand, Value | None]:
    """The part of keys or values that this run computes, and the past that it is appended to."""
    join = operand.value.producer
    if join is None or join.op != "concat" or operand.swapped or len(join.inputs) != 2:
        return operand, None
    past, new = join.operand(0), join.operand(1)
    batch, groups, _, width = operand.shape
    if operand.value.shape != operand.shape or join.attributes["axis"] not in (2, -2) or new.shape[2] != queries:
        return operand, None
    shape = (batch, groups, new.shape[2], width)
    return Operand(new, shape, False, operand.scale, (*operand.nodes, join)), past
