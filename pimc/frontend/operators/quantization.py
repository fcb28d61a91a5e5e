"""Importers of the operators that quantise, as the arithmetic that they stand for."""

from __future__ import annotations

import numpy as np

from isa import InputError, Place, UnsupportedError
from passes import Dim
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results, normal_axis
from pimc.frontend.operators.elementwise import cast
from pimc.frontend.operators.shape_ops import expanded, reshaped
from pimc.frontend.tensors import dtype_name


def rounded(build: Builder, x: Operand) -> Operand:
    """The nearest integer, of two equally near ones the even one, in the operand's dtype."""
    return build.emit("round", [x])


def along_axis(node: OnnxNode, scale: Operand, x: Operand) -> Operand:
    """A scale or zero point so that it broadcasts: one for all, one for each index of an axis, or one for a block."""
    build, shape = node.builder, node.builder.shape(x)
    if build.rank(scale) == 0 or build.shape(scale) == (1,):
        return reshaped(build, scale, ())
    axis = normal_axis(node.integer("axis", 1), len(shape))
    if build.rank(scale) == 1:
        return reshaped(build, scale, tuple(dim if index == axis else 1 for index, dim in enumerate(shape)))
    return _repeated_blocks(build, scale, shape, axis, node.integer("block_size", 0))


def _repeated_blocks(build: Builder, scale: Operand, shape: tuple[Dim, ...], axis: int, size: int) -> Operand:
    counts = build.shape(scale)
    if len(counts) != len(shape) or size < 1:
        raise InputError(f"the scale {scale.type} does not fit blocks of {size} along axis {axis}")
    apart = reshaped(build, scale, (*counts[: axis + 1], 1, *counts[axis + 1 :]))
    wide = expanded(build, apart, (*counts[: axis + 1], size, *counts[axis + 1 :]))
    joined = reshaped(build, wide, (*counts[:axis], counts[axis] * size, *counts[axis + 1 :]))
    if build.shape(joined)[axis] == shape[axis]:
        return joined
    return build.emit("slice", [joined], {"axis": axis, "start": 0, "stop": shape[axis], "step": 1})


def _dequantize(node: OnnxNode) -> Results:
    """(x - zero point) * scale."""
    build, x, scale, zero = node.builder, node.operand(0), node.operand(1), node.optional(2)
    wide = cast(build, x, "int32") if zero is not None else x
    if zero is not None:
        wide = build.emit("sub", [wide, along_axis(node, cast(build, zero, "int32"), x)])
    return build.emit("mul", [cast(build, wide, scale.type.dtype), along_axis(node, scale, x)])


def quantized(build: Builder, x: Operand, scale: Operand | None, zero: Operand, dtype: str) -> Operand:
    """Round(x / scale) + zero point, held within the range of the dtype; no scale is a scale of 1."""
    if dtype not in ("int8", "uint8"):
        raise UnsupportedError(f"quantising to {dtype} is not supported", help="quantise to int8 or uint8")
    ratio = x if scale is None else build.emit("div", [x, scale])
    moved = build.emit("add", [rounded(build, cast(build, ratio, "float32")), cast(build, zero, "float32")])
    limits = np.iinfo(dtype)
    low = build.emit("max", [moved, build.scalar(float(limits.min), "float32")])
    return build.emit("cast", [build.emit("min", [low, build.scalar(float(limits.max), "float32")])], {"to": dtype})


def _quantize(node: OnnxNode) -> Results:
    build, x, zero = node.builder, node.operand(0), node.optional(2)
    said = node.integer("output_dtype", 0)
    dtype = "uint8" if zero is None else zero.type.dtype
    if said and zero is None:
        dtype = dtype_name(said, Place(node=node.name))
    offset = build.scalar(0, dtype) if zero is None else along_axis(node, zero, x)
    return quantized(build, x, along_axis(node, node.operand(1), x), offset, dtype)


def dynamically_quantized(build: Builder, x: Operand) -> tuple[Operand, Operand, Operand]:
    """To uint8: codes, scale and zero point, which are those of the range of the operand together with 0.

    A range of one point has the scale 1, as in ONNX Runtime: the standard's formula would divide 0 by 0.
    """
    over = {"axes": tuple(range(build.rank(x))), "keepdims": False}
    none, full = build.scalar(0.0, "float32"), build.scalar(255.0, "float32")
    low = build.emit("min", [build.emit("reduce_min", [x], over), none])
    high = build.emit("max", [build.emit("reduce_max", [x], over), none])
    is_point = build.emit("equal", [high, low])
    scale = build.emit("div", [build.emit("sub", [high, low]), full])
    scale = build.emit("where", [is_point, build.scalar(1.0, "float32"), scale])
    wanted = rounded(build, build.emit("div", [build.emit("neg", [low]), scale]))
    held = build.emit("min", [build.emit("max", [wanted, none]), full])
    zero = build.emit("cast", [held], {"to": "uint8"})
    return quantized(build, x, scale, zero, "uint8"), scale, zero


def _dynamic_quantize(node: OnnxNode) -> Results:
    return dynamically_quantized(node.builder, node.operand(0))


def integer_product(node: OnnxNode, b_index: int, a_zero: Operand | None, b_zero: Operand | None) -> Operand:
    """The int32 product of integer operands less their zero points; a vector of them is one a row or a column."""
    build = node.builder
    if a_zero is not None and build.rank(a_zero) == 1:
        a_zero = reshaped(build, a_zero, (*build.shape(a_zero), 1))
    a = less_zero(build, node.operand(0), a_zero)
    return build.emit("matmul", [a, less_zero(build, node.operand(b_index), b_zero)])


def less_zero(build: Builder, x: Operand, zero: Operand | None) -> Operand:
    """An int32 operand less its zero point, which broadcasts."""
    wide = cast(build, x, "int32")
    return wide if zero is None else build.emit("sub", [wide, cast(build, zero, "int32")])


def _matmul_integer(node: OnnxNode) -> Results:
    return integer_product(node, 1, node.optional(2), node.optional(3))


def _quantized_matmul(node: OnnxNode) -> Results:
    """QLinearMatMul: an integer product, scaled and quantised again; a vector of scales is one a row or a column."""
    build, zero = node.builder, node.operand(7)
    product = cast(build, integer_product(node, 3, node.operand(2), node.operand(5)), "float32")
    a_scale, b_scale, y_scale = (cast(build, node.operand(index), "float32") for index in (1, 4, 6))
    if build.rank(y_scale) and build.shape(y_scale) != (1,):
        raise UnsupportedError("QLinearMatMul with a scale a row of its result is not supported")
    if build.rank(a_scale) == 1:
        a_scale = reshaped(build, a_scale, (*build.shape(a_scale), 1))
    scales = build.emit("mul", [a_scale, b_scale])
    ratio = build.emit("div", [scales, reshaped(build, y_scale, ())])
    wide = build.emit("mul", [product, ratio])
    wide = reshaped(build, wide, build.shape(product))
    return quantized(build, wide, None, reshaped(build, zero, ()), zero.type.dtype)


QUANTIZATION: dict[str, Importer] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic_quantize,
    "MatMulInteger": _matmul_integer,
    "QLinearMatMul": _quantized_matmul,
}
