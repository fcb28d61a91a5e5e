"""Importers of activation functions, as the arithmetic that they stand for."""

from __future__ import annotations

from isa import InputError
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results

_SELU_ALPHA = 1.67326319217681884765625
_SELU_GAMMA = 1.05070102214813232421875
"""Defaults of the operator Selu."""


def _number(build: Builder, x: Operand, number: float) -> Operand:
    return build.scalar(number, x.type.dtype)


def _where_negative(build: Builder, x: Operand, negative: Operand, other: Operand) -> Operand:
    return build.emit("where", [build.emit("less", [x, _number(build, x, 0)]), negative, other])


def _exponential(build: Builder, x: Operand, alpha: float) -> Operand:
    """alpha * (exp(x) - 1)."""
    less_one = build.emit("sub", [build.emit("exp", [x]), _number(build, x, 1)])
    return build.emit("mul", [less_one, _number(build, x, alpha)])


def _elu(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    return _where_negative(build, x, _exponential(build, x, node.number("alpha", 1.0)), x)


def _celu(node: OnnxNode) -> Results:
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0), which is the exponential for negative x alone."""
    build, x, alpha = node.builder, node.operand(0), node.number("alpha", 1.0)
    scaled = build.emit("div", [x, _number(build, x, alpha)])
    return _where_negative(build, x, _exponential(build, scaled, alpha), x)


def _selu(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    curve = _where_negative(build, x, _exponential(build, x, node.number("alpha", _SELU_ALPHA)), x)
    return build.emit("mul", [curve, _number(build, x, node.number("gamma", _SELU_GAMMA))])


def _hard_sigmoid(build: Builder, x: Operand, alpha: float, beta: float) -> Operand:
    """alpha * x + beta, held within 0 and 1."""
    line = build.emit("add", [build.emit("mul", [x, _number(build, x, alpha)]), _number(build, x, beta)])
    return build.emit("min", [build.emit("max", [line, _number(build, x, 0)]), _number(build, x, 1)])


def _hard_sigmoid_node(node: OnnxNode) -> Results:
    return _hard_sigmoid(node.builder, node.operand(0), node.number("alpha", 0.2), node.number("beta", 0.5))


def _hard_swish(node: OnnxNode) -> Results:
    x = node.operand(0)
    return node.builder.emit("mul", [x, _hard_sigmoid(node.builder, x, 1 / 6, 0.5)])


def softplus(build: Builder, x: Operand) -> Operand:
    """log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which does not overflow."""
    decay = build.emit("exp", [build.emit("neg", [build.emit("abs", [x])])])
    logarithm = build.emit("log", [build.emit("add", [decay, _number(build, x, 1)])])
    return build.emit("add", [build.emit("relu", [x]), logarithm])


def _softplus(node: OnnxNode) -> Results:
    return softplus(node.builder, node.operand(0))


def _mish(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    return build.emit("mul", [x, build.emit("tanh", [softplus(build, x)])])


def _softsign(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    return build.emit("div", [x, build.emit("add", [build.emit("abs", [x]), _number(build, x, 1)])])


def _leaky_relu(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    return _where_negative(build, x, build.emit("mul", [x, _number(build, x, node.number("alpha", 0.01))]), x)


def _prelu(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    return _where_negative(build, x, build.emit("mul", [x, node.operand(1)]), x)


def _thresholded_relu(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    is_above = build.emit("greater", [x, _number(build, x, node.number("alpha", 1.0))])
    return build.emit("where", [is_above, x, _number(build, x, 0)])


def _shrink(node: OnnxNode) -> Results:
    """x + bias below -lambd, x - bias above lambd, 0 between."""
    build, x = node.builder, node.operand(0)
    bias, limit = _number(build, x, node.number("bias", 0.0)), node.number("lambd", 0.5)
    low = build.emit("less", [x, _number(build, x, -limit)])
    high = build.emit("greater", [x, _number(build, x, limit)])
    upper = build.emit("where", [high, build.emit("sub", [x, bias]), _number(build, x, 0)])
    return build.emit("where", [low, build.emit("add", [x, bias]), upper])


def _gelu(node: OnnxNode) -> Results:
    approximate = node.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise InputError(f"the attribute 'approximate' of Gelu is '{approximate}', but must be none or tanh")
    return node.builder.emit("gelu", [node.operand(0)], {"approximate": approximate})


def _swish(node: OnnxNode) -> Operand:
    build, x, alpha = node.builder, node.operand(0), node.number("alpha", 1.0)
    if alpha == 1.0:
        return build.emit("silu", [x])
    return build.emit("mul", [x, build.emit("sigmoid", [build.emit("mul", [x, _number(build, x, alpha)])])])


def _swiglu(node: OnnxNode) -> Results:
    return node.builder.emit("mul", [_swish(node), node.operand(1)])


ACTIVATIONS: dict[str, Importer] = {
    "Celu": _celu,
    "Elu": _elu,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid_node,
    "HardSwish": _hard_swish,
    "LeakyRelu": _leaky_relu,
    "Mish": _mish,
    "PRelu": _prelu,
    "Selu": _selu,
    "Shrink": _shrink,
    "Softplus": _softplus,
    "Softsign": _softsign,
    "SwiGLU": _swiglu,
    "Swish": _swish,
    "ThresholdedRelu": _thresholded_relu,
}
