"""Rules on the compression of KV caches."""

from __future__ import annotations

from collections.abc import Iterator

from isa import InputError
from passes.ir import Cache, Graph, Node
from passes.kv_policies import BestPages, Compression, Levelled, Quantized, Ring, Scored, check_combination
from passes.verifier.findings import Finding

_LANES = 16
"""Tokens or channels that a beat of codes holds: groups and pages are multiples of it."""


def cache_findings(graph: Graph) -> Iterator[Finding]:
    """What is wrong with the compressions of the caches; every `cached_attention` must have a cache."""
    for node in graph.nodes:
        if node.op == "cached_attention":
            cache = graph.caches[node.attributes["cache"]]
            if cache.compression is not None:
                yield from (Finding(message, node) for message in _messages(node, cache, cache.compression))


def _messages(node: Node, cache: Cache, compression: Compression) -> Iterator[str]:
    name = f"the compressed cache '{cache.name}'"
    if not node.attributes["causal"] and node.operand(0).shape[1] != 1:
        yield f"{name} belongs to attention that is not causal"
    if node.attributes["window"]:
        yield f"{name} belongs to attention with a window of its own"
    if node.optional(1) is None:
        yield f"nothing is appended to {name}"
    try:
        check_combination(compression)
    except InputError as problem:
        yield f"{name}: {problem.message}"
    for message in (*_retention(compression), *_encoding(compression, cache), *_selection(compression)):
        yield f"{name} {message}"


def _retention(compression: Compression) -> Iterator[str]:
    match compression.retention:
        case Ring(budget, sinks) if not 0 <= sinks < budget:
            yield f"has a budget of {budget} tokens with {sinks} sinks"
        case Scored(budget, interval, protected, queries, kernel, _):
            if interval < 1 or not 0 <= protected <= budget:
                yield f"evicts {interval} tokens, not the latest {protected}, beyond a budget of {budget}"
            if not 0 <= queries <= interval or kernel < 1 or kernel % 2 == 0:
                yield f"scores by {queries} queries and {kernel} neighbours, with {interval} tokens between evictions"
        case _:
            pass


def _encoding(compression: Compression, cache: Cache) -> Iterator[str]:
    match compression.encoding:
        case Quantized(key_bits, value_bits, _, group, width, residual):
            if key_bits not in (16, 8, 4, 2) or value_bits not in (16, 8, 4, 2):
                yield f"has codes of {key_bits} and {value_bits} bits"
            if group < 1 or group % _LANES:
                yield f"has groups of {group} tokens, which is no multiple of {_LANES}"
            elif residual < 0 or residual % group:
                yield f"keeps {residual} tokens exact, which is no multiple of groups of {group}"
            if width < 1 or cache.head_dim % width or cache.value_dim % width:
                yield f"has heads of {cache.head_dim} and {cache.value_dim} elements, no multiples of {width}"
        case Levelled(key_bits, value_bits, _, _, warmup, levels, _):
            if not (2 <= key_bits <= 8 and 2 <= value_bits <= 8) or warmup < 1 or levels < 1:
                yield f"has codes of {key_bits} and {value_bits} bits in {levels} levels after {warmup} tokens"
        case _:
            pass


def _selection(compression: Compression) -> Iterator[str]:
    selection = compression.selection
    if isinstance(selection, BestPages) and (selection.page < 1 or selection.page % _LANES):
        yield f"has pages of {selection.page} tokens, which is no multiple of {_LANES}"
    if selection is not None and selection.count < 1:
        yield f"selects {selection.count} of the tokens"
