"""Halving of rotary tables: from cos of [f, f] to cos of f, where the repetition can be proved."""

from __future__ import annotations

from types import EllipsisType

import numpy as np

from isa import GraphError
from passes.canonical.arithmetic import BROADCASTING
from passes.dims import Dim
from passes.ir import Attribute, Graph, Node, TensorType, Value
from passes.recognition.matching import producer
from passes.rewriting import add, reshape

_UNARY = ("cos", "sin", "cast", "neg", "identity")
_KEEP_LAST_AXIS = ("reshape", "expand", "transpose", "gather", "slice")


def repeats(table: Value, interleaved: bool) -> bool:
    """Whether the two halves of the last axis, or the members of all its pairs when interleaved, are provably equal."""
    width = table.shape[-1] if table.shape else 1
    if not isinstance(width, int) or width % 2:
        return False
    if table.constant is not None:
        array = np.asarray(table.constant)
        return bool(np.array_equal(array[_kept(width, interleaved)], array[_dropped(width, interleaved)]))
    node = table.producer
    if node is None:
        return False
    if _is_doubled(node, interleaved):
        return True
    carriers = _carriers(node)
    return bool(carriers) and all(repeats(node.operand(position), interleaved) for position in carriers)


def _kept(width: int, interleaved: bool) -> tuple[EllipsisType, slice]:
    return (..., slice(0, width, 2) if interleaved else slice(0, width // 2))


def _dropped(width: int, interleaved: bool) -> tuple[EllipsisType, slice]:
    return (..., slice(1, width, 2) if interleaved else slice(width // 2, width))


def _is_doubled(node: Node, interleaved: bool) -> bool:
    """Whether the node repeats something: concat(f, f), or f as [..., n, 1] made [..., n, 2] and flattened."""
    if not interleaved:
        return _joins_twice(node)
    pairs = _pairs(node)
    if pairs is None or pairs.output.type.rank < 2 or (pairs.op == "concat" and not _joins_twice(pairs)):
        return False
    before, after = list(pairs.operand(0).shape), list(pairs.output.shape)
    while after[-1] == before[-1] == 1 and len(after) > 2:
        del before[-1], after[-1]
    count, members = after[-2:]
    return members == 2 and before[-2:] == [count, 1] and node.output.shape[-1] == count * 2


def _joins_twice(node: Node) -> bool:
    """Whether the node is concat(f, f) along the last axis."""
    is_last = node.op == "concat" and node.attributes["axis"] in (-1, node.output.type.rank - 1)
    return is_last and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]


def _pairs(node: Node) -> Node | None:
    """What makes the pairs that a reshape flattens."""
    return producer(node.operand(0), "expand", "concat") if node.op == "reshape" else None


def _carriers(node: Node) -> tuple[int, ...]:
    """Operands that have the last axis of the result, where halving them halves the result; none when unknown."""
    if node.op in _UNARY:
        return (0,)
    if node.op in BROADCASTING:
        return tuple(i for i, v in enumerate(node.inputs) if v is not None and v.shape[-1:] not in ((), (1,)))
    if node.op not in _KEEP_LAST_AXIS or node.operand(0).shape[-1:] != node.output.shape[-1:]:
        return ()
    last = node.operand(0).type.rank - 1
    if node.op == "transpose" and node.attributes["perm"][-1] != last:
        return ()
    if node.op in ("gather", "slice") and node.attributes["axis"] in (-1, last):
        return ()
    return (0,)


def half_table(graph: Graph, table: Value, interleaved: bool) -> Value:
    """The first half of the last axis of a table that `repeats`, or its even elements when interleaved."""
    width = table.shape[-1]
    if not isinstance(width, int):
        raise GraphError(f"the rotary table {table!r} does not repeat")
    if table.constant is not None:
        half = np.asarray(table.constant)[_kept(width, interleaved)]
        return graph.add_constant(half, table.name, table.type.dtype)
    node = table.producer
    if node is None:
        raise GraphError(f"the rotary table {table!r} does not repeat")
    shape: tuple[Dim, ...] = (*table.shape[:-1], width // 2)
    if _is_doubled(node, interleaved):
        return reshape(graph, _single(node), shape, node.origins)
    kind = TensorType(table.type.dtype, shape)
    inputs = list(node.inputs)
    for position in _carriers(node):
        inputs[position] = half_table(graph, node.operand(position), interleaved)
    attributes: dict[str, Attribute] = dict(node.attributes)
    if "shape" in attributes:
        attributes["shape"] = shape
    return add(graph, node.op, inputs, kind, node.origins, attributes)


def _single(node: Node) -> Value:
    """What a node that `_is_doubled` repeats."""
    pairs = _pairs(node)
    return node.operand(0) if pairs is None else pairs.operand(0)
