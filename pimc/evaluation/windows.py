"""A text as windows of tokens, and which of their tokens are scored."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa import InputError, Place


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of equal size over the tokens of a text, each read with an empty cache.

    A token is scored once, in the first window that holds it behind another token: all but the first of window 0, and
    of every later window the last `stride` ones; with a stride of the whole size, all but the first again.

    Attributes:
        tokens: All tokens of the text.
        size: Tokens of a window.
        stride: Tokens from the beginning of a window to that of the next.
        count: Number of windows.
    """

    tokens: NDArray[np.int64]
    size: int
    stride: int
    count: int

    def window(self, number: int) -> NDArray[np.int64]:
        """The tokens of a window."""
        start = number * self.stride
        return self.tokens[start : start + self.size]

    def first_scored(self, number: int) -> int:
        """Place in a window of the first token that is scored there."""
        return 1 if number == 0 else max(1, self.size - self.stride)

    def scored(self, number: int) -> int:
        """How many tokens are scored in a window."""
        return self.size - self.first_scored(number)

    @property
    def left_over(self) -> int:
        """Tokens at the end of the text that are in no window."""
        return len(self.tokens) - (self.count - 1) * self.stride - self.size

    @property
    def sha256(self) -> str:
        """Hash of the tokens."""
        return hashlib.sha256(self.tokens.astype("<i8").tobytes()).hexdigest()


def cut_windows(tokens: Sequence[int], size: int, stride: int, limit: int | None = None, path: str = "") -> Windows:
    """Cut a text into windows.

    Args:
        tokens: Of the whole text.
        size: Tokens of a window, at least 2.
        stride: Tokens between the beginnings of two windows, 1 to `size`.
        limit: Windows at most.
        path: File of the text, for the refusal.

    Raises:
        InputError: the text is shorter than a window, or the sizes contradict each other.
    """
    if size < 2:
        raise InputError(f"a window of {size} tokens predicts nothing", help="give --window 2 or more")
    if not 1 <= stride <= size:
        raise InputError(
            f"a stride of {stride} tokens does not fit windows of {size}", help=f"give --stride from 1 to {size}"
        )
    if len(tokens) < size:
        raise InputError(
            f"the text has {len(tokens)} tokens, fewer than a window of {size}",
            Place(path) if path else None,
            help=f"give a longer text or --window {len(tokens)}" if len(tokens) > 1 else "give a longer text",
        )
    whole = 1 + (len(tokens) - size) // stride
    return Windows(np.asarray(tokens, np.int64), size, stride, whole if limit is None else min(whole, limit))
