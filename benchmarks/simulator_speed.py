"""Speed and memory of the simulator, each measurement in a process of its own.

    python -m benchmarks.simulator_speed [--only first|trace|stream|sweep|record] [-o docs/speed.md]

Kernels are compiled in a first process, and have run once in each process before they are measured. Ends with exit
code 1 when a figure does not keep to its bar.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.speed_rows import SECTIONS, Figure

_HEADINGS = ("measurement", "what", "figure", "unit", "bar")
_ABOUT = """\
# Speed of the simulator

Printed by `python -m benchmarks.simulator_speed -o docs/speed.md`. Every measurement ran in a process of its own, with
compiled functions warm, but for `first`, which compiles them as the first run after an installation does; the simulator
has one thread, so on an idle machine its time is its CPU time. `first` and `trace` run the 4,096-token Llama-2-7B block
of CENT, `stream` MAC rows on the channel engine alone, `sweep` our own compiled Llama-2-7B
(32 layers, refresh on) through `Simulator.sweep`; `record` writes what a decode step did. Channels that act alike are
simulated once: rates of all channels count the commands of each, rates of one channel what was really simulated.
Speed with data: `python -m benchmarks.product_speed`.

"""


def measured(names: Sequence[str]) -> list[tuple[str, Figure]]:
    """Figures of the named measurements."""
    found: list[tuple[str, Figure]] = []
    for name in names:
        command = [sys.executable, "-m", "benchmarks.simulator_speed", "--child", name]
        with TemporaryDirectory() as empty:
            environment = {**os.environ, **({"NUMBA_CACHE_DIR": empty} if name == "first" else {})}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        found += [(name, Figure(**json.loads(line))) for line in done.stdout.splitlines()]
    return found


def table(figures: Sequence[tuple[str, Figure]]) -> str:
    """The figures as an aligned Markdown table."""
    rows = [_HEADINGS, *((name, each.what, _number(each.value), each.unit, _bar(each)) for name, each in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [
        "| " + " | ".join(f"{text:>{width}}" if at == 2 else f"{text:<{width}}" for at, (text, width) in cells) + " |"
        for cells in ([*enumerate(zip(row, widths, strict=True))] for row in rows)
    ]
    rule = "|" + "|".join("-" * (width + 1) + (":" if at == 2 else "-") for at, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.3g}"


def _bar(figure: Figure) -> str:
    if figure.bar is None:
        return ""
    return f"{'>=' if figure.is_rate else '<='} {figure.bar:g}{'' if figure.is_kept else ' MISSED'}"


def closing_line(figures: Sequence[tuple[str, Figure]]) -> str:
    """How many bars are kept, and where it was measured."""
    barred = [figure for _, figure in figures if figure.bar is not None]
    kept = sum(figure.is_kept for figure in barred)
    processor = next((line.partition(":")[2].strip() for line in _processor() if line.startswith("model name")), "")
    where = f"{os.cpu_count()} cores of {processor or platform.machine()}, Python {platform.python_version()}"
    return f"{kept} of {len(barred)} bars kept; {where}"


def _processor() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator_speed", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(SECTIONS), help="one measurement")
    parser.add_argument("--child", choices=tuple(SECTIONS), help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="also write the table to this Markdown file")
    options = parser.parse_args(arguments)
    if options.child is not None:
        for figure in SECTIONS[options.child]():
            print(json.dumps(asdict(figure)))
        return 0
    figures = measured(["compile", options.only] if options.only else list(SECTIONS))
    print(f"{table(figures)}\n\n{closing_line(figures)}")
    if options.output is not None:
        options.output.write_text(f"{_ABOUT}{table(figures)}\n\n{closing_line(figures)}\n", encoding="utf-8")
    return 0 if all(figure.is_kept for _, figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
