"""Read-only values in the shared buffer, placed before every other room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import UnsupportedError
from passes import Value
from pimc.backend.rooms.shared_buffer import COLUMN_WORDS, BufferAllocator

Constant = tuple[str, int, NDArray[np.uint32]]
"""Name, first word and raw words of a constant in the shared buffer."""


@dataclass
class Constants:
    """Constants of a program.

    Attributes:
        allocator: The shared buffer.
        placed: Name, first word and raw words of each.
    """

    allocator: BufferAllocator
    placed: list[Constant] = field(default_factory=list[Constant])
    _words: dict[Value, int] = field(default_factory=dict[Value, int])
    _earlier: dict[bytes, int] = field(default_factory=dict[bytes, int])

    def begin_graph(self) -> None:
        """From now on take over what has been placed so far, for another graph of the same program."""
        self._earlier = {raw.tobytes(): word for _, word, raw in self.placed}

    def add(self, array: NDArray[Any], name: str) -> int:
        """First word of a read-only array, a new one unless an earlier graph holds the same words."""
        raw = np.zeros(-(-array.size // COLUMN_WORDS) * COLUMN_WORDS, dtype=np.uint32)
        raw[: array.size] = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
        known = self._earlier.get(raw.tobytes()) if self._earlier else None
        if known is not None:
            return known
        word = self.allocator.allocate(raw.size, f"the constant '{name}'")
        self.placed.append((name, word, raw))
        return word

    def place(self, value: Value) -> None:
        """Put a constant value into the shared buffer, once: floats as binary32, integers and bool as int32.

        Raises:
            UnsupportedError: integers do not fit 32 bits.
        """
        if value.constant is None or value in self._words:
            return
        is_real = value.type.dtype.startswith(("float", "bfloat"))
        kind = np.float32 if is_real else np.int32
        if not is_real and value.constant.size and not _fits_words(value.constant):
            raise UnsupportedError(f"the integers of the constant '{value.name}' do not fit 32 bits")
        self._words[value] = self.add(np.asarray(value.constant, dtype=kind), value.name)

    def word(self, value: Value) -> int:
        """First word of a value that `place` has put."""
        return self._words[value]


def _fits_words(array: NDArray[Any]) -> bool:
    bounds = np.iinfo(np.int32)
    return bool(array.min() >= bounds.min and array.max() <= bounds.max)
