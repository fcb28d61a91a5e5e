"""How much a KV cache holds."""

from __future__ import annotations

from dataclasses import dataclass

from passes import Dim


@dataclass(frozen=True)
class CacheSizes:
    """How much a KV cache holds.

    Attributes:
        sequences: Sequences of a batch.
        tokens: Number of keys of a run in the end, past ones included.
        most_tokens: Its largest value.
        first: Register with the number of past tokens, `None` when there are none.
    """

    sequences: int
    tokens: Dim
    most_tokens: int
    first: int | None
