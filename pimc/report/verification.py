"""A comparison with ONNX Runtime as a table."""

from __future__ import annotations

from pimc.report.terminal import Terminal
from pimc.verification import Verification

_SHOWN = 12


def print_verification(terminal: Terminal, verification: Verification, numerics: str) -> None:
    """The errors of the outputs, the worst first, and the verdict; what the `numerics` of the program make of it."""
    worst_first = sorted(verification.outputs, key=lambda output: (verification.accepts(output), -output.max_rel_error))
    rows = [
        (
            output.name,
            f"{output.max_rel_error:.2e}",
            f"{output.max_abs_error:.2e}",
            f"{output.cosine:.7f}",
            "ok" if verification.accepts(output) else "differs",
        )
        for output in worst_first[:_SHOWN]
    ]
    columns = ("output", "relative error", "absolute error", "cosine", "")
    terminal.table("", columns, rows, right=columns[1:4])
    if len(worst_first) > len(rows):
        terminal.line(f"and {len(worst_first) - len(rows)} more with smaller errors")
    terminal.line()
    for case in verification.cases:
        terminal.line(f"  ran {case}")
    for note in verification.notes:
        terminal.line(note)
    terminal.line(_verdict(verification))
    if numerics == "machine":
        terminal.line("machine numerics round as the hardware does; --numerics fp32 tests the program without that")


def _verdict(verification: Verification) -> str:
    if verification.rtol is None:
        relation = "follow" if verification.ok else "do not follow"
        return f"outputs {relation} {verification.reference} (cosine at least {verification.least_cosine:g})"
    relation = "equal" if verification.ok else "differ from"
    return f"outputs {relation} {verification.reference} (tolerance {verification.rtol:g} of the largest magnitude)"
