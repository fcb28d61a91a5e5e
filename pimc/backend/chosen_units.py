"""Which unit the pass `choose_units` chose for a block."""

from __future__ import annotations

from passes import Cache, Graph, UnitChoice


def attention_unit(graph: Graph, cache: Cache) -> str:
    """The unit that the attention over a cache runs on: `banks` unless the pass chose another."""
    choice: UnitChoice = graph.facts.get("choose_units", UnitChoice())
    return choice.of(next(node for node in graph.nodes if node.attributes.get("cache") == cache.name))
