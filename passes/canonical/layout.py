"""Rules that give reshapes, transposes, slices and gathers one form; they move elements and compute nothing.

A rule takes the graph and a node, and returns the value that replaces the node's result, or `None`.
"""

from __future__ import annotations

import numpy as np

from passes.canonical.arithmetic import BROADCASTING, splat
from passes.dims import Affine, Dim
from passes.interpreter.operations import Array
from passes.ir import Graph, Node, TensorType, Value
from passes.layout import merged_axes, moves_only_units, reshape_groups
from passes.recognition.matching import producer
from passes.rewriting import add, cut, reshape, transpose


def simplify_reshape(graph: Graph, node: Node) -> Value | None:
    """A reshape to the own shape disappears; of two in a row the last stays."""
    x = node.operand(0)
    if x.shape == node.output.shape:
        return x
    if producer(x, "reshape") is None:
        return None
    return reshape(graph, x, node.output.shape, node.origins)


def simplify_transpose(graph: Graph, node: Node) -> Value | None:
    """Transposes in a row become one, one that only moves axes of size 1 becomes a reshape."""
    x, perm = node.operand(0), node.attributes["perm"]
    if producer(x, "transpose") is not None or perm == tuple(range(len(perm))):
        return transpose(graph, x, perm, node.origins)
    if moves_only_units(x.shape, perm):
        return reshape(graph, x, node.output.shape, node.origins)
    return None


def transpose_before_merge(graph: Graph, node: Node) -> Value | None:
    """transpose(reshape(x)) -> reshape(transpose(x)) where the reshape only joins axes."""
    inner = producer(node.operand(0), "reshape")
    if inner is None:
        return None
    x = inner.operand(0)
    perm: tuple[int, ...] = node.attributes["perm"]
    groups = reshape_groups(x.shape, inner.output.shape)
    if groups is None or not merged_axes(groups) or len(groups) != len(perm):
        return None
    outer = tuple(axis for target in perm for axis in groups[target][0])
    return reshape(graph, transpose(graph, x, outer, node.origins), node.output.shape, node.origins)


def transpose_operands(graph: Graph, node: Node) -> Value | None:
    """transpose(a op b) -> transpose(a) op transpose(b) where both are constants or move only axes of size 1."""
    inner = node.operand(0).producer
    perm = node.attributes["perm"]
    if inner is None or inner.op not in BROADCASTING or len(inner.output.uses) != 1:
        return None
    operands = [value for value in inner.inputs if value is not None]
    for value in operands:
        if value.type.rank != len(perm) or not (value.is_constant or moves_only_units(value.shape, perm)):
            return None
    moved = [transpose(graph, value, perm, node.origins) for value in operands]
    return add(graph, inner.op, moved, node.output.type, (*inner.origins, *node.origins))


def simplify_expand(graph: Graph, node: Node) -> Value | None:
    """An expand to the own shape disappears; of two in a row the last stays."""
    x = node.operand(0)
    if x.shape == node.output.shape:
        return x
    inner = producer(x, "expand")
    if inner is None:
        return None
    return add(graph, "expand", [inner.operand(0)], node.output.type, node.origins, node.attributes)


def simplify_slice(graph: Graph, node: Node) -> Value | None:
    """A slice of everything disappears; a slice of a slice becomes one; a slice of a concat reads its one source."""
    x, axis = node.operand(0), node.attributes["axis"]
    start, stop, step = (node.attributes[name] for name in ("start", "stop", "step"))
    if step != 1:
        return None
    if start == 0 and stop == x.shape[axis]:
        return x
    inner = producer(x, "slice")
    if inner is not None and inner.attributes["axis"] == axis and inner.attributes["step"] == 1:
        first: Dim = inner.attributes["start"]
        return cut(graph, inner.operand(0), axis, first + start, first + stop, node.origins)
    joined = producer(x, "concat")
    if joined is None or joined.attributes["axis"] != axis:
        return None
    return _piece_of_concat(graph, node, joined, start, stop)


