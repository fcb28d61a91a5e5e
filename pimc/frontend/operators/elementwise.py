"""Importers of the operators that work element by element."""

from __future__ import annotations

import math
from functools import partial

from isa import Place, UnsupportedError
from passes import FLOAT_DTYPES
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.tensors import dtype_name

_UNARY = {
    "Neg": "neg",
    "Abs": "abs",
    "Sqrt": "sqrt",
    "Reciprocal": "reciprocal",
    "Exp": "exp",
    "Log": "log",
    "Sin": "sin",
    "Cos": "cos",
    "Tanh": "tanh",
    "Erf": "erf",
    "Sigmoid": "sigmoid",
    "Relu": "relu",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
    "Sign": "sign",
    "Not": "not",
    "IsNaN": "is_nan",
}
_BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "And": "and",
    "Or": "or",
    "Xor": "xor",
    "Equal": "equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
}
_VARIADIC = {"Max": "max", "Min": "min", "Sum": "add"}


def _unary(op: str, node: OnnxNode) -> Results:
    return node.builder.emit(op, [node.operand(0)])


def _binary(op: str, node: OnnxNode) -> Results:
    return node.builder.emit(op, [node.operand(0), node.operand(1)])


def _variadic(op: str, node: OnnxNode) -> Results:
    result = node.operand(0)
    for index in range(1, len(node.inputs)):
        result = node.builder.emit(op, [result, node.operand(index)])
    return result


def _mean(node: OnnxNode) -> Results:
    total = _variadic("add", node)
    assert isinstance(total, Operand)
    return node.builder.emit("div", [total, node.builder.scalar(len(node.inputs), total.type.dtype)])


def _mod(node: OnnxNode) -> Results:
    """The sign of the divisor, or with `fmod` the sign of the dividend: a - b * trunc(a / b)."""
    if node.integer("fmod", 0) == 0:
        return _binary("mod", node)
    build, a, b = node.builder, node.operand(0), node.operand(1)
    if a.type.dtype not in FLOAT_DTYPES:
        return build.emit("sub", [a, build.emit("mul", [build.emit("div", [a, b]), b])])
    sizes = build.emit("mod", [build.emit("abs", [a]), build.emit("abs", [b])])
    return build.emit("mul", [sizes, build.emit("sign", [a])])


def _pow(node: OnnxNode) -> Results:
    """The exponent of a floating point base has the base's element type."""
    base, exponent = node.operand(0), node.operand(1)
    if base.type.dtype in FLOAT_DTYPES:
        exponent = cast(node.builder, exponent, base.type.dtype)
    return node.builder.emit("pow", [base, exponent])


def _identity(node: OnnxNode) -> Results:
    return node.operand(0)


def _dropout(node: OnnxNode) -> Results:
    training = node.optional(2)
    if training is not None and (training.constant is None or training.constant.any()):
        raise UnsupportedError("Dropout in training mode is not supported", help="export the model for inference")
    if node.result_count > 1:
        raise UnsupportedError("the mask of Dropout is not supported", help="export the model for inference")
    return node.operand(0)


def _cast(node: OnnxNode) -> Results:
    return cast(node.builder, node.operand(0), dtype_name(node.integer("to"), Place(node=node.name)))


def _cast_like(node: OnnxNode) -> Results:
    return cast(node.builder, node.operand(0), node.operand(1).type.dtype)


def cast(build: Builder, x: Operand, dtype: str) -> Operand:
    """The operand in another dtype; nothing is emitted when it has it already."""
    return x if x.type.dtype == dtype else build.emit("cast", [x], {"to": dtype})


def _where(node: OnnxNode) -> Results:
    return node.builder.emit("where", [node.operand(0), node.operand(1), node.operand(2)])


def _clip(node: OnnxNode) -> Results:
    result = node.operand(0)
    for index, op in ((1, "max"), (2, "min")):
        bound = node.optional(index)
        if bound is not None:
            result = node.builder.emit(op, [result, bound])
    return result


def _is_inf(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    positive, negative = node.integer("detect_positive", 1), node.integer("detect_negative", 1)
    infinity = build.scalar(math.inf if positive else -math.inf, x.type.dtype)
    if positive and negative:
        return build.emit("equal", [build.emit("abs", [x]), infinity])
    if positive or negative:
        return build.emit("equal", [x, infinity])
    return build.emit("and", [build.emit("is_nan", [x]), build.scalar(False, "bool")])


ELEMENTWISE: dict[str, Importer] = {
    **{name: partial(_unary, op) for name, op in _UNARY.items()},
    **{name: partial(_binary, op) for name, op in _BINARY.items()},
    **{name: partial(_variadic, op) for name, op in _VARIADIC.items()},
    "Mean": _mean,
    "Mod": _mod,
    "Pow": _pow,
    "Identity": _identity,
    "Dropout": _dropout,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Where": _where,
    "Clip": _clip,
    "IsInf": _is_inf,
}
