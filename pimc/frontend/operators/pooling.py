"""Importers of pooling."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from isa import InputError, UnsupportedError
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.shape_ops import expanded
from pimc.frontend.operators.windows import Windows, pieces, windows_of


def _combined(build: Builder, x: Operand, windows: Windows, op: str, filling: float) -> Operand:
    """All elements of a window combined by an operation."""
    first, *others = pieces(build, x, windows, build.scalar(filling, x.type.dtype))
    for piece in others:
        first = build.emit(op, [first, piece])
    return first


def _kernel(node: OnnxNode) -> tuple[int, ...]:
    kernel = node.integers("kernel_shape")
    if kernel is None:
        raise InputError(f"the attribute 'kernel_shape' of {node.operator} is missing")
    return kernel


def _max_pool(node: OnnxNode) -> Results:
    """The largest element of each window; padding never is."""
    if node.result_count > 1:
        raise UnsupportedError("the positions that MaxPool can give are not supported")
    x = node.operand(0)
    if x.type.dtype.startswith("float") or x.type.dtype == "bfloat16":
        least = -math.inf
    else:
        least = float(np.iinfo(x.type.dtype).min)
    return _combined(node.builder, x, windows_of(node, x, _kernel(node)), "max", least)


def _average_pool(node: OnnxNode) -> Results:
    """The sum of each window over the number of its elements, with or without those of the padding."""
    build, x = node.builder, node.operand(0)
    windows = windows_of(node, x, _kernel(node))
    total = _combined(build, x, windows, "add", 0)
    one = build.scalar(1, x.type.dtype)
    ones = expanded(build, one, (1, 1, *build.shape(x)[2:]))
    if node.integer("count_include_pad", 0):
        ones = expanded(
            build, one, (1, 1, *(s + sum(p) for s, p in zip(build.shape(x)[2:], windows.pads, strict=True)))
        )
        windows = Windows(
            windows.kernel, windows.strides, windows.dilations, ((0, 0),) * len(windows.pads), windows.counts
        )
    return build.emit("div", [total, _combined(build, ones, windows, "add", 0)])


def _global(op: str, node: OnnxNode) -> Results:
    """A reduction over all spatial axes."""
    x = node.operand(0)
    axes = tuple(range(2, node.builder.rank(x)))
    return node.builder.emit(op, [x], {"axes": axes, "keepdims": True}) if axes else x


POOLING: dict[str, Importer] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": partial(_global, "reduce_mean"),
    "GlobalMaxPool": partial(_global, "reduce_max"),
}
