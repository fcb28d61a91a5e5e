"""What attention to selected keys loses against attention to all keys that the cache holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passes.kv_codes import Array


@dataclass(frozen=True)
class SelectionError:
    """Sums over the queries of all heads; shares and errors are means over these.

    Attributes:
        queries: Queries of single heads.
        narrowed: Those for which a key was left out.
        recalls: Sum over the narrowed ones of the share of the best keys by exact scores, as many as are attended to,
            that are attended to.
        weights: Sum over the narrowed ones of the exact attention weight of the keys that are attended to.
        errors: Sum of |result - exact result| / |exact result|, Euclidean norms of a head's result.
    """

    queries: int = 0
    narrowed: int = 0
    recalls: float = 0.0
    weights: float = 0.0
    errors: float = 0.0

    def __add__(self, other: SelectionError) -> SelectionError:
        return SelectionError(
            self.queries + other.queries,
            self.narrowed + other.narrowed,
            self.recalls + other.recalls,
            self.weights + other.weights,
            self.errors + other.errors,
        )

    @property
    def recall(self) -> float:
        """Mean share of the best keys that are attended to; 1 where nothing was left out."""
        return self.recalls / self.narrowed if self.narrowed else 1.0

    @property
    def weight(self) -> float:
        """Mean exact attention weight of the keys that are attended to; 1 where nothing was left out."""
        return self.weights / self.narrowed if self.narrowed else 1.0

    @property
    def relative_error(self) -> float:
        """Mean relative error of the attention's result."""
        return self.errors / self.queries if self.queries else 0.0


def selection_error(scores: Array, allowed: Array, chosen: Array, values: Array, result: Array) -> SelectionError:
    """Compare the attention of one token's queries with attention to all allowed keys.

    Args:
        scores: Exact scores, [H, T].
        allowed: Keys that may be attended to, bool [H, T].
        chosen: Those that are, bool [H, T].
        values: [G, T, Dv].
        result: What the attention gave, [H, Dv].
    """
    limited = np.where(allowed, scores, -np.inf).astype(np.float64)
    with np.errstate(all="ignore"):
        weights = np.exp(limited - limited.max(axis=1, keepdims=True))
        weights = np.nan_to_num(weights / weights.sum(axis=1, keepdims=True))
    heads, tokens = scores.shape
    exact = np.matmul(weights.reshape(len(values), -1, tokens), values).reshape(heads, -1)
    norms = np.linalg.norm(exact, axis=1)
    errors = np.linalg.norm(result - exact, axis=1) / np.where(norms > 0, norms, 1.0)
    counts = chosen.sum(axis=1)
    narrowed = counts < allowed.sum(axis=1)
    places = np.argsort(np.argsort(-limited, axis=1, kind="stable"), axis=1)
    found = (chosen & (places < counts[:, None])).sum(axis=1) / np.maximum(counts, 1)
    covered = np.where(chosen, weights, 0).sum(axis=1)
    recalls, shares = (float(each[narrowed].sum()) for each in (found, covered))
    return SelectionError(heads, int(narrowed.sum()), recalls, shares, float(errors.sum()))
