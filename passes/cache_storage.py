"""What a KV cache holds after a number of tokens: tokens and bits, as its compression stores them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from passes.ir import Cache
from passes.kv_policies.mechanisms import (
    MECHANISMS,
    BestPages,
    Compression,
    Levelled,
    Quantized,
    Ring,
    Scored,
)

_META_BITS = 32
"""A scale and a zero point, binary16 each."""


@dataclass(frozen=True)
class Stored:
    """Contents of one layer's cache.

    Attributes:
        tokens: Tokens that a query can attend to.
        bits: Keys and values as stored, with scales, zero points, bitmaps, and what selects among keys. What eviction
            notes about tokens (a statistic and a position each) lies in the shared buffer and does not count.
    """

    tokens: int
    bits: int


def stored(cache: Cache, tokens: int, element_bits: int = 16) -> Stored:
    """What a cache holds when `tokens` tokens of one sequence have passed.

    Args:
        cache: Its shape and compression.
        tokens: Tokens so far.
        element_bits: Bits of an element that is stored exactly.

    Returns:
        The contents; of `Levelled`, whose size depends on the data, with the declared share of survivors and the levels
        of elements in random order.
    """
    chosen = cache.compression or Compression()
    elements = cache.kv_heads * (cache.head_dim + cache.value_dim)
    held = _tokens_held(chosen, tokens)
    match chosen.encoding:
        case Quantized() as encoding:
            bits = _quantized_bits(cache, encoding, chosen.retention, tokens, element_bits)
        case Levelled() as encoding:
            bits = _levelled_bits(cache, encoding, tokens, element_bits)
        case None:
            bits = held * elements * element_bits
    return Stored(held, bits + _selection_bits(cache, chosen, held, element_bits))


def _tokens_held(chosen: Compression, tokens: int) -> int:
    match chosen.retention:
        case Ring(budget=budget):
            return min(tokens, budget)
        case Scored(budget=budget, interval=interval):
            beyond = tokens - budget - interval
            return tokens if beyond < 0 else budget + beyond % interval
        case None:
            return tokens


def _quantized_bits(cache: Cache, encoding: Quantized, retention: object, tokens: int, element_bits: int) -> int:
    groups = max(tokens - encoding.residual, 0) // encoding.group
    exact = tokens - groups * encoding.group
    if isinstance(retention, Ring):
        groups = min(groups, 2 + -(-(retention.budget - retention.sinks) // encoding.group))
    keys = _code_bits(encoding, encoding.key_bits, cache.head_dim, encoding.key_axis == "channel", element_bits)
    values = _code_bits(encoding, encoding.value_bits, cache.value_dim, False, element_bits)
    whole = exact * (cache.head_dim + cache.value_dim) * element_bits
    return cache.kv_heads * (whole + groups * (keys + values))


def _code_bits(encoding: Quantized, bits: int, width: int, by_channel: bool, element_bits: int) -> int:
    """Bits of a group of one head's keys or values of `width` elements a token."""
    if bits == 16:
        return encoding.group * width * element_bits
    ranges = width if by_channel else encoding.group * (width // encoding.width)
    return encoding.group * width * bits + ranges * _META_BITS


def _levelled_bits(cache: Cache, encoding: Levelled, tokens: int, element_bits: int) -> int:
    keys, values = cache.kv_heads * cache.head_dim, cache.kv_heads * cache.value_dim
    if tokens < encoding.warmup:
        return tokens * (keys + values) * element_bits
    survivors = [round(encoding.survivors * channels) for channels in (keys, values)]
    payload = survivors[0] * encoding.key_bits + survivors[1] * encoding.value_bits
    parts = (keys + values, sum(survivors), payload)
    meta = round((keys + values) * _levels(encoding, tokens) * _META_BITS)
    return tokens * sum(8 * -(-part // 8) for part in parts) + meta


def _levels(encoding: Levelled, tokens: int) -> float:
    """Levels of a channel to expect.

    Of n numbers in random order 2 ln(n / w) of those behind the first w lie outside of the range of all before them.
    """
    return min(1 + 2 * math.log(tokens / encoding.warmup), encoding.levels)


def _selection_bits(cache: Cache, chosen: Compression, tokens: int, element_bits: int) -> int:
    """What selection keeps beside the keys: extremes of pages. Signs take the place of keys, as whole elements."""
    if not isinstance(chosen.selection, BestPages):
        return 0
    return -(-tokens // chosen.selection.page) * 2 * cache.kv_heads * cache.head_dim * element_bits


def cache_facts(cache: Cache) -> dict[str, Any]:
    """Shape and compression as JSON values, for a program's metadata."""
    slots = {} if cache.compression is None else _slots(cache.compression)
    shape = {"name": cache.name, "kv_heads": cache.kv_heads, "head_dim": cache.head_dim, "value_dim": cache.value_dim}
    return {**shape, "compression": slots}


def _slots(compression: Compression) -> dict[str, Any]:
    parts = {field.name: getattr(compression, field.name) for field in fields(compression)}
    return {slot: [type(part).__name__, asdict(part)] for slot, part in parts.items() if part is not None}


def cache_from_facts(facts: Mapping[str, Any]) -> Cache:
    """The cache that `cache_facts` described, without its ports."""
    parts: dict[str, Any] = {slot: MECHANISMS[name](**values) for slot, (name, values) in facts["compression"].items()}
    shape = (facts["name"], facts["kv_heads"], facts["head_dim"], facts["value_dim"])
    return Cache(*shape, compression=Compression(**parts) if parts else None)
