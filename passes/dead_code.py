"""Removal of nodes whose results nobody needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.ir import Graph
from passes.rewriting import ancestors


@dataclass(frozen=True)
class DeadCode:
    """Remove nodes that no graph output depends on.

    Precondition: none.
    Effect: removes nodes; graph inputs stay, used or not.
    Postcondition: every node is needed for a graph output. `cached_attention` has no effect beyond its result that an
    output could depend on without using it, except for the cache, so it stays in any case.
    """

    name: ClassVar[str] = "dead_code"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        """Remove dead nodes; returns whether there were any."""
        nodes = graph.nodes
        resident = [node.output for node in nodes if node.op == "cached_attention"]
        alive = ancestors([*graph.outputs.values(), *resident])
        dead = [node for node in reversed(nodes) if node not in alive]
        for node in dead:
            graph.remove(node)
        return bool(dead)
