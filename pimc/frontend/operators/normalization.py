"""Importers of norms."""

from __future__ import annotations

import numpy as np

from isa import InputError
from passes import product
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.elementwise import cast
from pimc.frontend.operators.shape_ops import reshaped


def layer_norm(build: Builder, x: Operand, weight: Operand, bias: Operand | None, axis: int, epsilon: float) -> Operand:
    """Layer norm over the axes from `axis` on; several axes are merged into one for the graph operation."""
    operands = [weight] if bias is None else [weight, bias]
    return _over_last_axis(build, "layer_norm", x, operands, axis, epsilon)


def rms_norm(build: Builder, x: Operand, weight: Operand, axis: int, epsilon: float) -> Operand:
    """RMS norm over the axes from `axis` on; several axes are merged into one for the graph operation."""
    return _over_last_axis(build, "rms_norm", x, [weight], axis, epsilon)


def _over_last_axis(build: Builder, op: str, x: Operand, scales: list[Operand], axis: int, epsilon: float) -> Operand:
    shape = build.shape(x)
    merged = reshaped(build, x, (*shape[:axis], product(shape[axis:])))
    flat = [reshaped(build, _full(build, scale, x, axis), (product(shape[axis:]),)) for scale in scales]
    return reshaped(build, build.emit(op, [merged, *flat], {"epsilon": epsilon}), shape)


def _full(build: Builder, scale: Operand, x: Operand, axis: int) -> Operand:
    """A weight that may broadcast, in the shape of the normalised axes."""
    wanted = build.shape(x)[axis:]
    if build.shape(scale) == wanted:
        return scale
    if any(dim != 1 for dim in build.shape(scale)[: -len(wanted)]):
        raise InputError(f"the weight {scale.type} varies along an axis that is not normalised")
    narrow = reshaped(build, scale, build.shape(scale)[-len(wanted) :])
    return build.emit("expand", [narrow], {"shape": wanted})


def _layer_normalization(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    axis = node.axis(build.rank(x), -1)
    epsilon = node.number("epsilon", 1e-5)
    result = layer_norm(build, x, node.operand(1), node.optional(2), axis, epsilon)
    return result if node.result_count == 1 else (result, *_statistics(build, x, axis, epsilon))


def _statistics(build: Builder, x: Operand, axis: int, epsilon: float) -> tuple[Operand, Operand]:
    """The mean and the reciprocal of the standard deviation, in float32."""
    over = {"axes": tuple(range(axis, build.rank(x))), "keepdims": True}
    wide = cast(build, x, "float32")
    mean = build.emit("reduce_mean", [wide], over)
    centred = build.emit("sub", [wide, mean])
    variance = build.emit("reduce_mean", [build.emit("mul", [centred, centred])], over)
    shifted = build.emit("add", [variance, build.scalar(epsilon, "float32")])
    return mean, build.emit("reciprocal", [build.emit("sqrt", [shifted])])


def _rms_normalization(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    return rms_norm(build, x, node.operand(1), node.axis(build.rank(x), -1), node.number("epsilon", 1e-5))


def _skip(node: OnnxNode, bias_index: int) -> tuple[Operand, Operand]:
    """The sum of input, skip and bias of a fused residual norm, and its weight's axis operand."""
    build = node.builder
    total = build.emit("add", [node.operand(0), node.operand(1)])
    bias = node.optional(bias_index)
    return (total if bias is None else build.emit("add", [total, bias])), node.operand(2)


def _with_sum(node: OnnxNode, result: Operand, total: Operand) -> Results:
    """Results of a fused residual norm: the norm, two statistics that inference never asks for, the sum."""
    if node.result_count == 1:
        return result
    unused = node.builder.constant(np.zeros(0, np.float32))
    return (result, unused, unused, total)[: node.result_count]


def _skip_layer_normalization(node: OnnxNode) -> Results:
    total, weight = _skip(node, 4)
    axis = node.builder.rank(total) - 1
    result = layer_norm(node.builder, total, weight, node.optional(3), axis, node.number("epsilon", 1e-5))
    return _with_sum(node, result, total)


def _skip_rms_normalization(node: OnnxNode) -> Results:
    total, weight = _skip(node, 3)
    axis = node.builder.rank(total) - 1
    return _with_sum(node, rms_norm(node.builder, total, weight, axis, node.number("epsilon", 1e-5)), total)


NORMALIZATION: dict[tuple[str, str], Importer] = {
    ("", "LayerNormalization"): _layer_normalization,
    ("", "RMSNormalization"): _rms_normalization,
    ("", "SimplifiedLayerNormalization"): _rms_normalization,
    ("com.microsoft", "SkipLayerNormalization"): _skip_layer_normalization,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): _skip_rms_normalization,
}
