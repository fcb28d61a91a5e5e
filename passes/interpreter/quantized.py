"""A cache that stores groups of tokens as integer codes and the latest tokens exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from passes.interpreter.retention import Slots
from passes.kv_codes import Array, decode, encode, scaling
from passes.kv_policies import Quantized, Ring

_EXACT_BITS = 16


@dataclass(frozen=True)
class CodeGroup:
    """Tokens that were quantised together; codes are int32, meta words uint32 (binary16 scale, binary16 zero above).

    Attributes:
        first: The first token.
        key_codes: [G, group, D]; `None` when keys stay exact, like the next three.
        key_meta: [G, D] per channel, [G, group, D / width] per token.
        value_codes: [G, group, Dv].
        value_meta: [G, group, Dv / width].
    """

    first: int
    key_codes: Array | None
    key_meta: Array | None
    value_codes: Array | None
    value_meta: Array | None


class CodedTokens:
    """Keys and values of one sequence as they are worth: quantised tokens first, then exact ones.

    Attributes:
        groups: What was quantised, in order; the groups of a ring that lie there no more are among them.
    """

    def __init__(self, encoding: Quantized, ring: Ring | None, kv_heads: int, head_dim: int, value_dim: int) -> None:
        self.encoding = encoding
        self.ring = ring
        self.groups: list[CodeGroup] = []
        self._slots = Slots.empty(None, kv_heads, head_dim, value_dim)

    @property
    def tokens(self) -> int:
        """Tokens of the sequence so far."""
        return self._slots.tokens

    @property
    def quantized(self) -> int:
        """Tokens that are stored as codes."""
        return len(self.groups) * self.encoding.group

    def append(self, key: Array, value: Array) -> None:
        """Store the next token exactly."""
        self._slots.append(key, value)

    def contents(self) -> tuple[Array, Array, Array]:
        """What all tokens are worth, with position -1 for those that a ring leaves out."""
        keys, values, positions = self._slots.contents()
        if self.ring is not None:
            is_kept = (positions < self.ring.sinks) | (positions >= self.tokens - self.ring.budget + self.ring.sinks)
            positions = np.where(is_kept, positions, -1)
        return keys, values, positions

    def observe(self, weights: Array, factors: Array) -> None:
        """Attention does not matter here."""

    def finish(self) -> None:
        """Quantise the oldest exact group when enough tokens are exact."""
        if self.tokens - self.quantized == self.encoding.residual + self.encoding.group:
            self._quantize(self.quantized)

    def _quantize(self, first: int) -> None:
        kind = self.encoding
        tokens = slice(first, first + kind.group)
        width = None if kind.key_axis == "channel" else kind.width
        key_codes, key_meta = _coded(self._slots.keys[:, tokens], kind.key_bits, width)
        value_codes, value_meta = _coded(self._slots.values[:, tokens], kind.value_bits, kind.width)
        self.groups.append(CodeGroup(first, key_codes, key_meta, value_codes, value_meta))


def _coded(elements: Array, bits: int, width: int | None) -> tuple[Array | None, Array | None]:
    """Codes and meta words of elements [G, tokens, D], which become what they are worth.

    Args:
        elements: A view into the cache.
        bits: Bits of a code; 16 leaves the elements exact.
        width: Channels that share the scaling of a token; `None` for one scaling a channel.
    """
    if bits == _EXACT_BITS:
        return None, None
    heads, tokens, channels = elements.shape
    steps = (1 << bits) - 1
    runs = elements[:, :, None] if width is None else elements.reshape(heads, tokens, channels // width, width)
    axis = 1 if width is None else 3
    by = scaling(runs.min(axis, keepdims=True), runs.max(axis, keepdims=True), steps)
    codes = encode(runs, by, steps)
    elements[:] = decode(codes, by).reshape(elements.shape)
    meta = by.words[:, 0, 0] if width is None else by.words[..., 0]
    return codes.reshape(elements.shape), meta
