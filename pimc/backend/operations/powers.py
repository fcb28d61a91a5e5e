"""Powers and remainders on the vector unit."""

from __future__ import annotations

from passes import Node, constant_scalar
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.operations.elementwise import (
    emit_binary,
    emit_comparison,
    emit_map,
    emit_select,
    everywhere,
    integer_word,
    is_real,
    operands,
    word_type,
)
from pimc.backend.rooms.views import View

_POWERS = {0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal", 1.0: "copy"}
_MOST_FACTORS = 8
_EXPONENT_BITS = 31


def lower_power(low: Lowering, node: Node) -> None:
    """Lower a power: roots and reciprocals as functions, small integers as products, others in general."""
    base, power = operands(low, node)
    target, kind = low.storage.define(node.output), word_type(node.output)
    exponent = constant_scalar(node.inputs[1])
    same_kind = word_type(node.operand(0)) == kind
    if exponent in _POWERS and kind == "f32" and same_kind:
        emit_map(low, target, base, _POWERS[exponent])
    elif exponent is not None and exponent == int(exponent) and 2 <= exponent <= _MOST_FACTORS and same_kind:
        emit_binary(low, "vmul", (target, base, base), kind)
        for _ in range(int(exponent) - 2):
            emit_binary(low, "vmul", (target, target, base), kind)
    elif all(not is_real(node.operand(position)) for position in (0, 1)):
        _integer_power(low, target, base, power)
    else:
        _mixed_power(low, node, target, base, power)


def _integer_power(low: Lowering, target: View, base: View, power: View) -> None:
    """Square and multiply, one bit of the exponents after the other."""
    size = low.storage.capacity_words(target)
    with (
        integer_word(low, 1) as one,
        integer_word(low, 2) as two,
        low.storage.scratch(4 * size, "an integer power") as words,
    ):
        square, rest, half, bit = (low.dense(target, words + number * size) for number in range(4))
        low.copy_view(square, base)
        low.copy_view(rest, power)
        low.copy_view(target, everywhere(one, target))
        with low.emitter.loop(_EXPONENT_BITS):
            emit_binary(low, "vdiv", (half, rest, everywhere(two, target)), "i32")
            emit_binary(low, "vmul", (bit, half, everywhere(two, target)), "i32")
            emit_binary(low, "vsub", (bit, rest, bit), "i32")
            emit_binary(low, "vmul", (rest, target, square), "i32")
            emit_select(low, target, rest, bit)
            emit_binary(low, "vmul", (square, square, square), "i32")
            low.copy_view(rest, half)


def _mixed_power(low: Lowering, node: Node, target: View, base: View, power: View) -> None:
    """Real powers of operands of any type; the result has the type of the base."""
    size = low.storage.capacity_words(target)
    with low.storage.scratch(2 * size, "operands of a power") as words:
        bases, powers = low.dense(target, words), low.dense(target, words + size)
        for view, source, value in ((bases, base, node.operand(0)), (powers, power, node.operand(1))):
            emit_map(low, view, source, "copy" if is_real(value) else "from_int")
        _real_power(low, target, bases, powers)
    if not is_real(node.output):
        emit_map(low, target, target, "round")
        emit_map(low, target, target, "to_int")


def _real_power(low: Lowering, target: View, base: View, power: View) -> None:
    """exp(b log |a|); the sign of odd powers of negative bases; 1 for the power 0; nothing real for other roots."""
    size = low.storage.capacity_words(target)
    with integer_word(low, 0) as zero, low.storage.scratch(4 * size, "a power") as words:
        negative, odd, other, work = (low.dense(target, words + number * size) for number in range(4))
        nothing = everywhere(zero, target)
        emit_map(low, target, base, "abs")
        emit_map(low, target, target, "log")
        emit_binary(low, "vmul", (target, target, power), "f32")
        emit_map(low, target, target, "exp")
        emit_comparison(low, "less", (negative, base, nothing), "f32")
        emit_map(low, work, power, "copy", 0.5)
        emit_map(low, other, work, "floor")
        emit_comparison(low, "not_equal", (odd, work, other), "f32")
        emit_binary(low, "vmul", (odd, odd, negative), "i32")
        emit_map(low, work, target, "copy", -1.0)
        emit_select(low, target, work, odd)
        emit_map(low, work, power, "floor")
        emit_comparison(low, "not_equal", (other, work, power), "f32")
        emit_binary(low, "vmul", (other, other, negative), "i32")
        emit_map(low, work, base, "log")  # not a number where the base is negative
        emit_select(low, target, work, other)
        emit_comparison(low, "equal", (other, power, nothing), "f32")
        emit_map(low, work, nothing, "copy", 1.0, 1.0)
        emit_select(low, target, work, other)


def lower_modulo(low: Lowering, node: Node) -> None:
    """Lower a mod b = a - floor(a / b) b, which has the sign of b."""
    a, b = operands(low, node)
    target, kind = low.storage.define(node.output), word_type(node.output)
    emit_binary(low, "vdiv", (target, a, b), kind)
    if kind == "f32":
        emit_map(low, target, target, "floor")
    emit_binary(low, "vmul", (target, target, b), kind)
    emit_binary(low, "vsub", (target, a, target), kind)
    if kind == "i32":
        _take_sign(low, target, b)
    else:
        _by_infinity(low, target, a, b)


def _by_infinity(low: Lowering, target: View, a: View, b: View) -> None:
    """Where the divisor is infinite: the dividend, or the divisor itself when their signs differ."""
    size = low.storage.capacity_words(target)
    with integer_word(low, 0) as zero, low.storage.scratch(3 * size, "an infinite divisor") as words:
        infinite, differ, value = (low.dense(target, words + number * size) for number in range(3))
        nothing = everywhere(zero, target)
        emit_map(low, infinite, b, "reciprocal")
        emit_comparison(low, "equal", (infinite, infinite, nothing), "f32")
        emit_binary(low, "vmul", (differ, a, b), "f32")
        emit_comparison(low, "less", (differ, differ, nothing), "f32")
        low.copy_view(value, a)
        emit_select(low, value, b, differ)
        emit_select(low, target, value, infinite)


def _take_sign(low: Lowering, target: View, divisor: View) -> None:
    """Add the divisor where the remainder of a division towards zero has the other sign."""
    size = low.storage.capacity_words(target)
    with integer_word(low, 0) as zero, low.storage.scratch(2 * size, "the signs of a remainder") as words:
        differs, other = low.dense(target, words), low.dense(target, words + size)
        nothing = everywhere(zero, target)
        emit_comparison(low, "less", (differs, target, nothing), "i32")
        emit_comparison(low, "less", (other, divisor, nothing), "i32")
        emit_comparison(low, "not_equal", (differs, differs, other), "i32")
        emit_comparison(low, "not_equal", (other, target, nothing), "i32")
        emit_binary(low, "vmul", (differs, differs, other), "i32")
        emit_binary(low, "vadd", (other, target, divisor), "i32")
        emit_select(low, target, other, differs)


POWERS: dict[str, Lower] = {"pow": lower_power, "mod": lower_modulo}
