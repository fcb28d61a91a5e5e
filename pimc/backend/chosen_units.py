"""Which unit the pass `choose_units` chose for a block."""

from __future__ import annotations

from passes import Cache, Graph


def attention_unit(graph: Graph, cache: Cache) -> str:
    """The unit that the attention over a cache runs on: `banks` unless the pass chose another."""
    choice = graph.facts.get("choose_units")
    if choice is None:
        return "banks"
    node = next(node for node in graph.nodes if node.attributes.get("cache") == cache.name)
    return str(choice.units.get(node.name, "banks"))
