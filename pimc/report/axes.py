"""Axes of a picture: from values to places, and round numbers to mark on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_MARGIN = 0.08
"""Share of the axis that stays free at each end."""

_TICKS = 5

_PREFIXES = ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n"), (1e12, "p"))


@dataclass(frozen=True)
class Scale:
    """A linear axis.

    Attributes:
        low: Value at `start`.
        high: Value at `end`.
        start: Place of `low`, in pixels.
        end: Place of `high`.
    """

    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value lies, in pixels."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def scale_over(values: Sequence[float], start: float, end: float) -> Scale:
    """An axis on which all values lie, with a margin; one value alone lies in the middle."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = _MARGIN * (high - low) or 0.5 * abs(high) or 0.5
    return Scale(low - margin, high + margin, start, end)


def nice_ticks(scale: Scale) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten on the axis, about five of them."""
    rough = (scale.high - scale.low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return [number * step for number in range(first, last + 1)]


def tick_text(value: float) -> str:
    """A number on an axis: 23040 gives "23,040", 0.00225 "0.00225"."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}"


def unit_of(values: Sequence[float], unit: str) -> tuple[str, float]:
    """A unit in which the values are numbers up to 1000, and what they are multiplied by: "mJ" and 1e3."""
    largest = max(values, default=1.0)
    factor, prefix = next((each for each in _PREFIXES if largest * each[0] >= 1), _PREFIXES[-1])
    return f"{prefix}{unit}", factor
