"""Importers of the operators that rank elements."""

from __future__ import annotations

from isa import InputError
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.elementwise import cast
from pimc.frontend.operators.scatter import grid, scalar_dim


def _topk(node: OnnxNode) -> Results:
    """Always sorted: what ONNX leaves open without `sorted`."""
    build, x = node.builder, node.operand(0)
    k = node.dim(1, "number k of TopK")
    if not isinstance(k, int):
        k = node.fixed(1, "number k of TopK")[0]
    if k < 0:
        raise InputError(f"TopK cannot take {k} elements")
    axis = node.axis(build.rank(x), -1)
    attributes = {"k": k, "axis": axis, "largest": bool(node.integer("largest", 1))}
    return build.emit_many("topk", [x], attributes)


def _arg(node: OnnxNode, is_largest: bool) -> Operand:
    """The first of equal elements, or on request the last: the first of the reversed ones, counted from the end."""
    build, x = node.builder, node.operand(0)
    axis = node.axis(build.rank(x), 0)
    if build.shape(x)[axis] == 0:
        raise InputError(f"{node.operator} of no elements has no result")
    is_last = bool(node.integer("select_last_index", 0))
    source = reversed_along(build, x, axis) if is_last else x
    found = _first(build, source, axis, is_largest, bool(node.integer("keepdims", 1)))
    if not is_last:
        return found
    return build.emit("sub", [scalar_dim(build, build.shape(x)[axis] - 1), found])


def _first(build: Builder, x: Operand, axis: int, is_largest: bool, keepdims: bool) -> Operand:
    """Position of the first largest or smallest element; integers cannot be negated, their smallest has no mate."""
    if is_largest:
        return build.emit("argmax", [x], {"axis": axis, "keepdims": keepdims})
    if "float" in x.type.dtype:
        return build.emit("argmax", [build.emit("neg", [x])], {"axis": axis, "keepdims": keepdims})
    least = build.emit("reduce_min", [x], {"axes": (axis,), "keepdims": True})
    is_least = cast(build, build.emit("equal", [x, least]), "int32")
    return build.emit("argmax", [is_least], {"axis": axis, "keepdims": keepdims})


def _argmax(node: OnnxNode) -> Results:
    return _arg(node, is_largest=True)


def _argmin(node: OnnxNode) -> Results:
    return _arg(node, is_largest=False)


def _hardmax(node: OnnxNode) -> Results:
    """1 where the first largest element stands, else 0."""
    build, x = node.builder, node.operand(0)
    axis = node.axis(build.rank(x), -1)
    best = build.emit("argmax", [x], {"axis": axis, "keepdims": True})
    return cast(build, build.emit("equal", [grid(build, build.shape(x), axis), best]), x.type.dtype)


def reversed_along(build: Builder, x: Operand, axis: int) -> Operand:
    """The elements of an axis in reverse order."""
    size = build.shape(x)[axis]
    if size == 0:
        return x
    return build.emit("slice", [x], {"axis": axis, "start": size - 1, "stop": -1, "step": -1})


SELECTION: dict[str, Importer] = {
    "TopK": _topk,
    "ArgMax": _argmax,
    "ArgMin": _argmin,
    "Hardmax": _hardmax,
}
