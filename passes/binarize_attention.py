"""Attention that scores keys by the signs that they share with the query, as an associative memory does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from isa import UnsupportedError
from passes.explain import record
from passes.ir import Graph, Node
from passes.kv_compression import compressible
from passes.kv_policies import Layer
from passes.kv_policies.cam import AssociativeMemory


@dataclass(frozen=True)
class BinarizeAttention:
    """Let every attention look for its keys in an associative memory.

    Precondition: caches are resident (`kv_cache`).
    Effect: causal attention that appends to its keys and values keeps signs of keys, and attends to the best of the
    best of each tile, as the policy `cam` of the KV cache says; a cache that is compressed already keeps its
    compression. Which attention keeps exact scores, and why, stands in the facts.
    Postcondition: each of these caches has the selection `BinaryKeys`.

    Attributes:
        k: Keys that a query head attends to.
        tile: Keys of a tile.
        tile_top: Keys that a tile passes on.
        bits: Resolution of a match line.
    """

    name: ClassVar[str] = "binarize_attention"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False
    k: int = 32
    tile: int = 16
    tile_top: int = 2
    bits: int = 6

    def run(self, graph: Graph) -> bool:
        """Choose the selection of every cache; returns whether there was one.

        Raises:
            InputError: an option is out of range.
            UnsupportedError: no attention appends to its keys and values from run to run.
        """
        policy = AssociativeMemory(self.k, self.tile, self.tile_top, self.bits)
        nodes = [node for node in compressible(graph) if not node.attributes["window"]]
        left = dict(_exact(graph, nodes))
        if not nodes:
            raise UnsupportedError(
                "the model has no attention whose keys an associative memory could hold",
                notes=[f"'{name}' {reason}" for name, reason in left.items()],
                help="export the model with its past keys and values as inputs and outputs (use_cache=True)",
            )
        changed = False
        for number, node in enumerate(nodes):
            cache = graph.caches[node.attributes["cache"]]
            if cache.is_compressed:
                left[node.name] = "has a KV policy already"
                continue
            layer = Layer(number, len(nodes), cache.head_dim, cache.value_dim)
            graph.caches[cache.name] = replace(cache, compression=policy.compress(layer))
            changed = True
        record(graph, self.name, {"binarised": len(nodes)}, tuple(left.items()))
        return changed


def _exact(graph: Graph, nodes: list[Node]) -> Iterator[tuple[str, str]]:
    """Attention that keeps exact scores, with reasons."""
    for node in graph.nodes:
        if node.op == "attention" or (node.op == "cached_attention" and node not in nodes):
            has_window = node.op == "cached_attention" and node.attributes["window"]
            reason = "has a window of its own" if has_window else "does not append to keys and values of earlier runs"
            yield node.name, reason
