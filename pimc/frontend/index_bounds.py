"""Bounds of integer values, so that a gather shows how long an axis must be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from passes import Dim, Node, Value
from pimc.frontend.symbols import at_most, lower_bound

Interval = tuple[Dim, Dim]
"""Smallest and largest element."""

_SAME_ELEMENTS = ("reshape", "expand", "transpose", "slice", "identity", "cast")
_SEARCH_DEPTH = 32
"""Operations between an index and the ranges that it is computed from; exporters need about ten."""


def index_bounds(value: Value) -> Interval | None:
    """Smallest and largest element that an integer value can have, `None` when they are not known."""
    return _bounds(value, _SEARCH_DEPTH, {})


def _bounds(value: Value, depth: int, found: dict[Value, Interval | None]) -> Interval | None:
    """The bounds, each value looked at once: operands that meet again and again would cost twice as much each time."""
    if value not in found:
        found[value] = _searched(value, depth, found)
    return found[value]


def _searched(value: Value, depth: int, found: dict[Value, Interval | None]) -> Interval | None:
    if value.constant is not None:
        if value.constant.size == 0 or value.constant.dtype.kind not in "iu":
            return None
        return int(np.min(value.constant)), int(np.max(value.constant))
    node = value.producer
    if node is None or depth == 0:
        return None
    if node.op == "range":
        return _of_range(node)
    if node.op in _SAME_ELEMENTS:
        return _bounds(node.operand(0), depth - 1, found)
    if node.op not in _COMBINED:
        return None
    intervals = [_bounds(operand, depth - 1, found) for operand in node.inputs if operand is not None]
    known = [interval for interval in intervals if interval is not None]
    return _COMBINED[node.op](known) if len(known) == len(intervals) else None


def component_bounds(value: Value, component: int) -> Interval | None:
    """Bounds of the elements `[..., component]` of indices with several components along their last axis."""
    node = value.producer
    if node is None or node.op != "concat" or node.attributes["axis"] != value.type.rank - 1:
        return index_bounds(value)
    position = 0
    for piece in node.inputs:
        assert piece is not None
        width = piece.shape[-1]
        if not isinstance(width, int):
            return None
        if position <= component < position + width:
            return index_bounds(piece)
        position += width
    return None


def _of_range(node: Node) -> Interval | None:
    start, stop, step = (node.attributes[name] for name in ("start", "stop", "step"))
    return (start, stop - 1) if step == 1 and not isinstance(start, float) else None


def _sum(intervals: list[Interval]) -> Interval | None:
    (low_a, high_a), (low_b, high_b) = intervals
    return low_a + low_b, high_a + high_b


def _product(intervals: list[Interval]) -> Interval | None:
    """Only with a factor that has one value, as in row * length; one of both must be a number."""
    for (low, high), (factor, other) in (intervals, intervals[::-1]):
        least = lower_bound(factor)
        if factor != other or least is None or least < 0:
            continue
        if isinstance(factor, int) or (isinstance(low, int) and isinstance(high, int)):
            return low * factor, high * factor
    return None


def _union(intervals: list[Interval]) -> Interval | None:
    lows, highs = [low for low, _ in intervals], [high for _, high in intervals]
    low = next((a for a in lows if all(at_most(a, b) for b in lows)), None)
    high = next((b for b in highs if all(at_most(a, b) for a in highs)), None)
    return None if low is None or high is None else (low, high)


_COMBINED: dict[str, Callable[[list[Interval]], Interval | None]] = {
    "add": _sum,
    "mul": _product,
    "concat": _union,
}
