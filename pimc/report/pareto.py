"""The picture of an evaluation: perplexity against memory and against energy, as SVG, HTML or PNG."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from pimc.evaluation.results import Evaluation
from pimc.report.axes import unit_of
from pimc.report.pictures import svg_document, write_picture
from pimc.report.quantities import count, with_unit
from pimc.report.tradeoff import HEIGHT, STYLE, WIDTH, Point, panel


def evaluation_svg(evaluation: Evaluation) -> str:
    """Two panels: perplexity against the size of the cache, and against energy at the longest measured context."""
    context = evaluation.longest_measured
    results = [result for result in evaluation.policies if math.isfinite(result.perplexity)]
    unit, factor = unit_of([each.cost(context).energy_j_per_token for each in results], "J")
    sizes = [
        Point(each.label, size, each.perplexity, f"{count(round(size))} B/token, perplexity {each.perplexity:.4f}")
        for each in results
        for size in [each.cache_bytes_per_token]
    ]
    energies = [
        Point(
            each.label,
            joules * factor,
            each.perplexity,
            f"{with_unit(joules, 'J')}/token, perplexity {each.perplexity:.4f}",
        )
        for each in results
        for joules in [each.cost(context).energy_j_per_token]
    ]
    energy = f"{unit} a token at a context of {context}"
    panels = [
        panel(0, "Perplexity against memory", ("KV cache, bytes a token", "perplexity"), sizes),
        panel(WIDTH, "Perplexity against energy", (energy, "perplexity"), energies),
    ]
    return svg_document(2 * WIDTH, HEIGHT, panels, STYLE)


def evaluation_html(evaluation: Evaluation) -> str:
    """A page with the picture and the figures, without anything from outside."""
    names = (
        "policy",
        "perplexity",
        "change",
        "KV bytes/token",
        "ratio",
        "context",
        "tokens/s",
        "J/token",
        "KV moved/token",
    )
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "\n".join(_html_row(policy, context) for policy, context in _lines(evaluation))
    title = escape(f"KV-cache policies: {evaluation.facts['model']} on {evaluation.facts['machine']}")
    style = (
        "body{font:14px sans-serif;margin:2em}td,th{padding:2px 12px;text-align:right}td:first-child{text-align:left}"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{style}</style></head>"
        f"\n<body><h1>{title}</h1>\n{evaluation_svg(evaluation)}<table><tr>{head}</tr>\n{rows}\n</table></body></html>\n"
    )


def _lines(evaluation: Evaluation) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for policy in evaluation.to_json()["policies"]:
        yield from ((policy, context) for context in policy["contexts"])


def _html_row(policy: dict[str, Any], context: dict[str, Any]) -> str:
    cells = (
        policy["policy"],
        f"{policy['perplexity']:.4f}" if policy["perplexity"] is not None else "-",
        f"{policy['perplexity_change']:+.2%}" if policy["perplexity_change"] is not None else "-",
        count(round(policy["kv_bytes_per_token"])),
        f"{policy['kv_ratio']:.2f}",
        f"{context['context']}{'*' if context['timing_only'] else ''}",
        count(round(context["tokens_per_s"])),
        with_unit(context["energy_j_per_token"], "J"),
        count(round(context["kv_bytes_moved_per_token"])),
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def write_plot(path: str | Path, evaluation: Evaluation) -> None:
    """Write the picture in the form that the name's ending asks for.

    Raises:
        MissingPackageError: PNG needs a package that is not installed.
        InputError: the file cannot be written.
    """
    write_picture(path, evaluation_svg(evaluation), evaluation_html(evaluation))
