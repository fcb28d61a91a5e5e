"""Values that are rounded to the steps of a quantisation: exact patterns end there."""

from __future__ import annotations

from passes.ir import Node, Value
from passes.recognition.matching import only_user, producer

_AFTER_ROUNDING = ("add", "max", "min", "cast", "sub", "mul")
"""Operations behind the rounding: the zero point, both bounds, the conversion, and the way back."""


def before_quantisation(value: Value) -> Value | None:
    """The exact value of which `value` is the quantised and dequantised form; `None` when it is no such form."""
    current: Value | None = value
    while current is not None and current.producer is not None and current.producer.op in _AFTER_ROUNDING:
        current = _varying(current.producer)
    rounded = producer(current, "round")
    scaled = None if rounded is None else producer(rounded.operand(0), "div", "mul")
    return None if scaled is None else _varying(scaled)


def is_quantised(value: Value) -> bool:
    """Whether the only user of a value divides it into steps and rounds it."""
    scaled = only_user(value)
    if scaled is None or scaled.op not in ("div", "mul"):
        return False
    rounded = only_user(scaled.output)
    return rounded is not None and rounded.op == "round"


def _varying(node: Node) -> Value | None:
    """The only operand that is not a constant."""
    varying = [value for value in node.inputs if value is not None and not value.is_constant]
    return varying[0] if len(varying) == 1 else None
