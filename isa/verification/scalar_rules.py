"""What the program verifier knows about the result of each scalar instruction."""

from __future__ import annotations

from collections.abc import Callable

from isa.verification.linear import Linear
from isa.verification.unknowns import REGISTER_HIGH, REGISTER_LOW, Facts, Unknowns

Rule = Callable[[Unknowns, Facts, Linear, Linear], Linear]
"""Result of ra and b where the facts hold; raises `RuleError` for operands that the instruction does not take."""


class RuleError(Exception):
    """An instruction may be given operands that it does not take; the text says which."""


def _bounds(unknowns: Unknowns, value: Linear) -> tuple[int, int]:
    """Bounds that hold wherever the value occurs, so without local facts."""
    low, high = unknowns.interval(value)
    if len(value.terms) > 1:
        low = max(low, _known(unknowns.lower(value), low))
        high = min(high, _known(unknowns.upper(value), high))
    return low, high


def _known(bound: int | None, otherwise: int) -> int:
    return otherwise if bound is None else bound


def _add(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    return a + b


def _sub(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    return a - b


def _mul(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    if b.is_constant:
        return a * b.constant
    if a.is_constant:
        return b * a.constant
    (a_low, a_high), (b_low, b_high) = _bounds(unknowns, a), _bounds(unknowns, b)
    corners = (a_low * b_low, a_low * b_high, a_high * b_low, a_high * b_high)
    return unknowns.make(min(corners), max(corners), ("mul", frozenset((a, b))), (a, b))


def _check_divisor(unknowns: Unknowns, facts: Facts, b: Linear) -> None:
    if not unknowns.at_least(b, 1, facts):
        raise RuleError(f"the divisor can be {_known(unknowns.lower(b, facts), 0)}; it must be at least 1")


def _divu(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    _check_divisor(unknowns, facts, b)
    if not b.is_constant:
        (a_low, a_high), (b_low, b_high) = _bounds(unknowns, a), _bounds(unknowns, b)
        b_low, b_high = max(b_low, 1), max(b_high, 1)
        corners = (a_low // b_low, a_low // b_high, a_high // b_low, a_high // b_high)
        return unknowns.make(min(corners), max(corners), ("divu", a, b), (a, b))
    whole, rest = a.split(b.constant)
    return whole + _quotient(unknowns, rest, b.constant)


def _quotient(unknowns: Unknowns, a: Linear, divisor: int) -> Linear:
    """a div divisor, with divisor * quotient <= a <= divisor * quotient + divisor - 1."""
    low, high = _bounds(unknowns, a)
    quotient = unknowns.make(low // divisor, high // divisor, ("divu", a, divisor), (a,))
    rest = a - quotient * divisor
    unknowns.define(quotient, rest, -rest + (divisor - 1))
    return quotient


def _remu(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    _check_divisor(unknowns, facts, b)
    if not b.is_constant:
        return unknowns.make(0, max(_bounds(unknowns, b)[1] - 1, 0), ("remu", a, b), (a, b))
    divisor = b.constant
    _, rest = a.split(divisor)
    low, high = _bounds(unknowns, rest)
    if low >= 0 and high < divisor:
        return rest
    quotient = _quotient(unknowns, rest, divisor)
    remainder = unknowns.make(0, divisor - 1, ("remu", rest, divisor), (rest,))
    difference = rest - quotient * divisor - remainder
    unknowns.define(remainder, difference, -difference)
    return remainder


def _and(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    if a.is_constant and b.is_constant:
        return Linear((), a.constant & b.constant)
    if b.is_constant and b.constant >= 0 and b.constant & (b.constant + 1) == 0:
        return _remu(unknowns, facts, a, b + 1)
    (a_low, a_high), (b_low, b_high) = _bounds(unknowns, a), _bounds(unknowns, b)
    highs = [high for low, high in ((a_low, a_high), (b_low, b_high)) if low >= 0]
    low, high = (0, min(highs)) if highs else (REGISTER_LOW, REGISTER_HIGH)
    return unknowns.make(low, high, ("and", a, b), (a, b))


def _or(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    if a.is_constant and b.is_constant:
        return Linear((), a.constant | b.constant)
    (a_low, a_high), (b_low, b_high) = _bounds(unknowns, a), _bounds(unknowns, b)
    if a_low < 0 or b_low < 0:
        return unknowns.make(REGISTER_LOW, REGISTER_HIGH, ("or", a, b), (a, b))
    high = (1 << max(a_high, b_high).bit_length()) - 1
    return unknowns.make(max(a_low, b_low), high, ("or", a, b), (a, b))


def _check_shift(unknowns: Unknowns, facts: Facts, b: Linear) -> None:
    if not (unknowns.at_least(b, 0, facts) and unknowns.at_most(b, 63, facts)):
        raise RuleError("the shift can be outside 0 to 63 bits")


def _shl(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    _check_shift(unknowns, facts, b)
    if b.is_constant:
        return a * (1 << b.constant)
    (a_low, a_high), (b_low, b_high) = _bounds(unknowns, a), _bounds(unknowns, b)
    shifts = [1 << min(max(bits, 0), 63) for bits in (b_low, b_high)]
    corners = [value * shift for value in (a_low, a_high) for shift in shifts]
    return unknowns.make(min(corners), max(corners), ("shl", a, b), (a, b))


def _shr(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    _check_shift(unknowns, facts, b)
    if b.is_constant:
        return _divu(unknowns, facts, a, Linear((), 1 << b.constant))
    low, high = _bounds(unknowns, a)
    return unknowns.make(min(low, 0), max(high, 0), ("shr", a, b), (a, b))


def _min(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    if unknowns.at_most(a - b, 0, facts):
        return a
    if unknowns.at_least(a - b, 0, facts):
        return b
    (a_low, a_high), (b_low, b_high) = _bounds(unknowns, a), _bounds(unknowns, b)
    smaller = unknowns.make(min(a_low, b_low), min(a_high, b_high), ("min", frozenset((a, b))), (a, b))
    low, high = _bounds(unknowns, a - b)
    facts = (a - smaller, b - smaller)
    if low < 0 < high:  # min(d, 0) lies above the line from (low, low) to (high, 0), where d = a - b
        facts += ((smaller - b) * (high - low) - (b - a + high) * low,)
    unknowns.define(smaller, *facts)
    return smaller


def _max(unknowns: Unknowns, facts: Facts, a: Linear, b: Linear) -> Linear:
    return -_min(unknowns, facts, -a, -b)


RULES: dict[str, Rule] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "divu": _divu,
    "remu": _remu,
    "and": _and,
    "or": _or,
    "shl": _shl,
    "shr": _shr,
    "min": _min,
    "max": _max,
}
"""Rules by mnemonic."""
