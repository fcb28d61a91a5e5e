"""Importers of ONNX Runtime's quantised operators (domain com.microsoft)."""

from __future__ import annotations

from pimc.frontend.builder import Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.contrib_attention import DOMAIN
from pimc.frontend.operators.elementwise import cast
from pimc.frontend.operators.quantization import QUANTIZATION, dynamically_quantized, less_zero, quantized
from pimc.frontend.operators.shape_ops import reshaped


def _whole(node: OnnxNode, index: int) -> Operand:
    """x - zero point as float32, of the operands `index` and `index` + 2."""
    return cast(node.builder, less_zero(node.builder, node.operand(index), _scalar(node, index + 2)), "float32")


def _scalar(node: OnnxNode, index: int) -> Operand | None:
    operand = node.optional(index)
    return None if operand is None else reshaped(node.builder, operand, ())


def _scale(node: OnnxNode, index: int) -> Operand:
    return reshaped(node.builder, node.operand(index), ())


def _requantized(node: OnnxNode, wide: Operand) -> Operand:
    """What is in units of the result's scale, plus its zero point, rounded as a whole as ONNX Runtime does."""
    build, dtype = node.builder, node.operand(0).type.dtype
    zero = _scalar(node, 7)
    moved = wide if zero is None else build.emit("add", [wide, cast(build, zero, "float32")])
    return quantized(build, moved, None, build.scalar(0, dtype), dtype)


def _add(node: OnnxNode) -> Results:
    """QLinearAdd: each operand times the ratio of its scale and the result's."""
    build = node.builder
    ratios = (build.emit("div", [_scale(node, index), _scale(node, 6)]) for index in (1, 4))
    terms = [build.emit("mul", [_whole(node, index), ratio]) for index, ratio in zip((0, 3), ratios, strict=True)]
    return _requantized(node, build.emit("add", terms))


def _mul(node: OnnxNode) -> Results:
    """QLinearMul: the product times the scales' product over the result's scale."""
    build = node.builder
    product = build.emit("mul", [_whole(node, 0), _whole(node, 3)])
    ratio = build.emit("div", [build.emit("mul", [_scale(node, 1), _scale(node, 4)]), _scale(node, 6)])
    return _requantized(node, build.emit("mul", [product, ratio]))


def _scaled_product(node: OnnxNode, a: Operand, b: Operand, scale: Operand, bias: Operand | None) -> Operand:
    """The product of int32 matrices times a scale, plus a bias."""
    build = node.builder
    product = cast(build, build.emit("matmul", [a, b]), "float32")
    result = build.emit("mul", [product, scale])
    return result if bias is None else build.emit("add", [result, bias])


def _product_to_float(node: OnnxNode) -> Results:
    """MatMulIntegerToFloat: scales are one for all, or one a column of B."""
    build = node.builder
    a = less_zero(build, node.operand(0), node.optional(4))
    b = less_zero(build, node.operand(1), node.optional(5))
    scale = build.emit("mul", [node.operand(2), node.operand(3)])
    return _scaled_product(node, a, b, scale, node.optional(6))


def _dynamic_product(node: OnnxNode) -> Results:
    """DynamicQuantizeMatMul: A is quantised first, to uint8."""
    build = node.builder
    codes, a_scale, a_zero = dynamically_quantized(build, node.operand(0))
    b = less_zero(build, node.operand(1), node.optional(3))
    scale = build.emit("mul", [a_scale, node.operand(2)])
    return _scaled_product(node, less_zero(build, codes, a_zero), b, scale, node.optional(4))


CONTRIB_QUANTIZATION: dict[tuple[str, str], Importer] = {
    (DOMAIN, "QLinearAdd"): _add,
    (DOMAIN, "QLinearMul"): _mul,
    (DOMAIN, "MatMulIntegerToFloat"): _product_to_float,
    (DOMAIN, "DynamicQuantizeMatMul"): _dynamic_product,
    (DOMAIN, "QuantizeLinear"): QUANTIZATION["QuantizeLinear"],
    (DOMAIN, "DequantizeLinear"): QUANTIZATION["DequantizeLinear"],
}
