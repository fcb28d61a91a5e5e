"""Integers of a token (identifiers, positions) in scalar registers."""

from __future__ import annotations

from isa import Indexed
from passes import Affine, Dim, Graph, Node, Value, constant_scalar
from pimc.backend.lowering import Lowering
from pimc.backend.token_axes import TokenAxes, past_symbols

_RENAMES = frozenset({"cast", "reshape", "expand", "identity", "transpose"})
_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "max": "max", "min": "min"}


def is_token_integer(value: Value) -> bool:
    """Whether the value holds integers and so lives in a register."""
    return value.type.dtype in ("int64", "int32")


def scalar_problem(graph: Graph, node: Node, axes: TokenAxes) -> str | None:
    """Why the integer that `node` computes for each token cannot be lowered, `None` when it can."""
    if axes.words(node.output) != 1 and node.op != "gather":
        return "only one integer a token can be computed"
    if node.op == "range":
        start = node.attributes["start"]
        known = past_symbols(graph)
        if isinstance(start, Affine) and not start.symbols <= known:
            return f"it starts at {start}, which is not a length of the cache"
        return None if isinstance(node.attributes["step"], int) else "its step is not a number"
    if node.op in _RENAMES:
        return None if is_token_integer(node.operand(0)) else "integers cannot be made from other values"
    number = constant_scalar(node.inputs[1]) if len(node.inputs) == 2 else None
    if node.op not in _BINARY:
        return "there are no scalar instructions for it"
    return None if number is not None and number == int(number) else "its second operand is not a constant integer"


def token_integer(low: Lowering, value: Value) -> int:
    """Register of the integer that `value` holds for the current token; `scalar_problem` said that it can be had."""
    return low.once(value, lambda: _compute(low, value))


def _compute(low: Lowering, value: Value) -> int:
    node = value.producer
    register = low.emitter.register()
    if node is None:
        number = constant_scalar(value)
        if number is not None:
            low.emitter.emit("li", register, int(number))
        else:
            low.emitter.emit("lds", register, low.storage.words(value).operand)
    elif node.op == "range":
        range_element(low, register, node.attributes["start"], int(node.attributes["step"]))
    elif node.op in _RENAMES:
        low.emitter.emit("li", register, Indexed(0, token_integer(low, node.operand(0))))
    else:
        number = constant_scalar(node.inputs[1])
        operand = token_integer(low, node.operand(0))
        low.emitter.emit(_BINARY[node.op], register, operand, int(number or 0))
    return register


def range_element(low: Lowering, register: int, start: Dim, step: int) -> None:
    """Emit register = start + step * token index; symbols of the start are the cache length times their coefficient."""
    token = low.storage.token
    assert token is not None
    low.emitter.emit("mul", register, token, step)
    if isinstance(start, Affine):
        for _, factor in start.terms:
            term = low.emitter.scalar("mul", low.host.kv_length, factor)
            low.emitter.emit("add", register, register, Indexed(0, term))
            low.emitter.release(term)
        start = start.constant
    if start:
        low.emitter.emit("add", register, register, start)
