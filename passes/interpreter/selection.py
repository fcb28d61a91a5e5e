"""Which of the kept tokens a query attends to."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from passes.kv_codes import Array
from passes.kv_policies import BestPages, BinaryKeys


@dataclass
class PageExtremes:
    """Smallest and largest key elements of every page of one sequence.

    Attributes:
        page: Tokens of a page.
        tokens: Tokens so far.
        low: One array [G, D] a page.
        high: The same.
    """

    page: int
    tokens: int = 0
    low: list[Array] = field(default_factory=list[Array])
    high: list[Array] = field(default_factory=list[Array])

    def append(self, key: Array) -> None:
        """Take the key [G, D] of the next token into its page."""
        if self.tokens % self.page == 0:
            self.low.append(key)
            self.high.append(key)
        self.low[-1], self.high[-1] = np.minimum(self.low[-1], key), np.maximum(self.high[-1], key)
        self.tokens += 1

    def bounds(self, query: Array) -> Array:
        """The bound of every page for each key head: [G, pages].

        Args:
            query: [H, D].
        """
        low, high = np.stack(self.low, axis=1)[:, None], np.stack(self.high, axis=1)[:, None]
        grouped = query.reshape(len(low), -1, 1, query.shape[-1])
        terms = np.maximum(grouped * low, grouped * high)
        totals: Array = np.add.accumulate(terms, axis=-1, dtype=np.float32)[..., -1]
        return np.asarray(totals.max(axis=1))


def best(scores: Array, count: int) -> Array:
    """Mask of the `count` largest numbers of each row, of equal ones the first; -inf is never among them."""
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :count]
    chosen = np.zeros(scores.shape, bool)
    np.put_along_axis(chosen, order, True, axis=-1)
    return chosen & (scores > -np.inf)


def page_mask(selection: BestPages, extremes: PageExtremes, query: Array) -> Array:
    """Which tokens the query heads attend to: [H, tokens]."""
    bounds = extremes.bounds(query)
    bounds[:, -1] = np.inf
    chosen = np.repeat(best(bounds, selection.count), selection.page, axis=1)[:, : extremes.tokens]
    return np.repeat(chosen, len(query) // len(bounds), axis=0)


def match_codes(selection: BinaryKeys, query: Array, keys: Array) -> Array:
    """What the match lines say: int64 [H, tokens].

    Args:
        selection: The mechanism.
        query: [H, D].
        keys: [G, tokens, D].
    """
    channels = query.shape[-1]
    grouped = (query > 0).reshape(len(keys), -1, 1, channels)
    matches = (grouped == (keys > 0)[:, None]).sum(axis=-1).reshape(len(query), -1)
    return np.asarray(np.minimum((1 << selection.code_bits) - 1, (matches << selection.code_bits) // channels))


def match_scores(selection: BinaryKeys, codes: Array, channels: int, scale: float) -> Array:
    """Scores that the codes stand for, binary32."""
    signed = (2 * codes * channels).astype(np.float32) / np.float32(1 << selection.code_bits) - np.float32(channels)
    return np.asarray(np.float32(scale) * signed)


def match_mask(selection: BinaryKeys, codes: Array, allowed: Array) -> Array:
    """The winners of each query head among the allowed tokens: [H, tokens]."""
    heads, tokens = codes.shape
    more = -tokens % selection.tile
    ranked = np.pad(np.where(allowed, codes, -np.inf), ((0, 0), (0, more)), constant_values=-np.inf)
    tiles = best(ranked.reshape(heads, -1, selection.tile), selection.tile_top).reshape(heads, -1)
    return best(np.where(tiles, ranked, -np.inf), selection.count)[:, :tokens]
