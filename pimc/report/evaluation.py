"""An evaluation of KV-cache policies as tables and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator

from pimc.evaluation.results import Evaluation, PolicyResult
from pimc.report.quantities import byte_size, count, percent, with_unit
from pimc.report.terminal import Terminal

_CSV_COLUMNS = (
    "policy",
    "perplexity",
    "perplexity_change",
    "kv_bytes_per_token",
    "kv_ratio",
    "context",
    "timing_only",
    "tokens_per_s",
    "speedup",
    "energy_j_per_token",
    "kv_bytes_moved_per_token",
)


def print_evaluation(terminal: Terminal, evaluation: Evaluation) -> None:
    """What was read; accuracy and memory of each policy; time and energy at each context; where the time went."""
    for line in _heading(evaluation):
        terminal.paragraph(line)
    terminal.line()
    _print_accuracy(terminal, evaluation)
    terminal.line()
    if evaluation.attention:
        _print_attention(terminal, evaluation)
        terminal.line()
    _print_costs(terminal, evaluation)
    terminal.line()
    _print_units(terminal, evaluation)


def _heading(evaluation: Evaluation) -> Iterator[str]:
    facts = evaluation.facts
    text = facts["text"]
    yield f"{facts['model']} on {facts['machine']}, numerics {facts['numerics']}"
    size, stride, number = text["window"], text["stride"], text["windows"]
    windows = f"{number} window{'s' if number > 1 else ''} of {size} tokens"
    if number > 1 and stride != size:
        windows += f", each {stride} tokens further"
    scored = "all but the first of each window" if stride == size else "each once, all but the very first"
    yield f"{text['file']}: {windows}, {count(text['scored_tokens'])} tokens scored ({scored})"


def _print_accuracy(terminal: Terminal, evaluation: Evaluation) -> None:
    columns = ("policy", "perplexity", "change", "KV bytes/token", "ratio", "tokens kept")
    rows = [_accuracy_row(evaluation, result) for result in evaluation.policies]
    if evaluation.reference is not None:
        change = percent_change(evaluation.reference / evaluation.baseline.perplexity - 1)
        rows.insert(0, ("ONNX Runtime, binary32", f"{evaluation.reference:.4f}", change, "", "", ""))
    terminal.table("", columns, rows, right=columns[1:])


def _accuracy_row(evaluation: Evaluation, result: PolicyResult) -> tuple[str, ...]:
    change = "" if result is evaluation.baseline else percent_change(evaluation.perplexity_change(result))
    return (
        result.label,
        f"{result.perplexity:.4f}",
        change,
        count(round(result.cache_bytes_per_token)),
        f"{result.compression_ratio:.2f}",
        count(max(each.tokens_kept for each in result.windows)),
    )


def _print_attention(terminal: Terminal, evaluation: Evaluation) -> None:
    """How much of exact attention is left to policies that select keys."""
    columns = ("policy", "best keys found", "their weight", "error of the result", "in the worst layer")
    labels = {result.policy: result.label for result in evaluation.policies}
    rows = [
        (
            labels[policy],
            percent(error.total.recall),
            percent(error.total.weight),
            percent(error.total.relative_error),
            percent(error.worst.relative_error),
        )
        for policy, error in evaluation.attention.items()
    ]
    terminal.table("", columns, rows, right=columns[1:])


def percent_change(share: float) -> str:
    """A change as a share of one: 0.0123 gives "+1.23 %"."""
    return f"{100 * share:+.2f} %" if math.isfinite(share) else "-"


def _print_costs(terminal: Terminal, evaluation: Evaluation) -> None:
    columns = ("context", "policy", "tokens/s", "against none", "energy/token", "KV moved/token")
    rows = [_cost_row(evaluation, result, context) for context in evaluation.contexts for result in evaluation.policies]
    terminal.table("", columns, rows, right=("context", *columns[2:]))
    if any(not result.is_measured(context) for result in evaluation.policies for context in evaluation.contexts):
        terminal.line("* without data: the policy's declared densities stand for what it would keep")


def _cost_row(evaluation: Evaluation, result: PolicyResult, context: int) -> tuple[str, ...]:
    cost, plain = result.cost(context), evaluation.baseline.cost(context)
    is_plain = result is evaluation.baseline
    return (
        f"{context}{' ' if result.is_measured(context) else '*'}",
        result.label,
        f"{cost.tokens_per_s:,.0f}",
        "" if is_plain else f"{cost.tokens_per_s / plain.tokens_per_s:.3f}",
        with_unit(cost.energy_j_per_token, "J"),
        byte_size(round(cost.cache_bytes_moved_per_token)),
    )


def _print_units(terminal: Terminal, evaluation: Evaluation) -> None:
    """Share of the time in which each unit worked, at the longest context that was measured."""
    context = evaluation.longest_measured
    units = dict.fromkeys(unit for result in evaluation.policies for unit in result.cost(context).busy_s)
    columns = (f"busy at {context} tokens", *units)
    rows = []
    for result in evaluation.policies:
        shares = result.cost(context).busy_shares
        rows.append((result.label, *(percent(shares.get(unit)) for unit in units)))
    terminal.table("", columns, rows, right=columns[1:])


def evaluation_csv(evaluation: Evaluation) -> str:
    """A line for each policy and context; units in the names of the columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for policy in evaluation.to_json()["policies"]:
        for context in policy["contexts"]:
            line = {**policy, **context}
            writer.writerow([line[column] for column in _CSV_COLUMNS])
    return text.getvalue()
