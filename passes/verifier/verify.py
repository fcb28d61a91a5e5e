"""The check that a graph is well formed and legal at its level."""

from __future__ import annotations

from isa import GraphError, Place
from passes.ir import Graph
from passes.ops import OPS
from passes.verifier.attributes import attribute_findings
from passes.verifier.caches import cache_findings
from passes.verifier.findings import Finding
from passes.verifier.structure import structure_findings
from passes.verifier.types import type_findings

_FUSED_ONLY = {"linear", "expert_linear", "rotary", "attention", "cached_attention", "feed_forward"}

LEVELS: dict[str, frozenset[str]] = {
    "imported": frozenset(OPS) - _FUSED_ONLY,
    "fused": frozenset(OPS),
    "placed": frozenset(OPS) - {"identity"},
}
"""Operations that are legal at each level: as imported, after fusion, and when the backend takes the graph."""


def verify(graph: Graph, level: str = "fused") -> None:
    """Check a graph: operations and attributes, def-use lists, names, types by rules of their own, caches.

    Args:
        graph: The graph.
        level: A key of `LEVELS`.

    Raises:
        GraphError: The graph breaks a rule. The message is the first finding, the place its ONNX node, the notes are
            all further findings.
    """
    findings = [*structure_findings(graph)]
    if not findings:
        findings = [*_level_findings(graph, level), *attribute_findings(graph)]
    if not findings:
        findings = [*type_findings(graph), *cache_findings(graph)]
    if findings:
        first, *others = findings
        place = Place(graph.name, node=first.node.origins[0] if first.node and first.node.origins else None)
        raise GraphError(str(first), place, [str(finding) for finding in others])


def _level_findings(graph: Graph, level: str) -> list[Finding]:
    legal = LEVELS[level]
    return [
        Finding(f"the operation is not legal at level '{level}'", node)
        for node in graph.nodes
        if node.op in OPS and node.op not in legal
    ]
