"""Thresholds that were found: as a table, as JSON, and as the file that `--kv @FILE` reads."""

from __future__ import annotations

from typing import Any

from pimc.calibration import Calibration, LayerThresholds
from pimc.evaluation.windows import Windows
from pimc.report.quantities import count, percent
from pimc.report.terminal import Terminal


def specification_file(found: Calibration, model: str, text: str, windows: Windows) -> str:
    """The specification below a comment that says where it comes from."""
    tokens = count(windows.count * windows.size)
    source = f"# pimc calibrate: {percent(found.sparsity)} pruned, over {tokens} tokens of {text}, for {model}"
    return f"{' '.join(source.split())}\n{found.specification}\n"


def print_calibration(terminal: Terminal, found: Calibration, path: str) -> None:
    """A line for each layer and one for all, then how the perplexity changes."""
    columns = ("layer", "key threshold", "value threshold", "keys left", "values left", "bytes/token", "ratio")
    rows = [_row(str(layer.layer), layer) for layer in found.layers]
    size, exact = (
        sum(getattr(layer, name) for layer in found.layers) for name in ("bytes_per_token", "exact_bytes_per_token")
    )
    keys, values = (
        sum(getattr(layer, name) for layer in found.layers) / len(found.layers)
        for name in ("key_survivors", "value_survivors")
    )
    rows.append(("all", "", "", percent(keys), percent(values), f"{size:.1f}", f"{exact / size:.2f}"))
    terminal.table("", columns, rows, right=columns[1:])
    terminal.line()
    if found.perplexity is not None and found.exact_perplexity is not None:
        change = found.perplexity / found.exact_perplexity - 1
        terminal.line(
            f"perplexity {found.perplexity:.4f}, exact {found.exact_perplexity:.4f} ({100 * change:+.2f} %),"
            f" with {percent(found.sparsity)} pruned"
        )
    terminal.line(f"use it with --kv @{path}")


def _row(name: str, layer: LayerThresholds) -> tuple[str, ...]:
    return (
        name,
        f"{layer.key_threshold:.4g}",
        f"{layer.value_threshold:.4g}",
        percent(layer.key_survivors),
        percent(layer.value_survivors),
        f"{layer.bytes_per_token:.1f}",
        f"{layer.exact_bytes_per_token / layer.bytes_per_token:.2f}",
    )


def calibration_json(found: Calibration, path: str) -> dict[str, Any]:
    """The calibration as JSON values."""
    return {
        "file": path,
        "sparsity": found.sparsity,
        "perplexity": found.perplexity,
        "exact_perplexity": found.exact_perplexity,
        "layers": [layer.to_json() for layer in found.layers],
    }
