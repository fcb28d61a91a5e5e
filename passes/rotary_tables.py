"""Halving of rotary tables: from cos of [f, f] to cos of f, where the two halves are provably equal."""

from __future__ import annotations

import numpy as np

from isa import GraphError
from passes.canonical_arithmetic import BROADCASTING
from passes.dims import Dim
from passes.ir import Attribute, Graph, Node, TensorType, Value
from passes.rewriting import add

_UNARY = ("cos", "sin", "cast", "neg", "identity")
_KEEP_LAST_AXIS = ("reshape", "expand", "transpose", "gather", "slice")


def repeats(table: Value) -> bool:
    """Whether the two halves of the last axis are provably equal."""
    width = table.shape[-1] if table.shape else 1
    if not isinstance(width, int) or width % 2:
        return False
    if table.constant is not None:
        array = np.asarray(table.constant)
        return bool(np.array_equal(array[..., : width // 2], array[..., width // 2 :]))
    node = table.producer
    if node is None:
        return False
    if node.op == "concat":
        return _is_doubled(node)
    carriers = _carriers(node)
    return bool(carriers) and all(repeats(node.operand(position)) for position in carriers)


def _is_doubled(node: Node) -> bool:
    middle, odd = divmod(len(node.inputs), 2)
    is_last = node.attributes["axis"] in (-1, node.output.type.rank - 1)
    return is_last and not odd and node.inputs[:middle] == node.inputs[middle:]


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


def half_table(graph: Graph, table: Value) -> Value:
    """The first half of the last axis of a table that `repeats`."""
    width = table.shape[-1]
    if table.constant is not None:
        return graph.add_constant(np.asarray(table.constant)[..., : width // 2], table.name, table.type.dtype)
    node = table.producer
    if node is None:
        raise GraphError(f"the rotary table {table!r} does not repeat")
    if node.op == "concat" and len(node.inputs) == 2:
        return node.operand(0)
    shape: tuple[Dim, ...] = (*table.shape[:-1], width // 2)
    kind = TensorType(table.type.dtype, shape)
    if node.op == "concat":
        return add(graph, "concat", node.inputs[: len(node.inputs) // 2], kind, node.origins, node.attributes)
    inputs = list(node.inputs)
    for position in _carriers(node):
        inputs[position] = half_table(graph, node.operand(position))
    attributes: dict[str, Attribute] = dict(node.attributes)
    if "shape" in attributes:
        attributes["shape"] = shape
    return add(graph, node.op, inputs, kind, node.origins, attributes)
