"""Texts side by side: columns on a terminal, labelled lines elsewhere; then what each cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from pimc.comparison import Side, first_difference, in_turns
from pimc.report.generation import speed_facts
from pimc.report.quantities import byte_size, count, with_unit
from pimc.report.terminal import Terminal

Write = Callable[[Sequence[int]], str]
"""The text of token numbers."""


def print_sides(terminal: Terminal, sides: Sequence[Side], write: Write) -> None:
    """Print the texts while they are generated."""
    if not terminal.out.is_terminal:
        for _ in in_turns(sides):
            pass
        for side in sides:
            terminal.line(f"{side.policy}: {write(side.tokens)}")
        return
    with Live(_columns(sides, write), console=terminal.out, vertical_overflow="visible") as live:
        for _ in in_turns(sides):
            live.update(_columns(sides, write))


def _columns(sides: Sequence[Side], write: Write) -> Table:
    table = Table(expand=True, box=None, padding=(0, 2, 0, 0), header_style="dim")
    for side in sides:
        table.add_column(Text(side.policy), ratio=1, overflow="fold")
    table.add_row(*(Text(_visible(write(side.tokens))) for side in sides))
    return table


def _visible(text: str) -> str:
    """`text` without control characters that would drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def print_comparison(terminal: Terminal, sides: Sequence[Side]) -> None:
    """Speed, energy and size of the cache of each side, and where its text leaves that of the first."""
    columns = ("policy", "tokens", "tokens/s", "energy/token", "KV cache", "differs from")
    terminal.table("", columns, [_row(side, sides[0]) for side in sides], right=columns[1:])


def _row(side: Side, plain: Side) -> tuple[str, ...]:
    taken = side.decoder.decode or side.decoder.prefill
    if taken is None:
        raise AssertionError("a side that has generated something has taken a step")
    place = first_difference(plain.tokens, side.tokens)
    return (
        side.policy,
        count(len(side.tokens)),
        f"{taken.tokens / taken.time_s:,.0f}",
        with_unit(taken.energy_j / taken.tokens, "J"),
        byte_size(side.cache_bytes),
        "" if side is plain else "never" if place is None else f"token {count(place + 1)}",
    )


def comparison_facts(sides: Sequence[Side], write: Write) -> dict[str, Any]:
    """The same as JSON values, of all tokens."""
    for _ in in_turns(sides):
        pass
    return {"sides": list(_facts(sides, write))}


def _facts(sides: Sequence[Side], write: Write) -> Iterator[dict[str, Any]]:
    for side in sides:
        yield {
            "policy": side.policy,
            "text": write(side.tokens),
            "tokens": side.tokens,
            **speed_facts(side.decoder),
            "kv_bytes": side.cache_bytes,
            "first_difference": first_difference(sides[0].tokens, side.tokens),
        }
