"""Importers of convolutions, as matrix products of unfolded windows with the filters."""

from __future__ import annotations

import math

from isa import InputError, UnsupportedError
from passes import Affine, Dim, product
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.padding import cut
from pimc.frontend.operators.quantization import less_zero, quantized
from pimc.frontend.operators.shape_ops import expanded, reshaped
from pimc.frontend.operators.windows import Windows, pieces, windows_of
from pimc.frontend.symbols import dimensions_help


def convolution(node: OnnxNode, x: Operand, weight: Operand, bias: Operand | None = None) -> Operand:
    """Windows of x [N, C, spatial...] times filters [M, C / groups, kernel...] plus bias [M]: [N, M, spatial...].

    Raises:
        InputError: Operands and attributes do not fit together.
        UnsupportedError: Sizes of the filters are not numbers.
    """
    build, shape = node.builder, node.builder.shape(weight)
    filters, depth, *kernel = (_number(dim) for dim in shape)
    said = node.integers("kernel_shape")
    if build.rank(x) != len(shape) or len(shape) < 3 or (said is not None and said != tuple(kernel)):
        raise InputError(f"filters {weight.type} do not fit {x.type}")
    _check_bound(build, x)
    groups, channels = node.integer("group", 1), build.shape(x)[1]
    if groups < 1 or filters % groups or channels != depth * groups:
        raise InputError(f"{groups} groups of filters {weight.type} do not fit {x.type}")
    windows = windows_of(node, x, tuple(kernel))
    unfolded = _tiles(build, x, windows) if windows.are_tiles else _unfolded(build, x, windows)
    found = _products(build, unfolded, weight, groups)
    if bias is not None:
        found = build.emit("add", [found, bias])
    return _folded(build, found, windows, filters)


def _check_bound(build: Builder, x: Operand) -> None:
    """Channels must be a number, and of the spatial axes all but one: sizes are multiplied."""
    symbolic = [dim for dim in build.shape(x)[1:] if isinstance(dim, Affine)]
    if isinstance(build.shape(x)[1], Affine) or len(symbolic) > 1:
        message = f"the channels of {x.type} and all but one of its spatial dimensions must be numbers"
        raise UnsupportedError(message, help=dimensions_help(symbolic))


def _number(dim: Dim) -> int:
    if not isinstance(dim, int):
        raise UnsupportedError(f"the size '{dim}' of a filter must be a number", help=dimensions_help([dim]))
    return dim


def _tiles(build: Builder, x: Operand, windows: Windows) -> Operand:
    """Windows without overlap as [N, windows, C, elements]: axes are cut in two and reordered, nothing is copied."""
    batch, channels = build.shape(x)[:2]
    split: list[Dim] = []
    for axis, (count, size) in enumerate(zip(windows.counts, windows.kernel, strict=True), 2):
        x = cut(build, x, axis, 0, count * size)
        split += [count, size]
    rank = len(windows.kernel)
    apart = reshaped(build, x, (batch, channels, *split))
    perm = (0, *range(2, 2 + 2 * rank, 2), 1, *range(3, 3 + 2 * rank, 2))
    turned = build.emit("transpose", [apart], {"perm": perm})
    return reshaped(build, turned, (batch, product(windows.counts), channels, math.prod(windows.kernel)))


def _unfolded(build: Builder, x: Operand, windows: Windows) -> Operand:
    """Windows that overlap as [N, windows, C, elements]: one slice for each element of a window, joined."""
    batch, channels = build.shape(x)[:2]
    shape = (batch, 1, channels, product(windows.counts))
    seen = [reshaped(build, piece, shape) for piece in pieces(build, x, windows, build.scalar(0, x.type.dtype))]
    stacked = seen[0] if len(seen) == 1 else build.emit("concat", seen, {"axis": 1})
    return build.emit("transpose", [stacked], {"perm": (0, 3, 2, 1)})


