"""A cache of the first and the latest tokens that quantises the older ones (`Ring` with `Quantized`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Indexed
from pimc.backend.caches.quantized import QuantizedCache, exclude

if TYPE_CHECKING:
    from passes import Ring
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.lowering import CacheRooms, Lowering


@dataclass(frozen=True)
class QuantizedRingCache(QuantizedCache):
    """Group 0 stays in its place; later ones take turns in the places behind it, whole groups at a time.

    The window is longer than the exact ring, so that all exact tokens are attended to.

    Attributes:
        ring: Budget and sinks; the sinks belong to group 0.
    """

    ring: Ring

    @property
    def window(self) -> int:
        """Latest tokens that are attended to."""
        return self.ring.budget - self.ring.sinks

    @property
    def turning(self) -> int:
        """Groups that take turns."""
        return -(-self.window // self.chosen.group) + 1

    def groups(self, context: int) -> int:
        """All groups of the context, or group 0 and those that take turns when these are fewer."""
        return min(super().groups(context), 1 + self.turning)

    def _turns(self, rooms: CacheRooms) -> bool:
        """Whether any group is ever overwritten."""
        return self.groups(rooms.context) < super().groups(rooms.context)

    def base(self, low: Lowering, rooms: CacheRooms) -> int | None:
        """The quantised tokens, or as many as have a place."""
        count, most = super().base(low, rooms), self.groups(rooms.context) * self.chosen.group
        if count is None or not self._turns(rooms):
            return count
        return low.once(("held", count, most), lambda: low.emitter.scalar("min", count, most))

    def place(self, low: Lowering, rooms: CacheRooms) -> int:
        """That of group 0, or that of the oldest other group."""
        token = self.quantised(low, rooms)
        return low.once(("place", token), lambda: self._place_of(low, token)) if self._turns(rooms) else token

    def _place_of(self, low: Lowering, token: int) -> int:
        """A new register with the place of the quantised token in the register `token`, one of no or a later group."""
        group, emit = self.chosen.group, low.emitter.emit
        place = low.emitter.scalar("sub", token, group)
        emit("max", place, place, 0)
        emit("remu", place, place, self.turning * group)
        first = low.emitter.scalar("min", token, group)
        emit("add", place, place, Indexed(0, first))
        low.emitter.release(first)
        return place

    def adjust_scores(self, block: Block) -> None:
        """Exclude also quantised tokens that are no sinks and have left the window."""
        super().adjust_scores(block)
        if self.code_rooms(block.rooms) is None:
            return
        low, sinks = block.low, self.ring.sinks
        first = low.emitter.scalar("sub", low.position(block.rooms.first), self.window - 1)
        low.emitter.emit("max", first, first, sinks)
        left = low.emitter.scalar("sub", first, sinks)
        with low.emitter.unless_zero(left):
            self._exclude_first_group(block, left)
            self._exclude_later_groups(block, first)
        low.emitter.release(first, left)

    def _exclude_first_group(self, block: Block, left: int) -> None:
        """Exclude as many tokens behind the sinks as have left the window; `left` is changed."""
        low, sinks = block.low, self.ring.sinks
        low.emitter.emit("min", left, left, self.chosen.group - sinks)
        place = low.emitter.register()
        low.emitter.emit("li", place, sinks)
        exclude(block, place, left)
        low.emitter.release(place)

    def _exclude_later_groups(self, block: Block, first: int) -> None:
        """Exclude what lies behind group 0 of the tokens before that in the register `first`."""
        low, rooms, emit = block.low, block.rooms, block.low.emitter.emit
        group = self.chosen.group
        oldest = low.emitter.scalar("sub", self.quantised(low, rooms), self.turning * group)
        emit("max", oldest, oldest, group)
        count = low.emitter.scalar("sub", first, Indexed(0, oldest))
        emit("max", count, count, 0)
        with low.emitter.unless_zero(count):
            if not self._turns(rooms):
                exclude(block, oldest, count)
            else:
                place = self._place_of(low, oldest)
                self._exclude_around(block, place, count)
                low.emitter.release(place)
        low.emitter.release(oldest, count)

    def _exclude_around(self, block: Block, place: int, count: int) -> None:
        """Exclude `count` tokens from `place` on, behind the last place those behind group 0; both are changed."""
        low, emit = block.low, block.low.emitter.emit
        until_end = low.emitter.register()
        emit("li", until_end, (1 + self.turning) * self.chosen.group)
        emit("sub", until_end, until_end, Indexed(0, place))
        emit("min", until_end, until_end, Indexed(0, count))
        exclude(block, place, until_end)
        emit("sub", count, count, Indexed(0, until_end))
        with low.emitter.unless_zero(count):
            emit("li", place, self.chosen.group)
            exclude(block, place, count)
        low.emitter.release(until_end)
