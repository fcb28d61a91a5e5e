"""The table of docs/coverage.md, from what the corpus matrix found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corpus_matrix import Cell

COLUMNS = ("torchscript 17", "dynamo 20", "dynamo 23", "dynamo 24", "optimum 18")
TITLE = """# What is covered

Written by `make matrix`
(`python tests/models/corpus_matrix.py --simulate fp32 machine --write docs/coverage.md`); do not edit.

Every graph is a tiny random transformer as its exporter writes it (`models/README.md`). It is compiled with the default
passes, once for one sequence and once for two with ragged padding, and run for 1 to 12 new tokens after 0, 1, 7 and 33
cached ones by the graph interpreter and by the simulator, in `fp32` and in the machine's own rounding. Every output is
compared with ONNX Runtime where padding leaves it alone. A graph passes when in `fp32` all differences are within its
tolerance (1e-4 of the largest element; quantised and half-precision ones say theirs in `models/corpus/manifest.json`)
and all cosines are 0.9999 or more, when its cosines in the machine's rounding meet the bar below, and when all of its
attention and feed-forward blocks were recognised. `eager`: attention spelled out by the model in place of torch's own.
"""
ROUNDING = """## The machine's own rounding

Products near the banks round their operands to bf16 (`gddr6-aim`). Below is the smallest cosine of an output with ONNX
Runtime's over all programs and lengths of a graph; the bar is 0.999 for float models.
Weights of the corpus are short in binary, so that bf16 holds them exactly; with other digits behind them, `gemma2`, the
family with the smallest cosine, comes to 0.99969 in place of 0.99971.

**Mixtures of experts** are not continuous: where two experts score alike, any rounding before them may pick the other
one. Their cosine is therefore measured against ONNX Runtime *given the same choices of experts*, and a choice that it
would not have made itself must be a near tie: probabilities at most 2^-8 apart. The column `free` has the cosine
without that. The routers' own products are not the cause, so that keeping them in binary32 would gain nothing: of
42,300 choices by three models, 144 change when all operands are bf16, 140 when all but the routers' are, and 46 when
the routers' alone are (`python -m benchmarks.router_rounding`).

**Integer-quantised graphs** are no float models: bf16 moves values across the steps of their 8-bit codes. They have no
bar here, and pass on `fp32` and, node by node, bit for bit (`tests/models/test_quantised_nodes.py`). For scale:
quantising moved the outputs of `llama-dynamo-qdq` to a cosine of 0.9956 with those of its float original, of
`vit-dynamo-qdq` to 0.9994.
"""


def coverage_document(cells: Sequence[Cell]) -> str:
    """The whole document."""
    plain = [cell for cell in cells if not cell.graph.file.startswith("variants/")]
    variants = [cell for cell in cells if cell.graph.file.startswith("variants/")]
    failed = [cell for cell in cells if not cell.passed]
    parts = [TITLE, _summary(cells), "## Families and exporters\n", _family_table(plain), "## Rewritten graphs\n"]
    parts += [_variant_table(variants)]
    if any(cell.programs_in("machine") for cell in cells):
        parts += [ROUNDING, _rounding_table(cells)]
    parts += [*(["## What fails\n", _failures(failed)] if failed else [])]
    return "\n".join(parts)


def _summary(cells: Sequence[Cell]) -> str:
    attention = sum(min(cell.attention, cell.graph.attention_blocks) for cell in cells)
    blocks = sum(cell.graph.attention_blocks for cell in cells)
    forward = sum(min(cell.feed_forward, cell.graph.feed_forward_blocks) for cell in cells)
    forward_blocks = sum(cell.graph.feed_forward_blocks for cell in cells)
    errors = [cell.worst for cell in cells if cell.passed and cell.graph.relative_tolerance <= 1e-4]
    return (
        f"{sum(cell.passed for cell in cells)} of {len(cells)} graphs pass. Recognised: {attention} of {blocks} "
        f"attentions, {forward} of {forward_blocks} feed-forward blocks. Largest difference of a graph in single "
        f"precision: {max(errors, default=0):.0e}.\n"
    )


def _family_table(cells: Sequence[Cell]) -> str:
    """Modes that pass, by family and exporter; what fails is struck."""
    rows = ["| family | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    ordered = sorted(cells, key=lambda cell: (cell.graph.file.partition("/")[0], cell.graph.family))
    families = list(dict.fromkeys(cell.graph.family for cell in ordered))
    for family in sorted(families):
        own = [cell for cell in cells if cell.graph.family == family]
        columns = [[cell for cell in own if f"{cell.graph.exporter} {cell.graph.opset}" == name] for name in COLUMNS]
        rows.append(f"| {family} | " + " | ".join(_modes(column) for column in columns) + " |")
    return "\n".join(rows) + "\n"


def _modes(cells: Iterable[Cell]) -> str:
    labels = sorted((cell.graph.mode + " eager" * ("-eager" in cell.graph.file), cell.passed) for cell in cells)
    return ", ".join(label if passed else f"~~{label}~~" for label, passed in labels)


def _variant_table(cells: Sequence[Cell]) -> str:
    rows = ["| graph | opset | attention | feed-forward | largest difference | tolerance |", "|---" * 6 + "|"]
    for cell in cells:
        graph = cell.graph
        rows.append(
            f"| {graph.name}{'' if cell.passed else ' (fails)'} | {graph.opset} | "
            f"{cell.attention}/{graph.attention_blocks} | {cell.feed_forward}/{graph.feed_forward_blocks} | "
            f"{cell.worst:.0e} | {graph.relative_tolerance:.0e} |"
        )
    return "\n".join(rows) + "\n"


def _rounding_table(cells: Sequence[Cell]) -> str:
    """One row a graph; the last two columns only where experts are chosen."""
    rows = ["| graph | cosine | free | near ties chosen otherwise |", "|---" * 4 + "|"]
    for cell in cells:
        runs = cell.programs_in("machine")
        if not runs:
            continue
        free, changed = min(run.free_cosine for run in runs), sum(run.changed_choices for run in runs)
        choice = f"{_cosine(free)} | {changed}" if cell.graph.expert_blocks else " | "
        rows.append(f"| {cell.graph.name} | {_cosine(min(run.cosine for run in runs))} | {choice} |")
    return "\n".join(rows) + "\n"


def _cosine(value: float) -> str:
    """Cut, not rounded, so that nothing short of 1 reads as 1."""
    return f"{math.floor(value * 1e5) / 1e5:.5f}"


def _failures(cells: Sequence[Cell]) -> str:
    rows = []
    for reason, group in groupby(sorted(cells, key=lambda cell: cell.reason), key=lambda cell: cell.reason):
        rows.append(f"- {', '.join(cell.graph.name for cell in group)}: {reason}")
    return "\n".join(rows) + "\n"
