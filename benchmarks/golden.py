"""The table "ours against the references": every figure of five published simulators, ours, the difference.

    python -m benchmarks.golden [--only SOURCE] [-o docs/golden.md]

Ends with exit code 1 when a figure is further away than its bar allows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.golden_rows import Row, all_rows

_HEADINGS = ("source", "file", "quantity", "reference", "ours", "difference", "allowed")
_ABOUT = """\
# Ours against the references

Printed by `python -m benchmarks.golden -o docs/golden.md`. Traces run in compatibility mode: the controllers and rules
of the published simulators, without what they lack ([reference-faults.md](reference-faults.md)). `commands` and
`requests` are sums over all kinds; their difference adds up the differences of every kind. Energies of the traces are
sums over activation, read, write, compute and interface; a difference that the reference's printed digits explain
counts as 0. The energies of DRAMsim3 follow from its currents and its own counts.

What is not compared: AttAcc with several heads on a channel. The rows of AttAcc below are runs of its simulator
(c600051) with one head, where one channel works, and with 16, one on each channel. For more heads there is only the
table of cycles that its authors published, which mixes versions ([fault 8](reference-faults.md)). With the older
counting of softmax repeated, its rows on bank groups are equal to ours in every cycle. On banks the counts agree too,
but ours take 0.1 to 12.8 % fewer cycles, and we do not know what c600051 would give: take 13 % as the uncertainty
there. AttAcc and HBM-PIM have no energies that could be compared.

"""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def cells(row: Row) -> tuple[str, ...]:
    """What the table shows of a quantity."""
    difference = "0" if row.difference == 0 else f"{100 * row.difference:.4f} %"
    allowed = "0" if row.bar == 0 else f"{100 * row.bar:g} %"
    numbers = (_number(row.reference), _number(row.ours))
    return (row.source, row.file, row.quantity, *numbers, difference, allowed)


def table(rows: Sequence[Row]) -> str:
    """The rows as an aligned Markdown table."""
    texts = [_HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in texts) for column in range(len(_HEADINGS))]
    lines = ["| " + " | ".join(_aligned(line, widths)) + " |" for line in texts]
    rule = "|" + "|".join("-" * (width + 1) + ("-" if column < 3 else ":") for column, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        text.ljust(width) if column < 3 else text.rjust(width)
        for column, (text, width) in enumerate(zip(line, widths, strict=True))
    ]


def closing_line(rows: Sequence[Row]) -> str:
    """How many agree, and the largest difference."""
    sources = len({row.source for row in rows})
    kept = sum(row.difference <= row.bar for row in rows)
    equal = sum(row.difference == 0 for row in rows)
    largest = max(rows, key=lambda row: row.difference)
    return (
        f"{kept} of {len(rows)} quantities of {sources} sources within their bars, {equal} of them equal; "
        f"largest difference {100 * largest.difference:.2g} % ({largest.source} {largest.file}, {largest.quantity})"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.golden", description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="one source: aim, cent, attacc, hbmpim or dramsim3")
    parser.add_argument("-o", "--output", type=Path, help="also write the table to this Markdown file")
    options = parser.parse_args(arguments)
    rows = [row for row in all_rows() if options.only in (None, row.source)]
    if not rows:
        parser.error(f"there is no source '{options.only}'")
    print(f"{table(rows)}\n\n{closing_line(rows)}")
    if options.output is not None:
        options.output.write_text(f"{_ABOUT}{table(rows)}\n\n{closing_line(rows)}\n", encoding="utf-8")
    return 0 if all(row.difference <= row.bar for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
