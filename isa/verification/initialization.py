"""Whether shared buffer, global buffers and accumulators are written before they are read.

Only certain mistakes are found: a read counts when its first addresses are constant and it is surely carried out, and
everything that an earlier instruction can write counts as written.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from isa.program import Program

TRACKED = ("sb", "gb", "acc")
"""Spaces without contents when a program starts; cache regions in the banks are cleared."""


@dataclass(frozen=True)
class Event:
    """A read or a write, in the order of the program.

    Attributes:
        index: Number of the instruction.
        space: Memory space.
        low: First address.
        high: Last address.
        channels: Channels that take part, as a mask; 1 for the shared buffer.
        is_write: Whether it writes.
        anywhere: Whether a write after it in the program may come before it in time.
    """

    index: int
    space: str
    low: int
    high: int
    channels: int
    is_write: bool
    anywhere: bool = False


@dataclass
class _Written:
    """Addresses of one space and channel that may have been written, as disjoint ranges."""

    starts: list[int] = field(default_factory=list[int])
    ends: list[int] = field(default_factory=list[int])

    def add(self, low: int, high: int) -> None:
        first = bisect_left(self.ends, low - 1)
        last = bisect_right(self.starts, high + 1)
        if first < last:
            low, high = min(low, self.starts[first]), max(high, self.ends[last - 1])
        self.starts[first:last] = [low]
        self.ends[first:last] = [high]

    def missing(self, low: int, high: int) -> int | None:
        """The first address from `low` to `high` that was not written."""
        place = bisect_right(self.starts, low) - 1
        if place < 0 or self.ends[place] < low:
            return low
        return None if self.ends[place] >= high else self.ends[place] + 1


@dataclass
class _Memory:
    ranges: dict[tuple[str, int], _Written] = field(default_factory=dict[tuple[str, int], _Written])
    seen: set[tuple[str, int, int, int]] = field(default_factory=set[tuple[str, int, int, int]])

    def write(self, event: Event) -> None:
        where = (event.space, event.low, event.high, event.channels)
        if where in self.seen:
            return
        self.seen.add(where)
        for channel in _channels(event.channels):
            self.ranges.setdefault((event.space, channel), _Written()).add(event.low, event.high)

    def missing(self, event: Event) -> tuple[int, int] | None:
        """(address, channel) of a word that is read without having been written."""
        for channel in _channels(event.channels):
            address = self.ranges.get((event.space, channel), _Written()).missing(event.low, event.high)
            if address is not None:
                return address, channel
        return None


def _channels(mask: int) -> list[int]:
    return [channel for channel in range(mask.bit_length()) if mask >> channel & 1]


def uninitialised_reads(program: Program, entries: Sequence[Sequence[Event]]) -> Iterator[tuple[int, str]]:
    """(instruction, message) for every read of what nothing has written.

    Args:
        program: The program: its input and constant regions and its input symbols are written by the host.
        entries: Events of each entry; an entry may read what other entries write.
    """
    for number, events in enumerate(entries):
        others = [event for other, each in enumerate(entries) if other != number for event in each if event.is_write]
        yield from _entry_reads(program, events, others)


def _entry_reads(program: Program, events: Sequence[Event], others: Iterable[Event]) -> Iterator[tuple[int, str]]:
    memory, later = _Memory(), _Memory()
    for event in (*_host_writes(program), *others):
        memory.write(event)
        later.write(event)
    for event in events:
        if event.is_write:
            later.write(event)
    for event in events:
        if event.is_write:
            memory.write(event)
            continue
        missing = (later if event.anywhere else memory).missing(event)
        if missing is not None:
            yield event.index, _message(event, *missing)
            memory.write(event)


def _message(event: Event, address: int, channel: int) -> str:
    if event.space == "sb":
        return f"it reads word {address} of the shared buffer, which nothing has written"
    what = f"global buffer column {address}" if event.space == "gb" else f"accumulator {address}"
    return f"it reads {what} of channel {channel}, which nothing has written"


def _host_writes(program: Program) -> Iterator[Event]:
    inputs = {port.symbol for port in program.ports if port.direction == "input"}
    for symbol in program.symbols:
        if symbol.space == "sb" and symbol.name in inputs and symbol.size:
            yield Event(-1, "sb", symbol.address, symbol.address + symbol.size - 1, 1, True)
    filled = {segment.region for segment in program.segments}
    for region in program.regions:
        given = region.role in ("inputs", "constants", "cache") or region.name in filled
        if region.space == "sb" and given and region.size:
            yield Event(-1, "sb", region.address, region.address + region.size - 1, 1, True)
