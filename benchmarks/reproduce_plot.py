"""The reproduction table as a picture: for each unit, every published figure and ours on one axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmarks.reproduce_rows import Row
from pimc.report.axes import Scale, nice_ticks, scale_over, tick_text
from pimc.report.pictures import svg_document, write_picture

_PLOT, _FIGURES, _CHARACTER = 370, 200, 6.1
"""Pixels of the axes, of the numbers behind them, and of a letter of the claims before them."""
_LINE, _HEAD, _FOOT, _TOP = 17, 34, 34, 62
_WIDE = 30.0
"""Ratio of the largest to the smallest figure from which the axis has decades."""
_FACTORS, _FEW_DECADES = (1, 2, 5), 4

_STYLE = (
    ".published{fill:#fff;stroke:#222;stroke-width:1.5}.assumed{fill:#e0a03a}.between{stroke:#888;stroke-width:1.5}"
)


@dataclass(frozen=True)
class Axis:
    """A linear axis, or one of decades.

    Attributes:
        scale: Places of the values, or of their decimal logarithms, in pixels.
        has_decades: Whether it is logarithmic.
    """

    scale: Scale
    has_decades: bool

    def place(self, value: float) -> float:
        """Where a value lies, in pixels."""
        return self.scale.place(math.log10(value) if self.has_decades else value)

    def ticks(self) -> list[float]:
        """Values to mark."""
        if not self.has_decades:
            return nice_ticks(self.scale)
        decades = range(math.floor(self.scale.low), math.ceil(self.scale.high) + 1)
        factors = _FACTORS if self.scale.high - self.scale.low <= _FEW_DECADES else (1,)
        values = [factor * 10.0**decade for decade in decades for factor in factors]
        return [value for value in values if self.scale.low <= math.log10(value) <= self.scale.high]


def axis_over(values: Sequence[float], start: int) -> Axis:
    """An axis that begins at a pixel and on which all values lie."""
    end = start + _PLOT
    has_decades = min(values) > 0 and max(values) / min(values) > _WIDE
    return Axis(scale_over([math.log10(value) for value in values] if has_decades else values, start, end), has_decades)


def picture(rows: Sequence[Row], title: str) -> str:
    """The rows as SVG: a panel for each unit, in the order of the table."""
    left = 20 + round(_CHARACTER * max(len(row.claim) for row in rows))
    parts = [f'<text class="title" x="10" y="22">{escape(title)}</text>', *_legend(left)]
    top = _TOP
    for unit, found in _by_unit(rows).items():
        parts += _panel(unit, found, left, top)
        top += _HEAD + _LINE * len(found) + _FOOT
    return svg_document(left + _PLOT + _FIGURES, top, parts, _STYLE)


def _by_unit(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.unit, []).append(row)
    return found


def _legend(left: int) -> Iterator[str]:
    names = (("published", "published"), ("best", "ours, class E or M"), ("assumed", "ours, class A"))
    for number, (kind, name) in enumerate(names):
        x = left + 150 * number
        yield f'<circle class="{kind}" cx="{x}" cy="40" r="4"/><text x="{x + 9}" y="44">{escape(name)}</text>'


def _panel(unit: str, rows: Sequence[Row], left: int, top: int) -> Iterator[str]:
    axis = axis_over([value for row in rows for value in (row.published, row.ours)], left)
    bottom = top + _HEAD + _LINE * len(rows)
    yield f'<text class="title" x="{left}" y="{top + 22}">{escape(unit or "ratio")}</text>'
    for tick in axis.ticks():
        x = axis.place(tick)
        yield f'<line class="grid" x1="{x:.1f}" y1="{top + _HEAD - 6}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{tick_text(tick)}</text>'
    yield f'<path class="axis" fill="none" d="M{left} {bottom}h{_PLOT}"/>'
    for number, row in enumerate(rows):
        yield from _line(axis, row, left, top + _HEAD + _LINE * number + _LINE // 2)


def _line(axis: Axis, row: Row, left: int, y: int) -> Iterator[str]:
    published, ours = axis.place(row.published), axis.place(row.ours)
    kind = "assumed" if row.tolerance_class == "A" else "best"
    yield f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(row.claim)}</text>'
    yield f'<line class="between" x1="{published:.1f}" y1="{y}" x2="{ours:.1f}" y2="{y}"/>'
    yield f'<circle class="published" cx="{published:.1f}" cy="{y}" r="5"/>'
    tip = f"<title>{escape(row.assumption)}</title>" if row.assumption else ""
    yield f'<circle class="{kind}" cx="{ours:.1f}" cy="{y}" r="3">{tip}</circle>'
    figures = f"{row.text(row.published)} / {row.text(row.ours)}"
    yield f'<text x="{left + _PLOT + 14}" y="{y + 4}">{escape(figures)}</text>'


def write_rows(path: str | Path, rows: Sequence[Row], title: str, table: str) -> None:
    """Write the picture; a page has the table below it."""
    svg = picture(rows, title)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"\n<body>\n{svg}<pre>{escape(table)}</pre></body></html>\n"
    )
    write_picture(path, svg, page)
