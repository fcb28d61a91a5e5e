"""What the fusion passes found and what they left, with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from passes.ir import Graph


@dataclass(frozen=True)
class Finding:
    """One line of the explanation.

    Attributes:
        pass_name: The pass.
        pattern: What it looked for.
        fused: How often it fused it.
        unfused: (node, reason) of everything that looked like it but was not.
        details: (kind, number) of the fused ones where there are several kinds, and what else is to be said of them.
    """

    pass_name: str
    pattern: str
    fused: int
    unfused: tuple[tuple[str, str], ...]
    details: tuple[tuple[str, int], ...] = ()


def record(graph: Graph, pass_name: str, fused: Mapping[str, int], unfused: Sequence[tuple[str, str]] = ()) -> None:
    """Write to `graph.facts[pass_name]`: counts add up over runs of the pass, `unfused` is that of the last run.

    Entries of `unfused` without a reason are left out: they only looked like the pattern.
    """
    earlier: Mapping[str, int] = graph.facts.get(pass_name, {}).get("fused", {})
    counts = {pattern: earlier.get(pattern, 0) + fused.get(pattern, 0) for pattern in {**earlier, **fused}}
    graph.facts[pass_name] = {"fused": counts, "unfused": [(node, reason) for node, reason in unfused if reason]}


def explain(graph: Graph) -> tuple[Finding, ...]:
    """Findings of all fusion passes that ran, in the order of their first run.

    Reasons and details stand with the first pattern of a pass.
    """
    findings: list[Finding] = []
    for pass_name, facts in graph.facts.items():
        if not _is_of_fusion(facts):
            continue
        fused: dict[str, int] = facts["fused"]
        unfused: tuple[tuple[str, str], ...] = tuple(facts["unfused"])
        details = tuple(pair for key in _DETAILS for pair in facts.get(key, {}).items())
        for pattern, count in fused.items():
            findings.append(Finding(pass_name, pattern, count, unfused, details))
            unfused, details = (), ()
    return tuple(findings)


_DETAILS = ("masks", "biases", "details")


def _is_of_fusion(facts: Any) -> bool:
    return isinstance(facts, dict) and {"fused", "unfused"} <= facts.keys() and isinstance(facts["fused"], dict)


_COUNTED = {
    "attention": ("attention",),
    "feed_forward": ("plain", "gated"),
    "experts": ("experts",),
    "norm": ("layer_norm", "rms_norm"),
    "rotary": ("rotary",),
    "cache": ("resident",),
}


def recognised_counts(graph: Graph) -> dict[str, int]:
    """How many blocks of each kind the fusion passes found.

    Returns:
        Counts of `attention`, `feed_forward` (with one choice of weights), `experts` (feed-forward blocks that choose
        among experts, which stay operation by operation), `norm` (spelled-out ones), `rotary` and `cache` (resident
        keys and values that the model takes as inputs).
    """
    found: Counter[str] = Counter()
    for finding in explain(graph):
        found[finding.pattern] += finding.fused
    return {kind: sum(found[pattern] for pattern in patterns) for kind, patterns in _COUNTED.items()}
