"""Published figures of the systems that pimc models, and ours from runs of programs that it compiles.

    python -m benchmarks.reproduce [camformer|titanus|retransformer|cent|all] [--json] [--plot F.svg]

Classes: E exact arithmetic from public inputs, M within 5 %, A depends on an assumption that the table states. Ends
with exit code 1 when a row is further away than its class allows.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from benchmarks.command_line import end_with
from benchmarks.reproduce_plot import write_rows
from benchmarks.reproduce_rows import Row
from pimc.report.pictures import check_picture

SYSTEMS = ("camformer", "titanus", "retransformer", "cent")
"""Systems in the order of the table; `benchmarks.reproduce_<system>` has `rows() -> list[Row]`."""

_HEADINGS = ("claim", "published", "ours", "unit", "difference", "class")
_LEFT = (0, 3, 5)
_NOTE_WIDTH, _CLAIM_WIDTH = 100, 60


def available_systems() -> tuple[str, ...]:
    """Systems that have a module."""
    return tuple(system for system in SYSTEMS if find_spec(_module(system)) is not None)


def rows_of(system: str) -> list[Row]:
    """Run the workloads of a system."""
    found: list[Row] = import_module(_module(system)).rows()
    return found


def _module(system: str) -> str:
    return f"benchmarks.reproduce_{system}"


def cells(row: Row) -> tuple[str, ...]:
    """What the table shows of a row, without its assumption."""
    difference = "0" if row.difference == 0 else f"{100 * row.difference:+.3g} %"
    return (row.claim, row.text(row.published), row.text(row.ours), row.unit, difference, row.tolerance_class)


def table(rows: Sequence[Row]) -> str:
    """The rows as an aligned table, with numbers that lead to the assumptions below it."""
    notes = list(dict.fromkeys(row.assumption for row in rows if row.assumption))
    marks = {note: f"[{number}]" for number, note in enumerate(notes, 1)}
    lines = [(*_HEADINGS, "")]
    for row in rows:
        claim, *others = (*cells(row), marks.get(row.assumption, ""))
        *before, last = textwrap.wrap(claim, _CLAIM_WIDTH, subsequent_indent="  ")
        lines += [(part, *[""] * len(others)) for part in before] + [(last, *others)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    return "\n".join([*texts, "", *(_note(marks[note], note) for note in notes)]).rstrip()


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    pairs = enumerate(zip(line, widths, strict=True))
    return [
        text.ljust(width) if column in _LEFT or column == len(widths) - 1 else text.rjust(width)
        for column, (text, width) in pairs
    ]


def _note(mark: str, text: str) -> str:
    return textwrap.fill(text, _NOTE_WIDTH, initial_indent=f"{mark} ", subsequent_indent=" " * (len(mark) + 1))


def closing_line(rows: Sequence[Row]) -> str:
    """How many rows of each class keep to their bar."""
    parts = []
    for name, bar in (("E", "exact"), ("M", "within 5 %"), ("A", "with an assumption")):
        found = [row for row in rows if row.tolerance_class == name]
        kept = sum(row.is_kept for row in found)
        if found:
            parts.append(f"{len(found)} of class A, {bar}" if name == "A" else f"{kept} of {len(found)} {bar} ({name})")
    return "; ".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    known = available_systems()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.reproduce",
        description="Print published figures and ours, from runs of compiled programs.",
        epilog="Classes: E exact from public inputs, M within 5 %, A depends on a stated assumption. "
        "Exit code 1: a row of class E or M is further away than that.",
    )
    parser.add_argument("system", nargs="?", default="all", choices=(*known, "all"), help="whose figures (all)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--plot", metavar="F", help="draw published figures and ours: .svg, .html or .png")
    chosen = parser.parse_args(arguments)
    if chosen.plot is not None:
        check_picture(chosen.plot)
    systems = known if chosen.system == "all" else (chosen.system,)
    rows = _run(systems, not chosen.json)
    if chosen.json:
        print(json.dumps([row.to_json() for row in rows], indent=2, ensure_ascii=False))
    else:
        print(closing_line(rows))
    if chosen.plot is not None:
        title = f"Published figures and ours: {', '.join(systems)}"
        write_rows(chosen.plot, rows, title, f"{table(rows)}\n\n{closing_line(rows)}")
    return 0 if all(row.is_kept for row in rows) else 1


def _run(systems: Sequence[str], shows: bool) -> list[Row]:
    """Run the workloads of systems one after another; the table of each is shown when it is there."""
    rows: list[Row] = []
    for number, system in enumerate(systems, 1):
        print(f"running the workloads of {system} ({number} of {len(systems)})", file=sys.stderr)
        found = rows_of(system)
        rows += found
        if shows:
            print(f"{table(found)}\n", flush=True)
    return rows


if __name__ == "__main__":
    end_with(main)
