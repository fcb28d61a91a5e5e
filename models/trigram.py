"""A trigram model with interpolated Witten-Bell smoothing: the yardstick that a trained network has to beat.

Each order is mixed with the next lower one, down to the uniform distribution:
P(c | h) = (count(h c) + types(h) * P(c | h')) / (count(h) + types(h)), where types(h) is the number of distinct
successors of history h and h' is h without its oldest unit (Witten and Bell, IEEE Trans. Information Theory, 1991).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]
Table = npt.NDArray[np.float64]


class Trigram:
    """Smoothed trigram probabilities over a small vocabulary, kept as a dense table.

    Attributes:
        probabilities: `[vocabulary, vocabulary, vocabulary]`; entry `[a, b, c]` is P(c | a b).
    """

    def __init__(self, ids: Ids, vocabulary: int) -> None:
        """Counts unigrams, bigrams and trigrams of `ids [length]`, all below `vocabulary`."""
        uniform = np.full(vocabulary, 1 / vocabulary)
        unigram = _mix(_counts((ids,), vocabulary), uniform)
        bigram = _mix(_counts((ids[:-1], ids[1:]), vocabulary), unigram)
        self.probabilities = _mix(_counts((ids[:-2], ids[1:-1], ids[2:]), vocabulary), bigram)

    def loss(self, ids: Ids) -> float:
        """Returns the mean negative log likelihood of `ids[2:]` in nats a unit, given the two units before each."""
        return float(-np.log(self.probabilities[ids[:-2], ids[1:-1], ids[2:]]).mean())


def _counts(columns: tuple[Ids, ...], vocabulary: int) -> Table:
    """Counts how often each tuple of ids occurs; one axis a column."""
    flat = np.ravel_multi_index(columns, (vocabulary,) * len(columns))
    counts = np.bincount(flat, minlength=vocabulary ** len(columns))
    return counts.reshape((vocabulary,) * len(columns)).astype(np.float64)


def _mix(counts: Table, lower: Table) -> Table:
    """Interpolates the relative frequencies along the last axis with the lower order's probabilities."""
    total = counts.sum(axis=-1, keepdims=True)
    types = (counts > 0).sum(axis=-1, keepdims=True)
    mixed = (counts + types * lower) / np.maximum(total + types, 1)
    return np.where(total > 0, mixed, lower)
