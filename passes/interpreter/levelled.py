"""A cache that stores the elements above a threshold as codes in levels that grow, and nothing of the others."""

from __future__ import annotations

import numpy as np

from passes.interpreter.retention import Slots
from passes.kv_codes import Array, Scaling, decode, encode, packed, scaling
from passes.kv_policies import Levelled


class ChannelLevels:
    """Levels of the channels of one sequence: those of all key heads, then of all value heads.

    Attributes:
        split: Channels of keys.
        levels: Levels of a channel at most.
        steps: Codes of each channel but two: 0 is for what was pruned.
        thresholds: Magnitude from which on elements of each channel survive.
        count: Levels that each channel has, int32.
        low: Smallest element of the latest level.
        high: Largest element of the latest level.
        table: Meta words (binary16 scale, binary16 zero above) by level and channel, uint32; 0 where there is none.
    """

    def __init__(self, encoding: Levelled, key_channels: int, value_channels: int) -> None:
        channels = key_channels + value_channels
        is_key = np.arange(channels) < key_channels
        self.split = key_channels
        self.levels = encoding.levels
        self.steps = np.where(is_key, (1 << encoding.key_bits) - 2, (1 << encoding.value_bits) - 2)
        thresholds = (encoding.key_threshold, encoding.value_threshold)
        self.thresholds = np.where(is_key, *thresholds).astype(np.float32)
        self.count = np.zeros(channels, np.int32)
        self.low = np.zeros(channels, np.float32)
        self.high = np.zeros(channels, np.float32)
        self.table = np.zeros((encoding.levels, channels), np.uint32)

    def survivors(self, x: Array) -> Array:
        """Which elements [..., channels] survive."""
        return np.abs(x) >= self.thresholds

    def warm_up(self, x: Array) -> None:
        """Open the first levels for the tokens x [tokens, channels]."""
        survives = self.survivors(x)
        low = np.where(survives, x, np.float32(np.inf)).min(0)
        high = np.where(survives, x, np.float32(-np.inf)).max(0)
        self._open(np.any(survives, axis=0), low, high)

    def admit(self, x: Array) -> tuple[Array, Array]:
        """Codes of one token [channels], and whether each opened a level that is not its channel's first.

        A survivor outside of its channel's latest level opens one while there are fewer than `levels`.
        """
        survives = self.survivors(x)
        is_first = self.count == 0
        is_outside = (x < self.low) | (x > self.high)
        opens = survives & (is_first | (is_outside & (self.count < self.levels)))
        low = np.where(is_first, x, np.minimum(self.low, x))
        high = np.where(is_first, x, np.maximum(self.high, x))
        self._open(opens, low, high)
        codes = np.where(survives, encode(x, self._latest(), self.steps, base=1), 0)
        return codes, opens & ~is_first

    def worth(self, codes: Array) -> Array:
        """What codes in the latest levels are worth."""
        return decode(codes, self._latest(), base=1)

    def _open(self, opens: Array, low: Array, high: Array) -> None:
        self.low, self.high = np.where(opens, low, self.low), np.where(opens, high, self.high)
        self.count = self.count + opens
        channels = np.flatnonzero(opens)
        self.table[self.count[channels] - 1, channels] = self._latest().words[channels]

    def _latest(self) -> Scaling:
        return scaling(self.low, self.high, self.steps)


def record(codes: Array, opened: Array, split: int, key_bits: int, value_bits: int) -> Array:
    """A token as bytes: bitmap of the codes that are not 0, a level bit for each of them, and the codes.

    In Titanus' public model a token takes ceil(2d (1 - s_q) b / 8) + ceil(2d / 8) + ceil(2d (1 - s_b) / 8) bytes for 2d
    channels, b bits on average, and sparsities s_b before and s_q after quantisation; here no survivor becomes zero.

    Args:
        codes: Of all channels.
        opened: Whether each channel opened a level.
        split: Channels of keys.
        key_bits: Bits of a key's code.
        value_bits: The same for values.
    """
    is_stored = codes != 0
    bits = [
        np.unpackbits(packed(part[part != 0], width), bitorder="little")[: np.count_nonzero(part) * width]
        for part, width in ((codes[:split], key_bits), (codes[split:], value_bits))
    ]
    payload = np.packbits(np.concatenate(bits), bitorder="little")
    return np.concatenate(
        [packed(is_stored.astype(np.int32), 1), packed(opened[is_stored].astype(np.int32), 1), payload]
    )


class LevelledTokens:
    """Keys and values of one sequence as they are worth.

    Attributes:
        encoding: The mechanism.
        levels: Levels of the channels.
        records: One a token, in order, as bytes (uint8); empty until the end of the warm-up.
    """

    def __init__(self, encoding: Levelled, kv_heads: int, head_dim: int, value_dim: int) -> None:
        self.encoding = encoding
        self.levels = ChannelLevels(encoding, kv_heads * head_dim, kv_heads * value_dim)
        self.records: list[Array] = []
        self._slots = Slots.empty(None, kv_heads, head_dim, value_dim)

    @property
    def tokens(self) -> int:
        """Tokens of the sequence so far."""
        return self._slots.tokens

    def append(self, key: Array, value: Array) -> None:
        """Store the next token; behind the warm-up it is compressed first."""
        self._slots.append(key, value)
        if self.tokens > self.encoding.warmup:
            self._compress(self.tokens - 1)

    def contents(self) -> tuple[Array, Array, Array]:
        """What all tokens are worth."""
        return self._slots.contents()

    def observe(self, weights: Array, factors: Array) -> None:
        """Attention does not matter here."""

    def finish(self) -> None:
        """Compress the warm-up when it is complete."""
        if self.tokens == self.encoding.warmup:
            self.levels.warm_up(np.stack([self._channels(token) for token in range(self.tokens)]))
            for token in range(self.tokens):
                self._compress(token)

    def _channels(self, token: int) -> Array:
        return np.concatenate([self._slots.keys[:, token].reshape(-1), self._slots.values[:, token].reshape(-1)])

    def _compress(self, token: int) -> None:
        split, kind = self.levels.split, self.encoding
        codes, opened = self.levels.admit(self._channels(token))
        self.records.append(record(codes, opened, split, kind.key_bits, kind.value_bits))
        worth = self.levels.worth(codes)
        self._slots.keys[:, token] = worth[:split].reshape(self._slots.keys[:, token].shape)
        self._slots.values[:, token] = worth[split:].reshape(self._slots.values[:, token].shape)