def _products(build: Builder, unfolded: Operand, weight: Operand, groups: int) -> Operand:
    """[N, windows, C, elements] times filters [M, C / groups, kernel...]: [N, windows, M]."""
    batch, count, channels, elements = build.shape(unfolded)
    filters, depth = _number(build.shape(weight)[0]), _number(build.shape(weight)[1]) * _number(elements)
    if groups == 1:
        rows = reshaped(build, unfolded, (batch, count, channels * _number(elements)))
        matrix = build.emit("transpose", [reshaped(build, weight, (filters, depth))], {"perm": (1, 0)})
        return build.emit("matmul", [rows, matrix])
    rows = reshaped(build, unfolded, (batch, count, groups, depth))
    rows = build.emit("transpose", [rows], {"perm": (0, 2, 1, 3)})
    matrices = reshaped(build, weight, (groups, filters // groups, depth))
    found = build.emit("matmul", [rows, build.emit("transpose", [matrices], {"perm": (0, 2, 1)})])
    return reshaped(build, build.emit("transpose", [found], {"perm": (0, 2, 1, 3)}), (batch, count, filters))


def _folded(build: Builder, x: Operand, windows: Windows, filters: int) -> Operand:
    """[N, windows, M] as [N, M, spatial...]."""
    turned = build.emit("transpose", [x], {"perm": (0, 2, 1)})
    return reshaped(build, turned, (build.shape(x)[0], filters, *windows.counts))


def per_channel(build: Builder, x: Operand, values: Operand) -> Operand:
    """One value a channel so that it broadcasts over [N, C, spatial...]."""
    return reshaped(build, values, (*build.shape_of_rank(values, 1), *(1,) * (build.rank(x) - 2)))


def _conv(node: OnnxNode) -> Results:
    return convolution(node, node.operand(0), node.operand(1), node.optional(2))


def _conv_integer(node: OnnxNode) -> Results:
    """The int32 convolution of operands less their zero points; a zero point of the filters may be one a filter."""
    build = node.builder
    x = less_zero(build, node.operand(0), node.optional(2))
    return convolution(node, x, less_zero(build, node.operand(1), _per_filter(node, 3, 1)))


def _per_filter(node: OnnxNode, index: int, weight_index: int) -> Operand | None:
    zero = node.optional(index)
    if zero is None or node.builder.rank(zero) == 0:
        return zero
    ones = (1,) * (node.builder.rank(node.operand(weight_index)) - 1)
    return reshaped(node.builder, zero, (*node.builder.shape_of_rank(zero, 1), *ones))


def _quantized_conv(node: OnnxNode) -> Results:
    """QLinearConv: an integer convolution, with an int32 bias, scaled and quantised again."""
    build, zero = node.builder, node.operand(7)
    x = less_zero(build, node.operand(0), node.operand(2))
    total = convolution(node, x, less_zero(build, node.operand(3), _per_filter(node, 5, 3)), node.optional(8))
    weight_scale = node.operand(4)
    if build.rank(weight_scale) == 1 and build.shape(weight_scale) != (1,):
        weight_scale = per_channel(build, total, weight_scale)
    else:
        weight_scale = reshaped(build, weight_scale, ())
    scales = build.emit("mul", [reshaped(build, node.operand(1), ()), weight_scale])
    ratio = build.emit("div", [scales, reshaped(build, node.operand(6), ())])
    wide = build.emit("mul", [build.emit("cast", [total], {"to": "float32"}), ratio])
    return quantized(build, wide, None, reshaped(build, zero, ()), zero.type.dtype)


def _causal_convolution(node: OnnxNode) -> Results:
    """CausalConvWithState: every channel by itself, over the last k positions; the state is what the next run needs."""
    build, x, weight, state = node.builder, node.operand(0), node.operand(1), node.optional(3)
    batch, channels, length = build.shape_of_rank(x, 3)
    filters, _, size = (_number(dim) for dim in build.shape_of_rank(weight, 3))
    if filters != channels:
        raise InputError(f"the filters {weight.type} do not fit {x.type}")
    if state is None:
        state = expanded(build, build.scalar(0, x.type.dtype), (batch, channels, size - 1))
    seen = build.emit("concat", [state, x], {"axis": 2})
    total = build.scalar(0, x.type.dtype)
    for position in range(size):
        piece = cut(build, seen, 2, position, length + position)
        factor = reshaped(build, cut(build, weight, 2, position, position + 1), (channels, 1))
        product = build.emit("mul", [piece, factor])
        total = product if position == 0 else build.emit("add", [total, product])
    if node.optional(2) is not None:
        total = build.emit("add", [total, reshaped(build, node.operand(2), (channels, 1))])
    activation = node.text("activation", "none")
    if activation not in ("none", "silu", "swish"):
        raise InputError(f"the activation '{activation}' of {node.operator} must be none, silu or swish")
    result = total if activation == "none" else build.emit("silu", [total])
    return result, cut(build, seen, 2, length, length + size - 1)


CONVOLUTION: dict[str, Importer] = {
    "CausalConvWithState": _causal_convolution,
    "Conv": _conv,
    "ConvInteger": _conv_integer,
    "QLinearConv": _quantized_conv,
}
