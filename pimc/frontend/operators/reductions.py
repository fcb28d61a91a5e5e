"""Importers of reductions, softmax and running sums."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results, normal_axis


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


def _exponential(build: Builder, x: Operand) -> Operand:
    return build.emit("exp", [x])


def _sum_of(prepare: Callable[[Builder, Operand], Operand], finish: str | None, node: OnnxNode) -> Results:
    """The sum of a function of the elements, and a function of that sum."""
    total = _reduced(node, "reduce_sum", prepare(node.builder, node.operand(0)))
    return total if finish is None else node.builder.emit(finish, [total])


def _log_sum(node: OnnxNode) -> Results:
    return node.builder.emit("log", [_reduced(node, "reduce_sum", node.operand(0))])


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


def _arg(node: OnnxNode, x: Operand) -> Operand:
    """The first of equal elements, or on request the last: the first of the reversed ones, counted from the end."""
    build, axis = node.builder, node.axis(node.builder.rank(x), 0)
    attributes = {"axis": axis, "keepdims": bool(node.integer("keepdims", 1))}
    if not node.integer("select_last_index", 0):
        return build.emit("argmax", [x], attributes)
    last = build.emit("reshape", [build.dims([build.shape(x)[axis] - 1])], {"shape": ()})
    return build.emit("sub", [last, build.emit("argmax", [_reversed(build, x, axis)], attributes)])


def _argmax(node: OnnxNode) -> Results:
    return _arg(node, node.operand(0))


def _argmin(node: OnnxNode) -> Results:
    return _arg(node, node.builder.emit("neg", [node.operand(0)]))


def _cumsum(node: OnnxNode) -> Results:
    """A running sum; `exclusive` leaves the element itself out, `reverse` runs from the end."""
    build, x = node.builder, node.operand(0)
    node.single(1)
    axis = normal_axis(node.fixed(1, "axis of CumSum")[0], build.rank(x))
    source = _reversed(build, x, axis) if node.integer("reverse", 0) else x
    total = build.emit("cumsum", [source], {"axis": axis})
    if node.integer("exclusive", 0):
        total = build.emit("sub", [total, source])
    return _reversed(build, total, axis) if node.integer("reverse", 0) else total


def _reversed(build: Builder, x: Operand, axis: int) -> Operand:
    size = build.shape(x)[axis]
    return build.emit("slice", [x], {"axis": axis, "start": size - 1, "stop": -1, "step": -1})


REDUCTIONS: dict[str, Importer] = {
    "ReduceSum": partial(_reduce, "reduce_sum"),
    "ReduceMean": partial(_reduce, "reduce_mean"),
    "ReduceMax": partial(_reduce, "reduce_max"),
    "ReduceMin": partial(_reduce, "reduce_min"),
    "ReduceSumSquare": partial(_sum_of, _square, None),
    "ReduceL2": partial(_sum_of, _square, "sqrt"),
    "ReduceL1": partial(_sum_of, _absolute, None),
    "ReduceLogSum": _log_sum,
    "ReduceLogSumExp": partial(_sum_of, _exponential, "log"),
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "ArgMax": _argmax,
    "ArgMin": _argmin,
    "CumSum": _cumsum,
}
