"""What the fusion passes found in a model, and what they left with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from passes import Finding, Graph, explain
from pimc.report.quantities import count
from pimc.report.terminal import Terminal

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
    "resident": "keys and values resident from run to run",
    "transient": "keys and values of one run",
    "attention without a cache": "attention expanded, as it gets no cache",
}
"""Patterns in words, where their names do not say it."""
_ALWAYS_SHOWN = ("attention", "plain", "gated")
_SHOWN_NODES = 3


def print_fusion(terminal: Terminal, graph: Graph) -> None:
    """How often each pattern was fused and in which kinds, what was not fused and why, and what the graph is now."""
    findings = explain(graph)
    rows: list[tuple[str, str, str]] = []
    for each in findings:
        if each.fused or each.pattern in _ALWAYS_SHOWN:
            rows.append((_LABELS.get(each.pattern, each.pattern), count(each.fused), each.pass_name))
            rows += [(f"  {kind}", count(number), "") for kind, number in each.details]
    terminal.table("", ("pattern", "fused", "by pass"), rows, right=("fused",))
    _print_left(terminal, findings)
    operations = Counter(node.op for node in graph.nodes).most_common()
    terminal.line()
    terminal.facts("", [("operations now", ", ".join(f"{number} {name}" for name, number in operations))])


def _print_left(terminal: Terminal, findings: Iterable[Finding]) -> None:
    """Nodes that look like a pattern but were not fused, by reason."""
    nodes: dict[tuple[str, str], list[str]] = {}
    for each in findings:
        for node, reason in each.unfused:
            nodes.setdefault((reason, each.pass_name), []).append(node)
    rows = [(reason, count(len(names)), name, _first(names)) for (reason, name), names in nodes.items()]
    if rows:
        terminal.line()
        terminal.table("", ("not fused because", "nodes", "by pass", "which"), rows, right=("nodes",))


def _first(names: list[str]) -> str:
    more = len(names) - _SHOWN_NODES
    return ", ".join(names[:_SHOWN_NODES]) + (f" and {more} more" if more > 0 else "")


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
