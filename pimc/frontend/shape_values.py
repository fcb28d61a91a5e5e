"""Arithmetic on small integer tensors whose elements are dimensions: what exporters compute shapes with."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import GraphError
from passes import Affine, Dim, apply_operation
from pimc.frontend.symbols import at_most, lower_bound

Elements = NDArray[np.object_]
"""An object array of `Dim` or `bool`."""


class Undecided(Exception):
    """The result is not an affine expression, or depends on the values of symbols."""


def evaluate(op: str, operands: Sequence[Elements], attributes: Mapping[str, Any]) -> Elements | None:
    """The result of an operation on dimensions, or `None` when it is not known at compile time.

    Args:
        op: Operation of `passes.OPS` with one result.
        operands: Elements of the operands, with all known equalities applied.
        attributes: Attributes of the operation.
    """
    if op == "cast":
        return _cast(operands[0], attributes["to"])
    if op == "gather":
        return _gather(operands[0], operands[1], attributes["axis"])
    if op in _MOVES:
        return _objects(apply_operation(op, operands, attributes)[0])
    if op not in _ELEMENT_RULES:
        return None
    try:
        return _objects(np.frompyfunc(_ELEMENT_RULES[op], len(operands), 1)(*operands))
    except (Undecided, GraphError):
        return None


def _objects(result: Any) -> Elements:
    return np.asarray(result, dtype=np.object_)


def _cast(x: Elements, to: str) -> Elements | None:
    if to in ("int64", "int32"):
        return _objects(np.frompyfunc(_as_integer, 1, 1)(x))
    if to != "bool":
        return None
    try:
        return _objects(np.frompyfunc(_as_bool, 1, 1)(x))
    except Undecided:
        return None


def _as_integer(element: Dim | bool) -> Dim:
    return int(element) if isinstance(element, bool) else element


def _as_bool(element: Dim | bool) -> bool:
    return element if isinstance(element, bool) else not _equal(element, 0)


def _gather(x: Elements, indices: Elements, axis: int) -> Elements | None:
    if any(isinstance(index, Affine) for index in indices.reshape(-1)):
        return None
    return _objects(apply_operation("gather", [x, indices.astype(np.int64)], {"axis": axis})[0])


def _at_most(a: Dim, b: Dim) -> bool:
    """Whether a <= b for all symbols; where a >= b for all of them, `False` is right for choosing between a and b."""
    if not at_most(a, b) and not at_most(b, a):
        raise Undecided
    return at_most(a, b)


def _less(a: Dim, b: Dim) -> bool:
    if not at_most(a + 1, b) and not at_most(b, a):
        raise Undecided
    return not at_most(b, a)


def _less_equal(a: Dim, b: Dim) -> bool:
    return not _less(b, a)


def _greater(a: Dim, b: Dim) -> bool:
    return _less(b, a)


def _greater_equal(a: Dim, b: Dim) -> bool:
    return not _less(a, b)


def _equal(a: Dim, b: Dim) -> bool:
    if a != b and not at_most(a + 1, b) and not at_most(b + 1, a):
        raise Undecided
    return a == b


def _divide(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            raise Undecided
        quotient = abs(a) // abs(b)
        return quotient if (a < 0) == (b < 0) else -quotient
    return _exact_quotient(a, b)


def _exact_quotient(a: Dim, b: Dim) -> Dim:
    if not isinstance(a, Affine) or b == 0:
        raise Undecided
    return a // b


def _modulo(a: Dim, b: Dim) -> Dim:
    if isinstance(a, int) and isinstance(b, int) and b != 0:
        return a % b
    _exact_quotient(a, b)
    return 0


def _larger(a: Dim, b: Dim) -> Dim:
    return a if _at_most(b, a) else b


def _smaller(a: Dim, b: Dim) -> Dim:
    return a if _at_most(a, b) else b


def evaluate_minimum(a: Elements, b: Elements, demand: Callable[[Dim, Dim], None]) -> Elements | None:
    """The smaller elements, where a length is taken to be at most the number that it is compared with.

    Args:
        a: One operand.
        b: The other one.
        demand: Told of each (number, length) where the number must be the larger one.
    """

    def smaller(x: Dim, y: Dim) -> Dim:
        if isinstance(x, int) != isinstance(y, int) and not at_most(x, y) and not at_most(y, x):
            number, length = (x, y) if isinstance(x, int) else (y, x)
            demand(number, length)
            return length
        return _smaller(x, y)

    try:
        return _objects(np.frompyfunc(smaller, 2, 1)(a, b))
    except Undecided:
        return None


def _absolute(a: Dim) -> Dim:
    low, high = lower_bound(a), lower_bound(-a)
    if low is not None and low >= 0:
        return a
    if high is not None and high >= 0:
        return -a
    raise Undecided


def _and(a: bool, b: bool) -> bool:
    return a and b


def _or(a: bool, b: bool) -> bool:
    return a or b


def _select(condition: bool, a: Dim, b: Dim) -> Dim:
    return a if condition else b


_ELEMENT_RULES: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": _divide,
    "mod": _modulo,
    "neg": operator.neg,
    "abs": _absolute,
    "max": _larger,
    "min": _smaller,
    "equal": _equal,
    "less": _less,
    "less_equal": _less_equal,
    "greater": _greater,
    "greater_equal": _greater_equal,
    "not": operator.not_,
    "and": _and,
    "or": _or,
    "where": _select,
}
"""Operations element by element, on Python numbers and affine expressions."""

_MOVES = ("reshape", "expand", "transpose", "slice", "concat", "reduce_sum")
"""Operations whose numpy meaning holds for object arrays as well."""
