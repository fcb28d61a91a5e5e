"""Importers of reductions, softmax and running sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from isa import UnsupportedError
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results, normal_axis
from pimc.frontend.operators.selection import reversed_along
from pimc.frontend.operators.shape_ops import expanded, reshaped
from pimc.frontend.symbols import dimensions_help


def _reduced(node: OnnxNode, op: str, x: Operand) -> Operand:
    """Reduce `x` over the axes that the node says; axes that are not given mean all, or none on request."""
    rank = node.builder.rank(x)
    axes = node.axes(1, rank)
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            return x
        axes = tuple(range(rank))
    attributes = {"axes": tuple(sorted(axes)), "keepdims": bool(node.integer("keepdims", 1))}
    return node.builder.emit(op, [x], attributes)


def _reduce(op: str, node: OnnxNode) -> Results:
    return _reduced(node, op, node.operand(0))


def _square(build: Builder, x: Operand) -> Operand:
    return build.emit("mul", [x, x])


def _absolute(build: Builder, x: Operand) -> Operand:
    return build.emit("abs", [x])


def _sum_of(prepare: Callable[[Builder, Operand], Operand], finish: str | None, node: OnnxNode) -> Results:
    """The sum of a function of the elements, and a function of that sum."""
    total = _reduced(node, "reduce_sum", prepare(node.builder, node.operand(0)))
    return total if finish is None else node.builder.emit(finish, [total])


def _log_sum(node: OnnxNode) -> Results:
    return node.builder.emit("log", [_reduced(node, "reduce_sum", node.operand(0))])


def _log_sum_exp(node: OnnxNode) -> Results:
    """Add log(sum(exp(x - m))) to m, the largest element where that is finite and else 0."""
    build, x = node.builder, node.operand(0)
    axes = node.axes(1, build.rank(x))
    if not axes and node.integer("noop_with_empty_axes", 0):
        return x
    reduced = tuple(sorted(axes or range(build.rank(x))))
    over = {"axes": reduced, "keepdims": True}
    largest = build.emit("reduce_max", [x], over)
    is_endless = build.emit("equal", [build.emit("abs", [largest]), build.scalar(math.inf, x.type.dtype)])
    shift = build.emit("where", [is_endless, build.scalar(0, x.type.dtype), largest])
    total = build.emit("reduce_sum", [build.emit("exp", [build.emit("sub", [x, shift])])], over)
    result = build.emit("add", [build.emit("log", [total]), shift])
    if node.integer("keepdims", 1):
        return result
    return reshaped(build, result, tuple(d for axis, d in enumerate(build.shape(x)) if axis not in reduced))


def _softmax(node: OnnxNode) -> Results:
    x = node.operand(0)
    return node.builder.emit("softmax", [x], {"axis": node.axis(node.builder.rank(x), -1)})


def _log_softmax(node: OnnxNode) -> Results:
    """(x - max) - log(sum(exp(x - max))), which stays finite."""
    build, x = node.builder, node.operand(0)
    along = {"axes": (node.axis(build.rank(x), -1),), "keepdims": True}
    shifted = build.emit("sub", [x, build.emit("reduce_max", [x], along)])
    total = build.emit("reduce_sum", [build.emit("exp", [shifted])], along)
    return build.emit("sub", [shifted, build.emit("log", [total])])


def _cumsum(node: OnnxNode) -> Results:
    """A running sum; `exclusive` leaves the element itself out, `reverse` runs from the end."""
    build, x = node.builder, node.operand(0)
    node.single(1)
    axis = normal_axis(node.fixed(1, "axis of CumSum")[0], build.rank(x))
    source = reversed_along(build, x, axis) if node.integer("reverse", 0) else x
    total = build.emit("cumsum", [source], {"axis": axis})
    if node.integer("exclusive", 0):
        total = _one_later(build, total, axis)
    return reversed_along(build, total, axis) if node.integer("reverse", 0) else total


def _one_later(build: Builder, x: Operand, axis: int) -> Operand:
    """Everything one position further along an axis, after a 0: no difference of sums, which would round."""
    shape = list(build.shape(x))
    size, shape[axis] = shape[axis], 1
    if size == 0:
        return x
    build.symbols.demand_at_least(size, 1, build.node_name)
    kept = build.emit("slice", [x], {"axis": axis, "start": 0, "stop": size - 1, "step": 1})
    front = expanded(build, build.scalar(0, x.type.dtype), tuple(shape))
    return build.emit("concat", [front, kept], {"axis": axis})


def _product(node: OnnxNode) -> Results:
    """The product of the elements: halves of an axis are multiplied until one element is left."""
    build, x = node.builder, node.operand(0)
    rank = build.rank(x)
    axes = node.axes(1, rank)
    if not axes:
        if node.integer("noop_with_empty_axes", 0):
            return x
        axes = tuple(range(rank))
    for axis in axes:
        x = _multiplied(build, x, axis)
    if node.integer("keepdims", 1):
        return x
    return reshaped(build, x, tuple(dim for axis, dim in enumerate(build.shape(x)) if axis not in axes))


def _multiplied(build: Builder, x: Operand, axis: int) -> Operand:
    size = build.shape(x)[axis]
    if not isinstance(size, int):
        raise UnsupportedError(f"ReduceProd over '{size}' elements is not supported", help=dimensions_help([size]))
    if size == 0:
        shape = tuple(1 if position == axis else dim for position, dim in enumerate(build.shape(x)))
        return expanded(build, build.scalar(1, x.type.dtype), shape)
    while size > 1:
        half = size // 2
        parts = build.emit_many("split", [x], {"axis": axis, "sizes": (half, half, size - 2 * half)[: 2 + size % 2]})
        x = build.emit("mul", [parts[0], parts[1]])
        if size % 2:
            x = build.emit("concat", [x, parts[2]], {"axis": axis})
        size = half + size % 2
    return x


REDUCTIONS: dict[str, Importer] = {
    "ReduceSum": partial(_reduce, "reduce_sum"),
    "ReduceMean": partial(_reduce, "reduce_mean"),
    "ReduceMax": partial(_reduce, "reduce_max"),
    "ReduceMin": partial(_reduce, "reduce_min"),
    "ReduceProd": _product,
    "ReduceSumSquare": partial(_sum_of, _square, None),
    "ReduceL2": partial(_sum_of, _square, "sqrt"),
    "ReduceL1": partial(_sum_of, _absolute, None),
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": _log_sum_exp,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "CumSum": _cumsum,
}
