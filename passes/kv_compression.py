"""The choice of what every KV cache leaves out or rounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import ClassVar

from isa import UnsupportedError
from passes.explain import explain, record
from passes.ir import Cache, Graph, Node
from passes.kv_policies import KvSpecification, Layer, clause_of, parse_kv, resolve

_SHOWN = 3
"""Nodes of which a refusal says why they did not become a cache."""


@dataclass(frozen=True)
class KVCompression:
    """Let policies choose what each KV cache keeps, and in which form.

    Precondition: caches are resident (`kv_cache`).
    Effect: the mechanisms of the layer's policies stand in `Cache.compression`. Layers are counted over causal
    attention that appends to its keys and values from run to run; of these, one with a window of its own stays exact,
    and so do the keys and values of an encoder. Every policy by layer, and what stays exact, stand in the facts.
    Postcondition: each compression is one that the cache's shape allows.

    Attributes:
        policies: The specification, or its text, as in `kivi:bits=4 ; none @ 0-1`.
    """

    name: ClassVar[str] = "kv_compression"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False
    policies: KvSpecification | str = "none"

    def run(self, graph: Graph) -> bool:
        """Choose the compression of every cache; returns whether one of them compresses.

        Raises:
            UnsupportedError: no attention keeps keys and values from run to run, or all that policies are for have
                windows of their own.
            InputError: the specification is refused.
        """
        specification = parse_kv(self.policies) if isinstance(self.policies, str) else self.policies
        nodes = compressible(graph)
        if not nodes:
            raise _nothing_to_compress(graph)
        caches = [graph.caches[node.attributes["cache"]] for node in nodes]
        layers = [Layer(i, len(caches), cache.head_dim, cache.value_dim) for i, cache in enumerate(caches)]
        windows = {i for i, node in enumerate(nodes) if node.attributes["window"]}
        wanted = resolve(specification, layers)
        found = [None if i in windows else each for i, each in enumerate(wanted)]
        if any(wanted) and not any(found):
            raise _only_windows(len(windows))
        for cache, compression in zip(caches, found, strict=True):
            graph.caches[cache.name] = replace(cache, compression=compression)
        texts = [clause.text if (clause := clause_of(specification, i)) else "none" for i in range(len(caches))]
        chosen = ["none (a window of its own)" if i in windows else text for i, text in enumerate(texts)]
        record(graph, self.name, _patterns(chosen, [repr(each) for each in found]), ())
        graph.facts[self.name]["layers"] = {cache.name: text for cache, text in zip(caches, chosen, strict=True)}
        graph.facts[self.name]["details"] = _exact(graph, caches)
        return any(found)


def compressible(graph: Graph) -> list[Node]:
    """Causal attention that appends to keys and values which stay from run to run: the layers that policies count."""
    return [node for node in graph.nodes if node.op == "cached_attention" and _is_layer(graph, node)]


def _is_layer(graph: Graph, node: Node) -> bool:
    cache = graph.caches[node.attributes["cache"]]
    is_kept = cache.past_key is not None or cache.present_key is not None
    is_causal = node.attributes["causal"] or node.operand(0).shape[1] == 1
    return is_kept and is_causal and node.optional(1) is not None


def _nothing_to_compress(graph: Graph) -> UnsupportedError:
    return UnsupportedError(
        "the model has no KV cache that a policy could compress",
        notes=[*(f"{count} {what}" for what, count in _exact(graph, []).items()), *islice(_left(graph), _SHOWN)],
        help="export the model with its past keys and values as inputs and outputs (use_cache=True)",
    )


def _only_windows(count: int) -> UnsupportedError:
    return UnsupportedError(
        f"each of the {count} layers that the policies are for attends to a window of its own",
        notes=["a layer with a window forgets tokens by itself and stays exact"],
        help="leave the policies out, or export the model without its window",
    )


def _left(graph: Graph) -> Iterator[str]:
    """Attention that did not become resident, with reasons."""
    for finding in explain(graph):
        if finding.pass_name in ("fuse_attention", "kv_cache"):
            yield from (f"{finding.pass_name} left '{node}': {reason}" for node, reason in finding.unfused)


def _exact(graph: Graph, layers: Sequence[Cache]) -> dict[str, int]:
    """How many caches no policy is asked about, by reason."""
    counts: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "cached_attention" and node.attributes["cache"] not in {cache.name for cache in layers}:
            cache = graph.caches[node.attributes["cache"]]
            kept = cache.past_key is not None or cache.present_key is not None
            reason = "caches that nothing is appended to, exact" if kept else "caches of a single run, exact"
            counts[reason] = counts.get(reason, 0) + 1
    return counts


def _patterns(texts: Sequence[str], mechanisms: Sequence[str]) -> dict[str, int]:
    """Number of layers by the layers and policies in words; layers with the same mechanisms stand together."""
    groups: dict[tuple[str, str], list[int]] = {}
    for layer, pair in enumerate(zip(texts, mechanisms, strict=True)):
        groups.setdefault(pair, []).append(layer)
    return {
        f"{text} in layer{'s' if len(numbers) > 1 else ''} {', '.join(_ranges(numbers))}": len(numbers)
        for (text, _), numbers in groups.items()
    }


def _ranges(numbers: Iterable[int]) -> Iterator[str]:
    """Ascending numbers as `0-3`, `7`."""
    for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}"
