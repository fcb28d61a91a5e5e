"""Which code a compressed KV cache has, and where there is none."""

from __future__ import annotations

from isa import Place, UnsupportedError
from passes import BestKeys, BestPages, BinaryKeys, Cache, Compression, Levelled, Node, Quantized, Ring, Scored
from pimc.backend.caches.keep_all import KeepAll
from pimc.backend.caches.levelled import LevelledCache
from pimc.backend.caches.pages import BestPagesSelection
from pimc.backend.caches.quantized import QuantizedCache
from pimc.backend.caches.quantized_ring import QuantizedRingCache
from pimc.backend.caches.ring import RingCache
from pimc.backend.caches.scored import ScoredCache
from pimc.backend.caches.selection import AllTokens, BestKeysSelection, BinaryKeysSelection

_BEAT = 16
"""Codes that a bank multiplies at once."""
_MOST_LEVELS = 255
_MOST_WARMUP = 2032
_MOST_CHANNELS = 65535


def compression_problem(node: Node, cache: Cache, has_computed_mask: bool) -> str | None:
    """Why there is no code for an attention over a compressed cache, `None` when there is.

    Args:
        node: The attention.
        cache: Its cache.
        has_computed_mask: Whether the model computes a key mask, so that the host cannot tell that it excludes nothing.
    """
    if not cache.is_compressed:
        return None
    if not node.attributes["causal"] or node.optional(1) is None:
        return "only a causal attention to the tokens so far can compress its cache"
    if node.attributes["window"]:
        return f"its own window of {node.attributes['window']} tokens and a compressed cache do not go together"
    if node.optional(4) is not None:
        return "its bias says something about positions that a compressed cache does not keep"
    if node.operand(0).shape[0] != 1:
        return "a compressed cache takes one sequence: give --dim batch=1"
    if has_computed_mask and not _keeps_positions(cache):
        return "the model computes its mask, and the compressed cache does not keep positions in order"
    problem = _selection_problem(node, cache)
    if problem is not None:
        return problem
    encoding = cache.compression and cache.compression.encoding
    if isinstance(encoding, Levelled):
        return _levelled_problem(cache, encoding)
    if isinstance(encoding, Quantized):
        return _quantized_problem(cache, encoding)
    return None


def _keeps_positions(cache: Cache) -> bool:
    """Whether scores stand in the order of positions, as masks do."""
    match cache.compression:
        case None | Compression(None, None, None | BestKeys() | BinaryKeys()):
            return True
        case _:
            return False


def _selection_problem(node: Node, cache: Cache) -> str | None:
    """What cannot be told from the scores."""
    match cache.compression:
        case Compression(_, Levelled(), BestKeys() | BinaryKeys()):
            return "records are unpacked tile by tile, so that nothing sees all scores of a query"
        case Compression(_, Quantized() | Levelled(), BestPages()):
            return "the banks read codes of all slots, not only of those with chosen pages"
        case Compression(_, Quantized(), BinaryKeys()):
            return "signs of keys take the place of keys in the banks, which cannot be quantised as well"
        case Compression(_, _, BinaryKeys()) if node.attributes["softcap"] or node.attributes["scale"] <= 0:
            return "the codes of match lines are ranked as they are: no soft cap and no scale below zero goes with them"
        case Compression(_, _, BestPages()) if node.attributes["softcap"] or node.attributes["scale"] <= 0:
            return "pages that are not read have the lowest score: no soft cap and no scale below zero goes with that"
        case _:
            return None


def _quantized_problem(cache: Cache, encoding: Quantized) -> str | None:
    """What codes in the banks cannot be."""
    if 16 in (encoding.key_bits, encoding.value_bits):
        return "keys and values are either both quantised or both exact"
    for width in (cache.head_dim, cache.value_dim):
        if width % _BEAT:
            return f"heads of {width} channels do not fill beats of {_BEAT} codes"
    ring = cache.compression and cache.compression.retention
    exact = encoding.residual + encoding.group
    if isinstance(ring, Ring) and ring.budget - ring.sinks < exact:
        return (
            f"a window of {ring.budget - ring.sinks} tokens behind the sinks has no room for {exact} exact ones"
            f" ({encoding.residual} and a group): give budget={ring.sinks + exact} or more, or a smaller residual"
        )
    return None


def _levelled_problem(cache: Cache, encoding: Levelled) -> str | None:
    """Bounds of the operands of the instructions for records."""
    channels = cache.kv_heads * (cache.head_dim + cache.value_dim)
    bounds = (
        ("levels of a channel", encoding.levels, _MOST_LEVELS),
        ("tokens of a warm-up", encoding.warmup, _MOST_WARMUP),
        ("channels of a token", channels, _MOST_CHANNELS),
    )
    beyond = [(what, number, most) for what, number, most in bounds if number > most]
    return "; ".join(f"there are {number} {what}; allowed: {most}" for what, number, most in beyond) or None


def mechanism_of(cache: Cache) -> KeepAll:
    """The code of a cache's compression; raises `UnsupportedError` when there is none."""
    compression = cache.compression or Compression()
    match (compression.retention, compression.encoding):
        case None, None:
            return KeepAll()
        case Ring() as ring, None:
            return RingCache(ring)
        case Scored() as scored, None:
            return ScoredCache(scored)
        case None, Quantized() as quantized:
            return QuantizedCache(quantized)
        case Ring() as ring, Quantized() as quantized:
            return QuantizedRingCache(quantized, ring)
        case None, Levelled() as levelled:
            return LevelledCache(levelled)
        case chosen:
            raise UnsupportedError(
                "there is no code for this compression of the KV cache",
                Place(node=cache.name),
                notes=[repr(part) for part in chosen if part is not None],
                help="give eviction or codes alone, or codes of a window",
            )


def selection_of(cache: Cache) -> AllTokens:
    """The code of a cache's selection."""
    compression = cache.compression or Compression()
    match compression.selection:
        case None:
            return AllTokens()
        case BestKeys() as chosen:
            return BestKeysSelection(chosen)
        case BinaryKeys() as chosen:
            return BinaryKeysSelection(chosen)
        case BestPages() as chosen:
            return BestPagesSelection(chosen)