def _piece_of_concat(graph: Graph, node: Node, joined: Node, start: Dim, stop: Dim) -> Value | None:
    axis: int = joined.attributes["axis"]
    front: Dim = 0
    for value in joined.inputs:
        if value is None:
            return None
        back = front + value.shape[axis]
        if _not_below(start, front) and _not_below(back, stop):
            return cut(graph, value, axis, start - front, stop - front, node.origins)
        front = back
    return None


def _not_below(a: Dim, b: Dim) -> bool:
    """Whether a >= b for all values of the symbols, which are sizes and so not negative."""
    difference = a - b
    if isinstance(difference, Affine):
        return difference.constant >= 0 and all(factor >= 0 for _, factor in difference.terms)
    return difference >= 0


def slice_of_constant(graph: Graph, node: Node) -> Value | None:
    """Part of a constant 0, 1, 2, ... -> `range`; part of a constant that is the same everywhere -> `expand`.

    Constants whose part has symbols in its bounds cannot be folded; these two are common in position and type ids.
    """
    x, axis, start, stop = (node.operand(0), *(node.attributes[name] for name in ("axis", "start", "stop")))
    if x.constant is None or node.attributes["step"] != 1 or x.constant.size < 2:
        return None
    array = np.asarray(x.constant)
    if x.type.dtype not in ("int64", "int32") or array.size != array.shape[axis]:
        return _expanded(graph, node, array)
    steps = np.diff(array.reshape(-1))
    if not np.all(steps == 1):
        return _expanded(graph, node, array)
    first = int(array.reshape(-1)[0])
    attributes = {"start": first + start, "stop": first + stop, "step": 1, "to": x.type.dtype}
    numbers = add(graph, "range", [], TensorType(x.type.dtype, (stop - start,)), node.origins, attributes)
    return reshape(graph, numbers, node.output.shape, node.origins)


def _expanded(graph: Graph, node: Node, array: Array) -> Value | None:
    if array.size > 1 << 20 or not np.all(array == array.flat[0]):
        return None
    element = graph.add_constant(np.full((1,) * array.ndim, array.flat[0]), "element", node.output.type.dtype)
    return add(graph, "expand", [element], node.output.type, node.origins, {"shape": node.output.shape})


def gather_one(graph: Graph, node: Node) -> Value | None:
    """Gather of one known position -> slice, and a reshape where the rank changes; repeated, also an expand."""
    x, indices = node.operand(0), node.operand(1)
    axis: int = node.attributes["axis"]
    element = splat(indices)
    if element is None or element.constant is None:
        return None
    number = int(np.asarray(element.constant).reshape(-1)[0])
    start: Dim = number if number >= 0 else x.shape[axis] + number
    one = cut(graph, x, axis, start, start + 1, node.origins)
    units = (*x.shape[:axis], *(1 for _ in indices.shape), *x.shape[axis + 1 :])
    one = reshape(graph, one, units, node.origins)
    if one.shape == node.output.shape:
        return one
    return add(graph, "expand", [one], node.output.type, node.origins, {"shape": node.output.shape})


def simplify_concat(graph: Graph, node: Node) -> Value | None:
    """Empty operands disappear, and with them the concat of one."""
    axis: int = node.attributes["axis"]
    kept = [value for value in node.inputs if value is not None and value.shape[axis] != 0]
    if len(kept) == 1:
        return kept[0]
    if not kept or len(kept) == len(node.inputs):
        return None
    return add(graph, "concat", kept, node.output.type, node.origins, node.attributes)


def simplify_split(graph: Graph, node: Node) -> Value | None:
    """A split into one piece disappears."""
    return node.operand(0) if len(node.outputs) == 1 else None


def reshape_behind_linear(graph: Graph, node: Node) -> Value | None:
    """linear(reshape(x)) -> reshape(linear(x)) where the reshape keeps the last axis."""
    inner = producer(node.operand(0), "reshape")
    if inner is None:
        return None
    x = inner.operand(0)
    if x.type.rank < 2 or x.shape[-1] != inner.output.shape[-1]:
        return None
    kind = TensorType(node.output.type.dtype, (*x.shape[:-1], node.output.shape[-1]))
    new = add(graph, "linear", [x, *node.inputs[1:]], kind, node.origins)
    return reshape(graph, new, node.output.shape, inner.origins)
