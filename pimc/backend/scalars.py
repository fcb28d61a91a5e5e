"""Integers of a token (identifiers, positions) in scalar registers."""

from __future__ import annotations

from isa import Indexed, Place, UnsupportedError
from passes import Affine, Dim, Value, constant_scalar
from pimc.backend.lowering import Lowering

_RENAMES = frozenset({"cast", "reshape", "expand", "identity", "transpose"})
_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "max": "max", "min": "min"}


def is_token_integer(value: Value) -> bool:
    """Whether the value holds integers and so lives in a register."""
    return value.type.dtype in ("int64", "int32")


def token_integer(low: Lowering, value: Value) -> int:
    """Register of the integer that `value` holds for the current token.

    Raises:
        UnsupportedError: the value is computed in a way that scalar instructions do not cover.
    """
    return low.once(value, lambda: _compute(low, value))


def _compute(low: Lowering, value: Value) -> int:
    node = value.producer
    if node is None:
        register = low.emitter.register()
        if value.is_constant:
            low.emitter.emit("li", register, int(constant_scalar(value) or 0))
        else:
            low.emitter.emit("lds", register, low.storage.words(value).operand)
        return register
    if node.op == "range":
        return _range_element(low, node.attributes["start"], int(node.attributes["step"]))
    if node.op in _RENAMES:
        copy = low.emitter.register()
        low.emitter.emit("li", copy, Indexed(0, token_integer(low, node.operand(0))))
        return copy
    number = constant_scalar(node.inputs[1]) if len(node.inputs) == 2 else None
    if node.op in _BINARY and number is not None:
        return low.emitter.scalar(_BINARY[node.op], token_integer(low, node.operand(0)), int(number))
    raise UnsupportedError(
        f"the integers that {node.op} computes for each token cannot be lowered", Place(node=node.name)
    )


def _range_element(low: Lowering, start: Dim, step: int) -> int:
    """start + step * token index; a symbolic start is the cache length times its coefficient."""
    token = low.storage.token
    assert token is not None
    result = low.emitter.scalar("mul", token, step)
    if isinstance(start, Affine):
        for _, factor in start.terms:
            term = low.emitter.scalar("mul", low.host.kv_length, factor)
            low.emitter.emit("add", result, result, Indexed(0, term))
            low.emitter.release(term)
        start = start.constant
    if start:
        low.emitter.emit("add", result, result, start)
    return result
