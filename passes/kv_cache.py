"""Keys and values that stay in the machine from run to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from passes.explain import record
from passes.ir import Cache, Graph, Node, Value
from passes.recognition.matching import Refusal, without_casts
from passes.rewriting import prune, replace


@dataclass(frozen=True)
class KVCache:
    """Turn every `attention` into `cached_attention` on a resident cache.

    Precondition: attention is fused.
    Effect: past inputs and present outputs leave the graph; their names stand in the cache and their types in the
    signature. An attention without past gets a cache without names, which is empty before each run; one
    over keys that are all past (what an encoder left) gets one that nothing is appended to.
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
    is_read_only = node.optional(1) is None
    pasts = [node.optional(position) for position in (3, 4)]
    past_key, past_value = (_past_name(graph, past, is_read_only) for past in pasts)
    present_key, present_value = (
        _present_name(graph, value, past if is_read_only else None)
        for value, past in zip(node.outputs[1:], pasts, strict=True)
    )
    name = graph.fresh_name(f"kv{len(graph.caches)}")
    return Cache(name, kv_heads, head_dim, value_dim, past_key, past_value, present_key, present_value)


def _past_input(past: Value) -> Value:
    """The past before conversions between floating-point types: the cache has a type of its own."""
    return without_casts(past)


def _past_name(graph: Graph, past: Value | None, is_read_only: bool) -> str | None:
    if past is None:
        return None
    given = _past_input(past)
    if given not in graph.inputs:
        raise Refusal("the past is computed in the model instead of being an input")
    if len(given.uses) > 1 or len(past.uses) > 1 or (graph.is_output(given) and not is_read_only):
        raise Refusal(f"the past '{given.name}' is used elsewhere too")
    return given.name


def _present_name(graph: Graph, present: Value, past: Value | None) -> str | None:
    names = [name for value in _returned(present, past) for name in _names(graph, value)]
    if any(user.op != "cast" or user.output.uses or not _names(graph, user.output) for user in present.users):
        raise Refusal("the keys or values of all positions are used elsewhere too")
    if len(names) > 1:
        raise Refusal(f"keys or values are returned as several outputs: {', '.join(names)}")
    return names[0] if names else None


def _returned(present: Value, past: Value | None) -> list[Value]:
    """Values that hold the present: itself, conversions of it, and the past where nothing is appended to it."""
    converted = [user.output for user in present.users if user.op == "cast"]
    return [present, *converted, *([] if past is None else [_past_input(past)])]


def _names(graph: Graph, value: Value) -> list[str]:
    return [name for name, output in graph.outputs.items() if output is value]


def _rewrite(graph: Graph, node: Node, cache: Cache) -> None:
    graph.caches[cache.name] = cache
    for name in (cache.present_key, cache.present_value):
        if name is not None:
            del graph.outputs[name]
    for user in [user for value in node.outputs[1:] for user in value.users]:
        prune(graph, user)
    pasts = [_past_input(value) for value in node.inputs[3:5] if value is not None]
    inputs = [node.optional(position) for position in (0, 1, 2, 5, 6)]
    while inputs[-1] is None:
        inputs.pop()
    attributes = {**node.attributes, "cache": cache.name}
    new = graph.add_node("cached_attention", inputs, [node.output.type], attributes, origins=node.origins)
    replace(graph, node.output, new.output)
    graph.inputs = [value for value in graph.inputs if value not in pasts]
