"""Every policy once more, from its paper's formula and over whole sequences: what the step-by-step meaning must equal.

Nothing of the product is imported. Q is [T, H, D], K [T, G, D] and V [T, G, Dv]; query head h reads key head
h // (H / G). Sums run in float64 unless rounding belongs to the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def softmax_rows(scores: Array, mask: Array) -> Array:
    """Softmax over the last axis of what the mask leaves; every row has something left."""
    limited = np.where(mask, scores, -np.inf).astype(np.float64)
    powers = np.exp(limited - limited.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def per_query_head(x: Array, heads: int) -> Array:
    """[T, G, D] as [H, T, D]."""
    return np.repeat(x.transpose(1, 0, 2), heads // x.shape[1], axis=0)


def dots(q: Array, k: Array, scale: float) -> Array:
    """Scores [H, queries, keys]."""
    keys = per_query_head(k, q.shape[1]).astype(np.float64)
    return np.einsum("thd,hid->hti", q.astype(np.float64), keys) * scale


def mix(weights: Array, v: Array) -> Array:
    """Results [T, H, Dv] of weights [H, T, T]."""
    return np.einsum("hti,hid->thd", weights, per_query_head(v, len(weights)).astype(np.float64))


def causal(tokens: int) -> Array:
    return np.tri(tokens, dtype=bool)


def dense(q: Array, k: Array, v: Array, scale: float) -> Array:
    return mix(softmax_rows(dots(q, k, scale), causal(len(q))), v)


def window_mask(tokens: int, sink: int, budget: int) -> Array:
    """StreamingLLM: the first `sink` and the latest budget - sink tokens."""
    query, token = np.ogrid[:tokens, :tokens]
    return causal(tokens) & ((token < sink) | (token > query - (budget - sink)))


def window(q: Array, k: Array, v: Array, scale: float, sink: int, budget: int) -> Array:
    return mix(softmax_rows(dots(q, k, scale), window_mask(len(q), sink, budget)), v)


@dataclass
class Eviction:
    """Outcome of an eviction policy for one group of heads.

    Attributes:
        kept: For each query the set of tokens that it saw.
        memory: Token of each slot at the end, `None` in free ones.
    """

    kept: list[set[int]]
    memory: list[int | None]


def evict(scores: Array, budget: int, interval: int, protected: int, queries: int | None, kernel: int) -> Eviction:
    """H2O, TOVA and SnapKV over the scores [heads, T, T] of heads that keep the same tokens.

    Every row of attention is computed anew over the tokens that are alive; the statistic of a token is the sum of its
    column over the last `queries` rows (`None`: over all since it came).
    """
    tokens = scores.shape[1]
    attention = np.zeros((tokens, tokens))
    memory: list[int | None] = []
    waiting: list[int] = []
    kept: list[set[int]] = []
    for token in range(tokens):
        if waiting:
            memory[waiting.pop(0)] = token
        else:
            memory.append(token)
        alive = sorted(each for each in memory if each is not None)
        kept.append(set(alive))
        row = softmax_rows(scores[:, token, alive], np.ones(len(alive), bool))
        attention[token, alive] = row.sum(0)
        if len(alive) == budget + interval:
            begin = 0 if queries is None else token + 1 - queries
            column = attention[begin : token + 1].sum(0)
            plain = [column[each] for each in memory]
            reach = kernel // 2
            smooth = [sum(plain[max(0, slot - reach) : slot + reach + 1]) for slot in range(len(plain))]
            candidates = [slot for slot, each in enumerate(memory) if each <= token - protected]
            waiting = sorted(candidates, key=lambda slot: (smooth[slot], slot))[:interval]
            for slot in waiting:
                memory[slot] = None
    return Eviction(kept, memory)


def evicting(q: Array, k: Array, v: Array, scale: float, shared: bool, **rule: Any) -> tuple[Array, list[Eviction]]:
    """Results, and the outcome for each key head or for the layer."""
    scores = dots(q, k, scale)
    groups = 1 if shared else k.shape[1]
    outcomes = [evict(part, **rule) for part in np.split(scores, groups)]
    mask = np.zeros(scores.shape, bool)
    for part, outcome in zip(np.split(mask, groups), outcomes, strict=True):
        for query, kept in enumerate(outcome.kept):
            part[:, query, list(kept)] = True
    return mix(softmax_rows(scores, mask), v), outcomes


def pyramid_budgets(budget: int, window: int, beta: float, layers: int) -> list[int]:
    """kvpress' formula, with the window added to each budget."""
    mean = budget - window
    small = mean / beta
    large = 2 * mean - small
    step = (large - small) / (layers - 1)
    return [window + round(large - layer * step) for layer in range(layers)]


