"""Meaning in numpy of attention over a compressed cache: token by token, as `passes.kv_policies.mechanisms` says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from isa import GraphError, InputError
from passes.interpreter.levelled import LevelledTokens
from passes.interpreter.operations import widened
from passes.interpreter.quantized import CodedTokens
from passes.interpreter.retention import Slots
from passes.interpreter.selection import PageExtremes, best, match_codes, match_mask, match_scores, page_mask
from passes.interpreter.selection_error import SelectionError, selection_error
from passes.ir import Cache
from passes.kv_codes import Array
from passes.kv_policies import BestKeys, BestPages, BinaryKeys, Compression, Levelled, Quantized, Ring, Scored
from passes.ops import EXCLUDED_BELOW

Rounding = Callable[[Array], Array]
"""What storing does to binary32 elements; the result is binary32 again."""


class Tokens(Protocol):
    """Keys and values of one sequence in a compressed cache."""

    @property
    def tokens(self) -> int:
        """Tokens of the sequence so far."""
        ...

    def append(self, key: Array, value: Array) -> None:
        """Store the next token: key [G, D] and value [G, Dv]."""
        ...

    def contents(self) -> tuple[Array, Array, Array]:
        """Keys [G, T, D], values [G, T, Dv] and the position of each, -1 where nobody attends: [G or 1, T]."""
        ...

    def observe(self, weights: Array, factors: Array) -> None:
        """Look at the newest query's attention: exp(score - maximum) [H, T] and 1 / their sum [H]."""
        ...

    def finish(self) -> None:
        """Do what is left when the newest token's attention is done."""
        ...


@dataclass
class Sequence:
    """One sequence of a compressed cache.

    Attributes:
        tokens: Keys and values.
        pages: Extremes of its pages, where pages are selected.
        selected: Tokens, in the order of `tokens.contents()`, that the newest query attended to: bool [H, T].
        error: What a selection has lost against attention to all tokens that are kept.
    """

    tokens: Tokens
    pages: PageExtremes | None = None
    selected: Array = field(default_factory=lambda: np.zeros((0, 0), bool))
    error: SelectionError = field(default_factory=SelectionError)


@dataclass
class CompressedCache:
    """State of a compressed cache.

    Attributes:
        cache: The cache; it has a compression.
        stored: What storing does to elements.
        sequences: One for each of the batch, once the first token came.
    """

    cache: Cache
    stored: Rounding
    sequences: list[Sequence] = field(default_factory=list[Sequence])

    @property
    def length(self) -> int:
        """Tokens of the sequences so far."""
        return self.sequences[0].tokens.tokens if self.sequences else 0

    @property
    def error(self) -> SelectionError:
        """What a selection has lost so far, over all sequences."""
        return sum((sequence.error for sequence in self.sequences), SelectionError())

    def present(self) -> tuple[Array, Array]:
        """What the cache holds, as it is worth: keys [B, G, T, D] and values [B, G, T, Dv].

        Slots of a cache that evicts lie in their order. Tokens that a ring of codes does not attend to any more are
        left out. Keys of which only signs are kept are worth 1 or -1.
        """
        kept = [self._held(sequence.tokens) for sequence in self.sequences]
        return np.stack([keys for keys, _ in kept]), np.stack([values for _, values in kept])

    def _held(self, tokens: Tokens) -> tuple[Array, Array]:
        keys, values, positions = tokens.contents()
        if isinstance(tokens, CodedTokens):
            is_kept = positions[0] >= 0
            keys, values = keys[:, is_kept], values[:, is_kept]
        if self.cache.compression is not None and isinstance(self.cache.compression.selection, BinaryKeys):
            keys = np.where(keys > 0, np.float32(1), np.float32(-1))
        return keys, values


@dataclass(frozen=True)
class Scoring:
    """How scores come about: attributes of the attention, and its operands beyond queries, keys and values.

    Attributes:
        scale: Factor on the scores.
        softcap: When above 0, scores s become softcap * tanh(s / softcap).
        mask: bool [B or 1, T], true where a key may be attended to, or `None`.
        bias: Added to the scores, broadcasts to [B, H, S, T], or `None`.
    """

    scale: float
    softcap: float
    mask: Array | None
    bias: Array | None


def attend_compressed(
    state: CompressedCache, query: Array, key: Array | None, value: Array | None, heads: int, scoring: Scoring
) -> Array:
    """Append new tokens one after another, each with the attention of its query.

    Args:
        state: Of the cache; changed.
        query: [B, S, H*D].
        key: [B, S, G*D].
        value: [B, S, G*Dv].
        heads: H.
        scoring: How scores come about.

    Returns:
        [B, S, H*Dv].

    Raises:
        GraphError: there are no new keys.
        InputError: the mask leaves tokens out although the compression cannot.
    """
    if key is None or value is None or key.shape[:2] != query.shape[:2]:
        raise GraphError("a compressed cache needs a new key and value with every query")
    compression = state.cache.compression or Compression()
    _check_mask(compression, scoring.mask)
    batch, length = query.shape[:2]
    while len(state.sequences) < batch:
        state.sequences.append(_sequence(state.cache, compression))
    kv_heads = state.cache.kv_heads
    keys, values = (state.stored(widened(x).astype(np.float32)) for x in (key, value))
    queries = widened(query).astype(np.float32).reshape(batch, length, heads, -1)
    result = np.zeros((batch, length, heads, state.cache.value_dim), np.float32)
    for b, sequence in enumerate(state.sequences):
        for s in range(length):
            _append(sequence, keys[b, s].reshape(kv_heads, -1), values[b, s].reshape(kv_heads, -1))
            result[b, s] = _attend(sequence, compression.selection, queries[b, s], scoring, (b, s))
            sequence.tokens.finish()
    return result.reshape(batch, length, -1).astype(query.dtype)


