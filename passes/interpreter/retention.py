"""Which tokens a cache keeps, and where: all of them, a ring, or those that queries cared for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passes.kv_policies import Ring, Scored

Array = NDArray[Any]
_FIRST_SLOTS = 64


@dataclass
class Slots:
    """Exact keys and values of one sequence in numbered slots.

    Arrays have one row a key head, or a single row when all heads keep the same tokens.

    Attributes:
        retention: Which tokens stay, `None` for all.
        tokens: Tokens of the sequence so far.
        used: Slots that ever held a token.
        keys: [G, slots, D].
        values: [G, slots, Dv].
        positions: Token in each slot, -1 in a free one: int32 [G or 1, slots].
        statistic: Attention that each slot got: binary32 [G or 1, slots].
        free: Slots that wait for a token, in the order in which they get one: int32 [G or 1, count].
    """

    retention: Ring | Scored | None
    keys: Array
    values: Array
    positions: Array
    statistic: Array
    free: Array
    tokens: int = 0
    used: int = 0

    @staticmethod
    def empty(retention: Ring | Scored | None, kv_heads: int, head_dim: int, value_dim: int) -> Slots:
        """A cache without tokens."""
        rows = kv_heads if isinstance(retention, Scored) and not retention.shared else 1
        return Slots(
            retention,
            np.zeros((kv_heads, 0, head_dim), np.float32),
            np.zeros((kv_heads, 0, value_dim), np.float32),
            np.zeros((rows, 0), np.int32),
            np.zeros((rows, 0), np.float32),
            np.zeros((rows, 0), np.int32),
        )

    def append(self, key: Array, value: Array) -> None:
        """Put the next token, key [G, D] and value [G, Dv], into its slot."""
        slots = self._next_slots()
        self.used = max(self.used, int(slots.max()) + 1)
        self._grow()
        heads, rows = np.arange(len(self.keys)), np.arange(len(slots))
        self.keys[heads, slots if len(slots) > 1 else slots[0]] = key
        self.values[heads, slots if len(slots) > 1 else slots[0]] = value
        self.positions[rows, slots] = self.tokens
        self.statistic[rows, slots] = 0
        self.tokens += 1

    def contents(self) -> tuple[Array, Array, Array]:
        """Keys [G, used, D], values [G, used, Dv] and positions [G or 1, used]."""
        return self.keys[:, : self.used], self.values[:, : self.used], self.positions[:, : self.used]

    def observe(self, weights: Array, factors: Array) -> None:
        """Add the newest query's attention to the statistic.

        Args:
            weights: exp(score - maximum), [H, used].
            factors: 1 / sum of the weights, [H].
        """
        kind = self.retention
        if not isinstance(kind, Scored) or (kind.queries and self._until_eviction(kind) >= kind.queries):
            return
        rows = len(self.statistic)
        per_row = len(weights) // rows
        for head, (weight, factor) in enumerate(zip(weights, factors, strict=True)):
            self.statistic[head // per_row, : self.used] += weight * factor

    def finish(self) -> None:
        """Evict, when the last slot was filled."""
        if isinstance(self.retention, Scored) and self._until_eviction(self.retention) == 0:
            self._evict(self.retention)

    def _next_slots(self) -> Array:
        """The slot of the next token in each row."""
        token, kind = self.tokens, self.retention
        rows = len(self.positions)
        if isinstance(kind, Ring) and token >= kind.budget:
            return np.array([kind.sinks + (token - kind.sinks) % (kind.budget - kind.sinks)])
        if isinstance(kind, Scored) and self.used == kind.budget + kind.interval:
            slots, self.free = self.free[:, 0], self.free[:, 1:]
            return slots
        return np.full(rows, self.used)

    def _until_eviction(self, kind: Scored) -> int:
        """Tokens that still fit before some are evicted."""
        return kind.budget + kind.interval - self.used + int(self.free.shape[1])

    def _grow(self) -> None:
        missing = self.used - self.keys.shape[1]
        if missing > 0:
            more = max(missing, _FIRST_SLOTS, self.keys.shape[1])
            wide, flat = ((0, 0), (0, more), (0, 0)), ((0, 0), (0, more))
            self.keys, self.values = np.pad(self.keys, wide), np.pad(self.values, wide)
            self.positions = np.pad(self.positions, flat, constant_values=-1)
            self.statistic = np.pad(self.statistic, flat)

    def _evict(self, kind: Scored) -> None:
        if kind.kernel > 1:
            self.statistic = pooled(self.statistic, kind.kernel, self.used)
        is_protected = self.positions[:, : self.used] >= self.tokens - kind.protected
        order = np.argsort(np.where(is_protected, np.inf, self.statistic[:, : self.used]), axis=1, kind="stable")
        self.free = order[:, : kind.interval].astype(np.int32)
        np.put_along_axis(self.positions, self.free, -1, axis=1)
        if kind.queries:
            self.statistic[:] = 0


def pooled(statistic: Array, kernel: int, used: int) -> Array:
    """Sums over `kernel` neighbouring slots, ascending; slots from `used` on do not count."""
    reach = kernel // 2
    padded = np.pad(statistic[:, :used], ((0, 0), (reach, reach)))
    total = np.zeros_like(statistic[:, :used])
    for offset in range(kernel):
        total += padded[:, offset : offset + used]
    return np.pad(total, ((0, 0), (0, statistic.shape[1] - used)))