def uniform_codes(x: Array, bits: int, axis: int) -> tuple[Array, Array, Array, Array]:
    """Codes, scales and zero points along an axis in binary32 and binary16, and what the codes are worth."""
    x = x.astype(np.float32)
    low, high = x.min(axis, keepdims=True), x.max(axis, keepdims=True)
    scale = np.float16((high - low) / np.float32(2**bits - 1))
    zero = np.float16(low)
    wide = scale.astype(np.float32)
    safe = np.where(wide == 0, np.float32(1), wide)
    codes = np.minimum(np.maximum(np.round((x - zero.astype(np.float32)) / safe), 0), 2**bits - 1)
    codes = np.where(wide == 0, 0, codes).astype(int)
    return codes, scale, zero, codes.astype(np.float32) * wide + zero.astype(np.float32)


@dataclass
class Quantised:
    """Whole groups of a sequence as codes.

    Attributes:
        key_codes: [G, T, D].
        key_scale: Of the groups and channels, or of the tokens and runs.
        value_codes: [G, T, Dv].
        value_scale: [G, T, runs].
        keys: What they are worth, [T, G, D].
        values: The same.
    """

    key_codes: Array
    key_scale: Array
    value_codes: Array
    value_scale: Array
    keys: Array
    values: Array


def quantise(k: Array, v: Array, bits: int, axis: str, group: int, width: int) -> Quantised:
    """Keys per channel over groups of tokens or per token over runs of channels, values per token, all at once."""
    tokens = len(k) // group * group
    heads_first = [x[:tokens].transpose(1, 0, 2) for x in (k, v)]
    by_token = [x.reshape(*x.shape[:2], x.shape[2] // width, width) for x in heads_first]
    if axis == "channel":
        key = heads_first[0].reshape(len(heads_first[0]), tokens // group, group, k.shape[2])
        key_codes, key_scale, _, key_worth = uniform_codes(key, bits, 2)
        key_scale = key_scale[:, :, 0]
    else:
        key_codes, key_scale, _, key_worth = uniform_codes(by_token[0], bits, 3)
        key_scale = key_scale[..., 0]
    value_codes, value_scale, _, value_worth = uniform_codes(by_token[1], bits, 3)
    shapes = [x.shape for x in heads_first]
    return Quantised(
        key_codes.reshape(shapes[0]),
        key_scale,
        value_codes.reshape(shapes[1]),
        value_scale[..., 0],
        key_worth.reshape(shapes[0]).transpose(1, 0, 2),
        value_worth.reshape(shapes[1]).transpose(1, 0, 2),
    )


def quantised_tokens(query: int, group: int, residual: int) -> int:
    """Tokens that are codes when a query comes: groups go when residual + group tokens are exact behind a query."""
    return max(0, (query - residual) // group) * group


def quantised_attention(
    q: Array, k: Array, v: Array, scale: float, found: Quantised, group: int, residual: int, mask: Array | None = None
) -> Array:
    """Attention in which each query finds its own boundary between codes and exact tokens."""
    tokens = len(q)
    mask = causal(tokens) if mask is None else mask
    result = np.zeros((tokens, q.shape[1], v.shape[2]))
    for query in range(tokens):
        border = quantised_tokens(query, group, residual)
        keys = np.concatenate([found.keys[:border], k[border : query + 1]])
        values = np.concatenate([found.values[:border], v[border : query + 1]])
        weights = softmax_rows(dots(q[query : query + 1], keys, scale), mask[query, : query + 1])
        result[query] = mix(weights, values)[0]
    return result


@dataclass
class Cascade:
    """Titanus' cascade over a whole sequence of tokens with channels [T, C].

    Attributes:
        codes: [T, C], 0 where pruned.
        opened: Whether a token opened a further level of a channel.
        levels: Levels of each channel at the end.
        worth: What the codes are worth.
        records: Bytes of each token.
    """

    codes: Array
    opened: Array
    levels: Array
    worth: Array
    records: list[bytes]


def cascade(x: Array, split: int, bits: tuple[int, int], taus: tuple[float, float], warmup: int, most: int) -> Cascade:
    """Channel by channel: running extremes of the survivors give the levels, frozen when they are used up."""
    tokens, channels = x.shape
    codes, opened = np.zeros((tokens, channels), int), np.zeros((tokens, channels), bool)
    worth, levels = np.zeros((tokens, channels), np.float32), np.zeros(channels, int)
    for channel in range(channels):
        is_value = int(channel >= split)
        steps, column = 2 ** bits[is_value] - 2, x[:, channel].astype(np.float32)
        alive = np.abs(column) >= np.float32(taus[is_value])
        low, high = (
            extreme.accumulate(np.where(alive, column, filler))
            for extreme, filler in ((np.minimum, np.float32(np.inf)), (np.maximum, np.float32(-np.inf)))
        )
        last = min(warmup, tokens) - 1
        low[:last], high[:last] = low[last], high[last]
        grows = np.r_[False, (low[1:] != low[:-1]) | (high[1:] != high[:-1])]
        grows[: last + 1] = False
        first = 1 if np.isfinite(low[last]) else 0
        number = first + np.cumsum(grows)
        is_over = number > most
        if is_over.any():
            frozen = int(np.argmax(is_over)) - 1
            low[is_over], high[is_over] = low[frozen], high[frozen]
        number = np.minimum(number, most)
        levels[channel] = number[-1]
        opened[:, channel] = grows & ~is_over & (number > 1)
        codes[:, channel], worth[:, channel] = _cascade_codes(column, alive, low, high, steps)
    records = [_record(codes[t], opened[t], split, bits) for t in range(tokens)]
    return Cascade(codes, opened, levels, worth, records)


def _cascade_codes(column: Array, alive: Array, low: Array, high: Array, steps: int) -> tuple[Array, Array]:
    codes, worth = np.zeros(len(column), int), np.zeros(len(column), np.float32)
    for token in np.flatnonzero(alive):
        scale = np.float32(np.float16((high[token] - low[token]) / np.float32(steps)))
        zero = np.float32(np.float16(low[token]))
        ratio = 0.0 if scale == 0 else float(np.round((column[token] - zero) / scale))
        codes[token] = 1 + int(min(max(ratio, 0), steps))
        worth[token] = np.float32(codes[token] - 1) * scale + zero
    return codes, worth


def _record(codes: Array, opened: Array, split: int, bits: tuple[int, int]) -> bytes:
    """A bitmap, level bits and codes as strings of binary digits, the first bit last."""
    stored = [channel for channel, code in enumerate(codes) if code]
    digits = [format(int(codes[channel]), f"0{bits[int(channel >= split)]}b") for channel in stored]
    parts = (
        "".join("1" if code else "0" for code in codes)[::-1],
        "".join("1" if opened[channel] else "0" for channel in stored)[::-1],
        "".join(reversed(digits)),
    )
    return b"".join(int(part or "0", 2).to_bytes(-(-len(part) // 8), "little") for part in parts)


def cascade_attention(q: Array, k: Array, v: Array, scale: float, found: Cascade, warmup: int) -> Array:
    """Queries of the warm-up see exact tokens, later ones what all tokens are worth, their own included."""
    tokens, split = len(q), k.shape[1] * k.shape[2]
    keys, values = found.worth[:, :split].reshape(k.shape), found.worth[:, split:].reshape(v.shape)
    exact, coded = dense(q, k, v, scale), dense(q, keys, values, scale)
    return np.where((np.arange(tokens) < warmup)[:, None, None], exact, coded)


def best_of_rows(scores: Array, mask: Array, count: int) -> Array:
    """Mask of the `count` best of each row: what is above the count-th number, then of its equals the first."""
    limited = np.where(mask, scores, -np.inf)
    last = min(count, scores.shape[-1]) - 1
    border = -np.sort(-limited, axis=-1)[..., last, None]
    above, equal = limited > border, limited == border
    room = count - above.sum(-1, keepdims=True)
    return mask & (above | (equal & (np.cumsum(equal, axis=-1) <= room)))


def topk(q: Array, k: Array, v: Array, scale: float, count: int) -> Array:
    scores = dots(q, k, scale)
    mask = np.broadcast_to(causal(len(q)), scores.shape)
    return mix(softmax_rows(scores, best_of_rows(scores, mask, count)), v)


def quest_mask(q: Array, k: Array, page: int, pages: int) -> Array:
    """Tokens [G, T, T] that queries attend to."""
    tokens, heads = q.shape[:2]
    kv_heads = k.shape[1]
    mask = np.zeros((kv_heads, tokens, tokens), bool)
    for query in range(tokens):
        starts = range(0, query + 1, page)
        for head in range(kv_heads):
            bounds = []
            for start in starts:
                keys = k[start : min(start + page, query + 1), head].astype(np.float64)
                own = q[query, head * heads // kv_heads : (head + 1) * heads // kv_heads].astype(np.float64)
                bounds.append(np.maximum(own * keys.min(0), own * keys.max(0)).sum(1).max())
            rest = sorted(range(len(bounds) - 1), key=lambda index: (-bounds[index], index))[: pages - 1]
            for index in [*rest, len(bounds) - 1]:
                mask[head, query, index * page : (index + 1) * page] = True
    return mask & causal(tokens)


def quest(q: Array, k: Array, v: Array, scale: float, page: int, pages: int) -> Array:
    mask = np.repeat(quest_mask(q, k, page, pages), q.shape[1] // k.shape[1], axis=0)
    return mix(softmax_rows(dots(q, k, scale), mask), v)


def cam(q: Array, k: Array, v: Array, scale: float, count: int, tile: int, tile_top: int, bits: int) -> Array:
    """CAMformer: Hamming distance of signs, two stages of top-k."""
    tokens, _, channels = q.shape
    signs = [np.where(x > 0, 1, -1) for x in (q, k)]
    matches = (channels + np.rint(dots(signs[0], signs[1], 1.0)).astype(int)) // 2
    codes = np.minimum(2**bits - 1, matches * 2**bits // channels)
    visible = np.broadcast_to(causal(tokens), codes.shape)
    survivors = np.zeros(codes.shape, bool)
    for start in range(0, tokens, tile):
        part = slice(start, start + tile)
        survivors[..., part] = best_of_rows(codes[..., part].astype(float), visible[..., part], tile_top)
    mask = best_of_rows(codes.astype(float), survivors, count)
    return mix(softmax_rows(scale * (2 * codes * channels / 2**bits - channels), mask), v)


def titanus_bytes(channels: int, before: float, after: float, key_bits: float, value_bits: float) -> int:
    """Bytes of a token in the public model of Titanus, with sparsities before and after quantisation."""
    bits = (key_bits + value_bits) / 2
    parts = (channels * (1 - after) * bits / 8, channels / 8, channels * (1 - before) / 8)
    return sum(int(np.ceil(part - 1e-9)) for part in parts)