def _sequence(cache: Cache, compression: Compression) -> Sequence:
    shape = (cache.kv_heads, cache.head_dim, cache.value_dim)
    pages = PageExtremes(compression.selection.page) if isinstance(compression.selection, BestPages) else None
    match compression.encoding, compression.retention:
        case Quantized() as encoding, None | Ring() as ring:
            return Sequence(CodedTokens(encoding, ring, *shape), pages)
        case Levelled() as encoding, None:
            return Sequence(LevelledTokens(encoding, *shape), pages)
        case None, retention:
            return Sequence(Slots.empty(retention, *shape), pages)
        case _:
            raise GraphError(f"the mechanisms of the cache '{cache.name}' contradict each other")


def _append(sequence: Sequence, key: Array, value: Array) -> None:
    sequence.tokens.append(key, value)
    if sequence.pages is not None:
        sequence.pages.append(key)


def _attend(
    sequence: Sequence,
    selection: BestKeys | BestPages | BinaryKeys | None,
    query: Array,
    scoring: Scoring,
    place: tuple[int, int],
) -> Array:
    """Attention of one query [H, D] over what the sequence holds: [H, Dv]."""
    keys, values, positions = sequence.tokens.contents()
    heads = len(query)
    positions = np.repeat(positions, heads // len(positions), axis=0)
    codes = match_codes(selection, query, keys) if isinstance(selection, BinaryKeys) else None
    scores, allowed = _scores(query, keys, codes, positions, selection, scoring, place)
    match selection:
        case BestKeys(count):
            allowed = best(np.where(allowed, scores, -np.inf), count)
        case BestPages() if sequence.pages is not None:
            allowed = allowed & page_mask(selection, sequence.pages, query)
        case BinaryKeys() if codes is not None:
            allowed = match_mask(selection, codes, allowed)
        case _:
            pass
    sequence.selected = allowed
    with np.errstate(all="ignore"):
        limited = np.where(allowed, scores, np.float32(-np.inf))
        weights = np.exp(limited - limited.max(axis=1, keepdims=True))
        weights = np.where(allowed, weights, np.float32(0))
        total = weights.sum(axis=1)
        factors = np.where(total > 0, np.float32(1) / total, np.float32(0))
    sequence.tokens.observe(weights, factors)
    probabilities = (weights * factors[:, None]).reshape(len(values), -1, weights.shape[1])
    result: Array = np.matmul(probabilities, values).reshape(heads, -1)
    if selection is not None:
        exact = _scores(query, keys, None, positions, None, scoring, place)
        sequence.error += selection_error(*exact, sequence.selected, values, result)
    return result


def _scores(
    query: Array,
    keys: Array,
    codes: Array | None,
    positions: Array,
    selection: BestKeys | BestPages | BinaryKeys | None,
    scoring: Scoring,
    place: tuple[int, int],
) -> tuple[Array, Array]:
    """Scores of the heads for the kept tokens, and which of these may be attended to: both [H, T]."""
    heads, channels = query.shape
    if isinstance(selection, BinaryKeys) and codes is not None:
        scores = match_scores(selection, codes, channels, scoring.scale)
    else:
        grouped = query.reshape(len(keys), -1, channels)
        scores = np.matmul(grouped, keys.swapaxes(1, 2)).reshape(heads, -1) * np.float32(scoring.scale)
    if scoring.softcap > 0:
        scores = np.tanh(scores / np.float32(scoring.softcap)) * np.float32(scoring.softcap)
    allowed = positions >= 0
    sequence, token = place
    if scoring.bias is not None:
        bias = widened(scoring.bias)
        row = bias[min(sequence, len(bias) - 1), :, min(token, bias.shape[2] - 1)]
        added = np.take_along_axis(np.broadcast_to(row, (heads, row.shape[1])), positions % row.shape[1], axis=1)
        scores, allowed = scores + added, allowed & (added > np.float32(EXCLUDED_BELOW))
    if scoring.mask is not None:
        allowed = allowed & scoring.mask[min(sequence, len(scoring.mask) - 1)][positions]
    return scores, allowed


def _check_mask(compression: Compression, mask: Array | None) -> None:
    is_exact = compression.encoding is None and not isinstance(compression.retention, Scored)
    if mask is None or is_exact or mask.all():
        return
    raise InputError(
        "positions are masked out, but this compression of the KV cache counts on all tokens",
        help="give inputs without padding, or policies that neither score nor encode: window, topk, quest, cam",
    )
