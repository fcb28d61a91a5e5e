"""How a KV cache keeps its tokens: one file for each mechanism of `passes.kv_policies.mechanisms`."""

from __future__ import annotations

from isa import Place, UnsupportedError
from passes import Cache, Compression, Node, Ring, Scored
from pimc.backend.caches.keep_all import CacheIndex, KeepAll
from pimc.backend.caches.ring import RingCache
from pimc.backend.caches.scored import ScoredCache

__all__ = [
    "CacheIndex",
    "KeepAll",
    "RingCache",
    "ScoredCache",
    "compression_problem",
    "is_compressed",
    "mechanism_of",
]


def is_compressed(cache: Cache) -> bool:
    """Whether the cache leaves out or rounds anything."""
    return cache.compression not in (None, Compression())


def compression_problem(node: Node, cache: Cache) -> str | None:
    """Why there is no code for an attention over a compressed cache, `None` when there is."""
    if not is_compressed(cache):
        return None
    if not node.attributes["causal"] or node.optional(1) is None:
        return "only a causal attention to the tokens so far can compress its cache"
    if node.attributes["window"]:
        return f"its own window of {node.attributes['window']} tokens and a compressed cache do not go together"
    if node.optional(4) is not None:
        return "its bias says something about positions that a compressed cache does not keep"
    if node.operand(0).shape[0] != 1:
        return "a compressed cache takes one sequence: give --dim batch=1"
    return None


def mechanism_of(cache: Cache) -> KeepAll:
    """The code of a cache's compression; raises `UnsupportedError` when there is none."""
    match cache.compression:
        case None | Compression(None, None, None):
            return KeepAll()
        case Compression(Ring() as ring, None, None):
            return RingCache(ring)
        case Compression(Scored() as scored, None, None):
            return ScoredCache(scored)
        case chosen:
            parts = (chosen.retention, chosen.encoding, chosen.selection)
            raise UnsupportedError(
                "there is no code for this compression of the KV cache",
                Place(node=cache.name),
                notes=[repr(part) for part in parts if part is not None],
                help="eviction has code on its own: window, h2o, tova, snapkv, pyramidkv",
            )
