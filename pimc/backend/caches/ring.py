"""A cache of the first and the latest tokens (`Ring`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Indexed
from pimc.backend.caches.keep_all import CacheIndex, KeepAll

if TYPE_CHECKING:
    from passes import Ring
    from pimc.backend.lowering import CacheRooms, Lowering


@dataclass(frozen=True)
class RingCache(KeepAll):
    """The place follows from the position alone: nothing is kept from token to token.

    Attributes:
        ring: Budget and sinks.
    """

    ring: Ring

    def capacity(self, tokens: int) -> int:
        """The budget, or the context when that is smaller."""
        return min(tokens, self.ring.budget)

    def indices(self, low: Lowering, rooms: CacheRooms) -> Iterator[CacheIndex]:
        """min(t, sinks) + max(t - sinks, 0) mod (budget - sinks)."""
        budget, sinks = self.ring.budget, self.ring.sinks
        key = ("ring", rooms.first, budget, sinks)

        def compute() -> int:
            position, emit = low.position(rooms.first), low.emitter.emit
            turning = low.emitter.scalar("sub", position, sinks)
            emit("max", turning, turning, 0)
            emit("remu", turning, turning, budget - sinks)
            place = low.emitter.scalar("min", position, sinks)
            emit("add", place, place, Indexed(0, turning))
            low.emitter.release(turning)
            return place

        yield CacheIndex(low.once(key, compute), key)

    def end(self, low: Lowering, rooms: CacheRooms, is_causal: bool) -> int:
        """The smaller of the tokens so far and the budget."""
        budget = self.ring.budget
        total = super().end(low, rooms, is_causal)
        return low.once(("ring end", total, budget), lambda: low.emitter.scalar("min", total, budget))
