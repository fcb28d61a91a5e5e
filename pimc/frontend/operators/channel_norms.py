"""Importers of the norms of convolutional models."""

from __future__ import annotations

from isa import InputError, UnsupportedError
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.dim_products import quotient
from pimc.frontend.onnx_node import Importer, OnnxNode, Results, normal_axis
from pimc.frontend.operators.convolution import per_channel
from pimc.frontend.operators.shape_ops import reshaped


def _batch_normalization(node: OnnxNode) -> Results:
    """Scale and shift by statistics of the training."""
    if node.integer("training_mode", 0):
        raise UnsupportedError("BatchNormalization in training mode is not supported")
    build, x = node.builder, node.operand(0)
    if build.rank(x) == 1:
        raise UnsupportedError("BatchNormalization of a vector is not supported")
    scale, bias, mean, variance = (per_channel(build, x, node.operand(index)) for index in range(1, 5))
    return _normalised(build, x, (mean, variance), (scale, bias), node.number("epsilon", 1e-5))


def _normalised(
    build: Builder, x: Operand, statistics: tuple[Operand, Operand], scales: tuple[Operand, Operand], epsilon: float
) -> Operand:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias."""
    mean, variance = statistics
    deviation = build.emit("sqrt", [build.emit("add", [variance, build.scalar(epsilon, variance.type.dtype)])])
    centred = build.emit("div", [build.emit("sub", [x, mean]), deviation])
    return build.emit("add", [build.emit("mul", [centred, scales[0]]), scales[1]])


def _instance_normalization(node: OnnxNode) -> Results:
    """Mean 0 and variance 1 over the spatial axes of each channel."""
    build, x = node.builder, node.operand(0)
    if build.rank(x) < 3:
        raise InputError(f"{x.type} has no spatial axes to normalise")
    over = {"axes": tuple(range(2, build.rank(x))), "keepdims": True}
    mean = build.emit("reduce_mean", [x], over)
    centred = build.emit("sub", [x, mean])
    variance = build.emit("reduce_mean", [build.emit("mul", [centred, centred])], over)
    scales = (per_channel(build, x, node.operand(1)), per_channel(build, x, node.operand(2)))
    return _normalised(build, x, (mean, variance), scales, node.number("epsilon", 1e-5))


def _group_normalization(node: OnnxNode) -> Results:
    """Mean 0 and variance 1 over each group of channels; before operator set 21 there is a scale a group."""
    build, x, groups = node.builder, node.operand(0), node.integer("num_groups")
    batch, channels, *space = build.shape(x)
    if not isinstance(channels, int) or groups < 1 or channels % groups or not space:
        raise InputError(f"{x.type} does not have channels of {groups} groups")
    apart = reshaped(build, x, (batch, groups, channels // groups, *space))
    scales = [_per_group(build, node.operand(index), groups, apart) for index in (1, 2)]
    over = {"axes": tuple(range(2, build.rank(apart))), "keepdims": True}
    mean = build.emit("reduce_mean", [apart], over)
    centred = build.emit("sub", [apart, mean])
    variance = build.emit("reduce_mean", [build.emit("mul", [centred, centred])], over)
    result = _normalised(build, apart, (mean, variance), (scales[0], scales[1]), node.number("epsilon", 1e-5))
    return reshaped(build, result, build.shape(x))


def _per_group(build: Builder, values: Operand, groups: int, apart: Operand) -> Operand:
    """One value a channel or a group so that it broadcasts over [N, groups, channels, spatial...]."""
    members = quotient(build.symbols, build.shape_of_rank(values, 1), [groups])
    return reshaped(build, values, (groups, members, *(1,) * (build.rank(apart) - 3)))


def _mean_variance_normalization(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    axes = tuple(sorted(normal_axis(axis, build.rank(x)) for axis in node.integers("axes") or (0, 2, 3)))
    over = {"axes": axes, "keepdims": True}
    centred = build.emit("sub", [x, build.emit("reduce_mean", [x], over)])
    variance = build.emit("reduce_mean", [build.emit("mul", [centred, centred])], over)
    deviation = build.emit("add", [build.emit("sqrt", [variance]), build.scalar(1e-9, x.type.dtype)])
    return build.emit("div", [centred, deviation])


def _lp_normalization(node: OnnxNode) -> Results:
    """Elements over the sum of their sizes, or over the root of the sum of their squares; 0 where that is 0."""
    build, x, power = node.builder, node.operand(0), node.integer("p", 2)
    if power not in (1, 2):
        raise InputError(f"the attribute 'p' of LpNormalization is {power}, but must be 1 or 2")
    over = {"axes": (node.axis(build.rank(x), -1),), "keepdims": True}
    sizes = build.emit("abs", [x]) if power == 1 else build.emit("mul", [x, x])
    total = build.emit("reduce_sum", [sizes], over)
    norm = total if power == 1 else build.emit("sqrt", [total])
    zero = build.scalar(0, x.type.dtype)
    return build.emit("where", [build.emit("equal", [norm, zero]), zero, build.emit("div", [x, norm])])


CHANNEL_NORMS: dict[str, Importer] = {
    "BatchNormalization": _batch_normalization,
    "GroupNormalization": _group_normalization,
    "InstanceNormalization": _instance_normalization,
    "LpNormalization": _lp_normalization,
    "MeanVarianceNormalization": _mean_variance_normalization,
}
