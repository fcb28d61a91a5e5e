"""Keys and values that stay in the machine from run to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.explain import record
from passes.ir import Cache, Graph, Node, Value
from passes.matching import Refusal
from passes.rewriting import replace


@dataclass(frozen=True)
class KVCache:
    """Turn every `attention` into `cached_attention` on a resident cache.

    Precondition: attention is fused.
    Effect: past inputs and present outputs leave the graph; their names stand in the cache and their types in the
    signature. An attention without past gets a cache without names, which is empty before each run.
    Postcondition: every `cached_attention` has a cache of its own in `graph.caches`; no `attention` is left, but for
    those listed in the facts.
    """

    name: ClassVar[str] = "kv_cache"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        """Convert every attention; returns whether there was one."""
        counts = {"resident": 0, "transient": 0}
        unfused: list[tuple[str, str]] = []
        for node in graph.nodes:
            if node.op != "attention":
                continue
            try:
                cache = _cache(graph, node)
            except Refusal as refusal:
                unfused.append((node.name, str(refusal)))
                continue
            counts["transient" if cache.past_key is None else "resident"] += 1
            _rewrite(graph, node, cache)
        record(graph, self.name, counts, unfused)
        return any(counts.values())


def _cache(graph: Graph, node: Node) -> Cache:
    kv_heads: int = node.attributes["kv_heads"]
    widths = [value.shape[-1] // node.attributes["heads"] for value in (node.operand(0), node.output)]
    head_dim, value_dim = (width for width in widths if isinstance(width, int))
    past_key, past_value = (_past_name(graph, node.optional(position)) for position in (3, 4))
    present_key, present_value = (_present_name(graph, value) for value in node.outputs[1:])
    name = graph.fresh_name(f"kv{len(graph.caches)}")
    return Cache(name, kv_heads, head_dim, value_dim, past_key, past_value, present_key, present_value)


def _past_name(graph: Graph, past: Value | None) -> str | None:
    if past is None:
        return None
    if past not in graph.inputs:
        raise Refusal("the past is computed in the model instead of being an input")
    if len(past.uses) > 1 or graph.is_output(past):
        raise Refusal(f"the past '{past.name}' is used elsewhere too")
    return past.name


def _present_name(graph: Graph, present: Value) -> str | None:
    if present.uses:
        raise Refusal("the keys or values of all positions are used elsewhere too")
    names = [name for name, value in graph.outputs.items() if value is present]
    if len(names) > 1:
        raise Refusal(f"keys or values are returned as several outputs: {', '.join(names)}")
    return names[0] if names else None


def _rewrite(graph: Graph, node: Node, cache: Cache) -> None:
    graph.caches[cache.name] = cache
    for name in (cache.present_key, cache.present_value):
        if name is not None:
            del graph.outputs[name]
    pasts = [value for value in node.inputs[3:5] if value is not None]
    inputs = [node.optional(position) for position in (0, 1, 2, 5, 6)]
    while inputs[-1] is None:
        inputs.pop()
    attributes = {**node.attributes, "cache": cache.name}
    new = graph.add_node("cached_attention", inputs, [node.output.type], attributes, origins=node.origins)
    replace(graph, node.output, new.output)
    graph.inputs = [value for value in graph.inputs if value not in pasts]
