"""A row of the reproduction table: a published claim, what ours is, and how near it has to be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

ToleranceClass = Literal["E", "M", "A"]
"""E: exact arithmetic from public inputs; M: within 5 %; A: depends on an assumption, which is stated."""

MODEL_TOLERANCE = 0.05
"""How far a row of class M may be away."""


@dataclass(frozen=True)
class Row:
    """A claim and its reproduction.

    Attributes:
        claim: What is claimed: system, quantity, workload.
        published: The published figure.
        ours: The same quantity from a run of an emitted program.
        unit: Its unit; empty for ratios and counts.
        tolerance_class: How near `ours` has to be.
        decimals: Digits behind the point that the publication prints; -2 for whole hundreds.
        assumption: What `ours` depends on that is not public, conventions that a reader must know, the source of a
            figure from the literature; empty where there is nothing to say. Class A must say it.
    """

    claim: str
    published: float
    ours: float
    unit: str
    tolerance_class: ToleranceClass
    decimals: int
    assumption: str = ""

    def __post_init__(self) -> None:
        if self.tolerance_class == "A" and not self.assumption:
            raise ValueError(f"{self.claim}: a row of class A states its assumption")

    @property
    def difference(self) -> float:
        """(ours - published) / published; 0 where rounding to the published digits explains it."""
        if abs(self.ours - self.published) <= 0.5 * 10.0**-self.decimals * (1 + 1e-9):
            return 0.0
        return (self.ours - self.published) / abs(self.published) if self.published else float("inf")

    @property
    def is_kept(self) -> bool:
        """Whether the difference is within the bar of its class; class A has none."""
        bars = {"E": 0.0, "M": MODEL_TOLERANCE, "A": float("inf")}
        return abs(self.difference) <= bars[self.tolerance_class]

    def text(self, value: float) -> str:
        """A figure with the published digits, more where it is too small for them."""
        least = 1 - math.floor(math.log10(abs(value))) if value and abs(value) < 1 else 0
        return f"{value:,.{max(self.decimals, least, 0)}f}"

    def to_json(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return {
            "claim": self.claim,
            "published": self.published,
            "ours": self.ours,
            "unit": self.unit,
            "difference": self.difference,
            "class": self.tolerance_class,
            "assumption": self.assumption,
        }
