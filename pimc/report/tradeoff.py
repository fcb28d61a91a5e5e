"""A panel with what one quantity costs in another: dots with names, and a line through those that nothing beats."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from pimc.report.axes import Scale, nice_ticks, scale_over, tick_text

WIDTH, HEIGHT = 600, 460
"""Pixels of a panel."""

STYLE = ".front{stroke:#b3382c;stroke-width:1.5;fill:none}.leader{stroke:#bbb;stroke-width:.7;fill:none}"
"""What a picture with panels needs beside the shared style."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 24, 40, 54
_LABEL_HEIGHT = 13
_CHARACTER_WIDTH = 6.0
_LONGEST_LABEL = 34
_FAR, _APART = 1.5, 3.0
"""Points stand at the upper edge, with their values, when they are `_FAR` times higher than the lowest one and `_APART`
times further from the others, which are more, than these are from each other."""


@dataclass(frozen=True)
class Point:
    """A dot in a panel.

    Attributes:
        label: Its name; empty for a dot among many.
        x: What it costs.
        y: What it gives; less is better.
        shown: Both with units, for people.
    """

    label: str
    x: float
    y: float
    shown: str


def non_dominated(points: Sequence[Point]) -> list[Point]:
    """The points that no other one beats in one coordinate without losing in the other, by rising cost."""
    best: list[Point] = []
    for point in sorted(points, key=lambda each: (each.x, each.y)):
        if not best or point.y < best[-1].y:
            best.append(point)
    return best


def panel(left: int, title: str, names: tuple[str, str], points: Sequence[Point]) -> str:
    """A panel that begins `left` pixels from the left; `names` are those of the axes, costs across."""
    across = scale_over([point.x for point in points], _LEFT, WIDTH - _RIGHT)
    highest = _highest(points)
    up = scale_over([point.y for point in points if point.y <= highest], HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<g transform="translate({left} 0)">',
        f'<text class="title" x="{_LEFT}" y="20">{escape(title)}</text>',
        *_grid(across, up, *names),
        *_front(across, up, points, highest),
        *_marks(across, up, points, highest),
        "</g>",
    ]
    return "\n".join(parts)


def _grid(across: Scale, up: Scale, x_name: str, y_name: str) -> Iterator[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for tick in nice_ticks(across):
        x = across.place(tick)
        yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick_text(tick)}</text>'
    for tick in nice_ticks(up):
        y = up.place(tick)
        yield f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick_text(tick)}</text>'
    yield f'<path class="axis" fill="none" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>'
    yield f'<text x="{(_LEFT + right) / 2}" y="{bottom + 38}" text-anchor="middle">{escape(x_name)}</text>'
    middle = (_TOP + bottom) / 2
    yield f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text>'


def _front(across: Scale, up: Scale, points: Sequence[Point], highest: float) -> Iterator[str]:
    """The line through the points that no other one beats, with its meaning in the upper right corner."""
    best = [point for point in non_dominated(points) if point.y <= highest]
    places = [f"{across.place(point.x):.1f},{up.place(point.y):.1f}" for point in best]
    if len(places) > 1:
        yield f'<polyline class="front" points="{" ".join(places)}"/>'
        right = WIDTH - _RIGHT
        yield f'<path class="front" d="M{right - 112} 16h20"/>'
        yield f'<text x="{right}" y="20" text-anchor="end">nothing is better</text>'


def _highest(points: Sequence[Point]) -> float:
    """The largest figure that the axis shows."""
    figures = sorted(point.y for point in points)
    for below, above in itertools.pairwise(figures):
        near = figures.index(above)
        is_apart = above > _FAR * figures[0] and above - below > _APART * (below - figures[0])
        if 1 < near > len(figures) - near and is_apart:
            return below
    return figures[-1]


def _marks(across: Scale, up: Scale, points: Sequence[Point], highest: float) -> Iterator[str]:
    """A dot and a label for each point; a label keeps off the dots and the other labels, a line leads to its dot."""
    best = set(map(id, non_dominated(points)))
    places = {id(point): (across.place(point.x), up.place(point.y) if point.y <= highest else _TOP) for point in points}
    taken = [(x - 4, y + 4, 8.0) for x, y in places.values()]
    for point in sorted(points, key=lambda each: -each.y):
        x, y = places[id(point)]
        kind = "best" if id(point) in best else "other"
        yield f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{escape(point.shown)}</title></circle>'
        label = _label(point, point.y > highest)
        if not label:
            continue
        start, base = _free_place(taken, x, y + 4, _CHARACTER_WIDTH * len(label))
        taken.append((start, base, _CHARACTER_WIDTH * len(label)))
        if abs(base - y - 4) > _LABEL_HEIGHT:
            near = min(max(x, start), start + _CHARACTER_WIDTH * len(label))
            yield f'<path class="leader" d="M{x:.1f} {y:.1f}L{near:.1f} {base - (4 if base < y else 9):.1f}"/>'
        tip = escape(f"{point.label}: {point.shown}")
        yield f'<text x="{start:.1f}" y="{base:.1f}">{escape(label)}<title>{tip}</title></text>'


def _label(point: Point, is_far: bool) -> str:
    label = point.label if len(point.label) <= _LONGEST_LABEL else f"{point.label[: _LONGEST_LABEL - 1]}…"
    return f"{label} ({point.y:,.0f})" if is_far else label


def _free_place(taken: Sequence[tuple[float, float, float]], x: float, y: float, width: float) -> tuple[float, float]:
    """The nearest place where a label covers nothing: beside its dot, above or below that."""

    def covers(start: float, base: float) -> bool:
        return any(
            start < left + length and left < start + width and abs(base - other) < _LABEL_HEIGHT
            for left, other, length in taken
        )

    right = WIDTH - _RIGHT / 2 - width
    beside = [x + 8, x - 8 - width, *(x + side * step for step in range(24, WIDTH, 24) for side in (1, -1))]
    starts = [start for start in beside if _LEFT < start <= right] or [max(right, 0)]
    reach = range(0, HEIGHT, 2)
    places = [(start, y + sign * shift) for shift in reach for sign in (1, -1) for start in starts]
    places.sort(key=lambda place: abs(place[1] - y) + max(place[0] - x - 8, x - 8 - place[0] - width, 0))
    inside = (each for each in places if _TOP <= each[1] <= HEIGHT - _BOTTOM and not covers(*each))
    return next(inside, (starts[0], y))
