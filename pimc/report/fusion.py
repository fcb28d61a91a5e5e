"""What the fusion passes found in a model, and what they left with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from passes import ChooseUnits, Finding, Graph, PassReport, explain
from pimc.report.quantities import count
from pimc.report.terminal import Terminal
from pimc.report.units import print_units

_LABELS = {
    "layer_norm": "layer norm, spelled out",
    "rms_norm": "RMS norm, spelled out",
    "gelu": "gelu (erf), spelled out",
    "gelu_tanh": "gelu (tanh), spelled out",
    "silu": "silu, spelled out",
    "linear": "linear map",
    "bias": "bias of a linear map",
    "rotary": "rotary embedding",
    "plain": "feed-forward block",
    "gated": "gated feed-forward block",
    "experts": "block that chooses among experts (not one node)",
    "expert_linear": "linear map of the chosen expert",
    "divided projections": "joint projection divided by columns",
    "projections of one value": "projections joined for an attention",
    "rotary embeddings of query and key": "rotary embeddings joined",
    "resident": "keys and values kept from run to run",
    "transient": "keys and values kept for one run",
    "attention without a cache": "attention expanded, as it gets no cache",
}
"""Patterns in words, where their names do not say it."""
_ALWAYS_SHOWN = ("attention", "plain", "gated")
_LONGEST_KIND = 40
"""Characters of a kind that stands in the table; a longer one is a sentence and gets a line of its own."""


def print_fusion(terminal: Terminal, graph: Graph) -> None:
    """How often each pattern was fused and in which kinds, what was not fused and why, and what the graph is now."""
    findings = explain(graph)
    shown = [each for each in findings if each.fused or each.pattern in _ALWAYS_SHOWN]
    print_patterns(terminal, shown)
    print_unfused(terminal, findings)
    operations = Counter(node.op for node in graph.nodes).most_common()
    terminal.line()
    terminal.facts("", [("operations now", ", ".join(f"{number} {name}" for name, number in operations))])


def print_patterns(terminal: Terminal, findings: Iterable[Finding]) -> None:
    """How often each pattern was fused, and in which kinds."""
    rows: list[tuple[str, str, str]] = []
    sentences: list[str] = []
    for each in findings:
        label = _LABELS.get(each.pattern, each.pattern)
        rows.append((label, count(each.fused), each.pass_name))
        rows += [(f"  {kind}", count(number), "") for kind, number in each.details if len(kind) <= _LONGEST_KIND]
        long = [(kind, number) for kind, number in each.details if len(kind) > _LONGEST_KIND]
        sentences += [f"{label}: {kind}{'' if number == 1 else f' ({count(number)} times)'}" for kind, number in long]
    terminal.table("", ("pattern", "fused", "by pass"), rows, right=("fused",))
    for sentence in sentences:
        terminal.paragraph(sentence, "  ")


def print_unfused(terminal: Terminal, findings: Iterable[Finding], most: int | None = None) -> None:
    """Nodes that look like a pattern but were not fused, under the reason; they are computed operation by operation.

    Args:
        terminal: Where to print.
        findings: Of the passes.
        most: Nodes shown of each reason; `None` shows all.
    """
    nodes: dict[tuple[str, str], list[str]] = {}
    for each in findings:
        for node, reason in each.unfused:
            nodes.setdefault((each.pass_name, reason), []).append(node)
    for (pass_name, reason), names in nodes.items():
        terminal.line()
        terminal.paragraph(f"not fused by {pass_name}, {count(len(names))}: {reason}")
        for name in names[:most]:
            terminal.line(f"  {name}")
        if len(names) > len(names[:most]):
            terminal.line(f"  and {count(len(names) - len(names[:most]))} more: pimc inspect lists them")
    if nodes:
        terminal.line("these nodes are computed operation by operation: slower, with the same results")


def print_explanation(
    terminal: Terminal, pass_name: str, reports: Iterable[PassReport], graphs: Iterable[Graph]
) -> None:
    """What one pass did to the graphs of a compilation: nodes before and after each run, what it fused and left."""
    terminal.line()
    if pass_name == ChooseUnits.name:
        terminal.line(f"{pass_name}:")
        print_units(terminal, graphs)
        return
    for report in reports:
        if report.name == pass_name:
            effect = f"{report.nodes_before} -> {report.nodes_after} nodes" if report.changed else "no change"
            terminal.line(f"{pass_name}: {effect}")
    findings = [each for graph in graphs for each in explain(graph) if each.pass_name == pass_name]
    if findings:
        terminal.line()
        print_patterns(terminal, findings)
        print_unfused(terminal, findings)


def fusion_facts(graph: Graph) -> dict[str, Any]:
    """The same as JSON values."""
    findings = explain(graph)
    return {
        "graph_operations": dict(Counter(node.op for node in graph.nodes)),
        "fused": [
            {"pass": each.pass_name, "pattern": each.pattern, "count": each.fused, "details": dict(each.details)}
            for each in findings
        ],
        "unfused": unfused_facts(findings),
    }


def unfused_facts(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Nodes that look like a pattern but were not fused, with reasons, as JSON values."""
    return [
        {"pass": each.pass_name, "node": node, "reason": reason} for each in findings for node, reason in each.unfused
    ]
