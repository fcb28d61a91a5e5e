"""How a KV cache keeps its tokens: one file for each mechanism of `passes.kv_policies.mechanisms`."""

from __future__ import annotations

from isa import Place, UnsupportedError
from passes import Cache
from passes.kv_policies.mechanisms import Compression, Ring, Scored
from pimc.backend.caches.keep_all import CacheIndex, KeepAll
from pimc.backend.caches.ring import RingCache
from pimc.backend.caches.scored import ScoredCache

__all__ = ["CacheIndex", "KeepAll", "RingCache", "ScoredCache", "mechanism_of"]


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
