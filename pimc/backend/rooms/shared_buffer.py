"""Allocation of words in the shared buffer: first fit over free ranges."""

from __future__ import annotations

from dataclasses import dataclass, field

from isa import ResourceLimitError

COLUMN_WORDS = 16
"""Every room is a multiple of this many words, so that a transfer of whole columns stays inside it."""


class BufferFullError(ResourceLimitError):
    """The shared buffer has no room left."""


@dataclass
class BufferAllocator:
    """Free ranges of the shared buffer.

    Attributes:
        capacity_words: Size of the buffer.
        peak_words: Highest word in use so far, plus one.
    """

    capacity_words: int
    peak_words: int = 0
    _free: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def __post_init__(self) -> None:
        self._free = [(0, self.capacity_words)]

    @property
    def largest_free_words(self) -> int:
        """Size of the largest free range."""
        return max((size for _, size in self._free), default=0)

    def allocate(self, size: int, purpose: str, levers: str = "lower --max-context") -> int:
        """First word of a range of `size` words.

        Raises:
            BufferFullError: no free range is large enough; names `purpose`, and `levers` that make it smaller.
        """
        for position, (start, free) in enumerate(self._free):
            if free >= size:
                self._free[position : position + 1] = [(start + size, free - size)] if free > size else []
                self.peak_words = max(self.peak_words, start + size)
                return start
        raise BufferFullError(
            f"the shared buffer has no room for {purpose}",
            notes=[
                f"demand: {4 * size} bytes in one piece",
                f"bound: {4 * self.largest_free_words} of {4 * self.capacity_words} bytes are free in one piece",
            ],
            help=f"{levers}, or choose a machine with a larger shared buffer",
        )

    def release(self, start: int, size: int) -> None:
        """Give a range back; neighbouring free ranges join."""
        ranges = sorted([*self._free, (start, size)])
        joined = [ranges[0]]
        for begin, length in ranges[1:]:
            last_begin, last_length = joined[-1]
            if last_begin + last_length == begin:
                joined[-1] = (last_begin, last_length + length)
            else:
                joined.append((begin, length))
        self._free = joined
