"""Thresholds and bits that were found: as a table, as JSON, and as the file that `--kv @FILE` reads."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from pimc.calibration.results import Calibration, LayerResult
from pimc.evaluation.windows import Windows
from pimc.report.quantities import count, percent
from pimc.report.terminal import Terminal


def specification_file(found: Calibration, model: str, text: str, windows: Windows) -> str:
    """The specification below a comment that says where it comes from."""
    tokens = count(windows.count * windows.size)
    what = "bits" if found.sparsity is None else f"{percent(found.sparsity)} pruned"
    source = f"# pimc calibrate: {what}, over {tokens} tokens of {text}, for {model}"
    return f"{' '.join(source.split())}\n{found.specification}\n"


def print_calibration(terminal: Terminal, found: Calibration, path: str) -> None:
    """A line for each layer and one for all, then how the perplexity changes."""
    columns = ["layer", *_PRUNING, "key bits", "value bits", "bytes/token", "ratio"]
    rows = [[*row] for row in (*map(_row, found.layers), _all_layers(found.layers))]
    if found.sparsity is None:
        for row in (columns, *rows):
            del row[1 : 1 + len(_PRUNING)]
    terminal.table("", columns, rows, right=columns[1:])
    terminal.line()
    if found.perplexity is not None and found.exact_perplexity is not None:
        change = found.perplexity / found.exact_perplexity - 1
        pruned = "" if found.sparsity is None else f", with {percent(found.sparsity)} pruned"
        terminal.line(
            f"perplexity {found.perplexity:.4f}, exact {found.exact_perplexity:.4f} ({100 * change:+.2f} %){pruned}"
        )
    terminal.line(f"use it with --kv @{path}")


_PRUNING = ("keys below", "values below", "keys left", "values left")
"""Columns that only layers have which prune."""


def _row(layer: LayerResult) -> tuple[str, ...]:
    shares = (layer.key_survivors, layer.value_survivors)
    return (
        str(layer.layer),
        *("" if bound is None else f"{bound:.4g}" for bound in (layer.key_threshold, layer.value_threshold)),
        *("" if share is None else percent(share) for share in shares),
        str(layer.key_bits),
        str(layer.value_bits),
        *_sizes(layer.bytes_per_token, layer.exact_bytes_per_token),
    )


def _all_layers(layers: Sequence[LayerResult]) -> tuple[str, ...]:
    """Means over the layers, and sums of bytes."""
    keys = [each.key_survivors for each in layers if each.key_survivors is not None]
    values = [each.value_survivors for each in layers if each.value_survivors is not None]
    bits = ([each.key_bits for each in layers], [each.value_bits for each in layers])
    return (
        "all",
        "",
        "",
        *(percent(fmean(shares)) if shares else "" for shares in (keys, values)),
        *(f"{fmean(each):.3g}" for each in bits),
        *_sizes(sum(each.bytes_per_token for each in layers), sum(each.exact_bytes_per_token for each in layers)),
    )


def _sizes(size: float, exact: int) -> tuple[str, str]:
    return f"{size:.1f}", f"{exact / size:.2f}"


def calibration_json(found: Calibration, path: str) -> dict[str, Any]:
    """The calibration as JSON values."""
    return {
        "file": path,
        "sparsity": found.sparsity,
        "perplexity": found.perplexity,
        "exact_perplexity": found.exact_perplexity,
        "layers": [layer.to_json() for layer in found.layers],
    }
