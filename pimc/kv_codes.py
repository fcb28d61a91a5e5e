"""How the codes of a quantised KV cache lie in near-bank DRAM, for the host that reads them.

Codes lie as a `KvLayout` says, with beats of 16 codes in place of columns. A group of tokens has meta words (binary16
scale in bits 0 to 15, binary16 zero point above): whole columns of one bank of all channels, word w of a column in
channel w div 8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimc.kv_layout import KvLayout


@dataclass(frozen=True)
class CodeLayout:
    """The codes of the keys or of the values of one cache.

    Attributes:
        places: Where the codes lie; its columns are beats.
        bits: Bits of a code.
        meta_bank: Bank with the meta words.
        meta_words: Meta words of a group of tokens.
        meta_columns: Columns of a bank that these take.
    """

    places: KvLayout
    bits: int
    meta_bank: int
    meta_words: int
    meta_columns: int

    @classmethod
    def from_json(cls, layout: Mapping[str, Any]) -> CodeLayout:
        """Read the layout of a symbol of kind `key_codes` or `value_codes`."""
        numbers = {field.name: layout[field.name] for field in fields(KvLayout)}
        places = KvLayout.from_json({**numbers, "kind": str(layout["kind"]).removesuffix("_codes")})
        return cls(places, layout["bits"], layout["meta_bank"], layout["meta_words"], layout["meta_columns"])

    def codes(self, region: NDArray[np.uint16], first_column: int, tokens: NDArray[np.int64]) -> NDArray[np.int32]:
        """Codes of tokens by their places.

        Args:
            region: [channels, banks, columns * lanes] of a code region.
            first_column: Column of the region where the codes begin.
            tokens: Places.

        Returns:
            [kv_heads, tokens, head_dim].
        """
        lanes, channels, banks = self.places.banks, region.shape[0], region.shape[1]
        columns = self.places.columns * self.bits // lanes
        cells = region[:, :, first_column * lanes : (first_column + columns) * lanes]
        spread = np.unpackbits(np.ascontiguousarray(cells).view(np.uint8), axis=-1, bitorder="little")
        beats = spread.reshape(channels, banks, -1, self.bits) @ (1 << np.arange(self.bits, dtype=np.int32))
        return np.asarray(beats[self.places.index(tokens, 0)][0], np.int32)

    def meta(self, region: NDArray[np.uint16], first_column: int, groups: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scales and zero points of groups of tokens.

        Args:
            region: As for `codes`.
            first_column: Column of the region where meta words begin.
            groups: Places.

        Returns:
            [2, groups, meta words of a group], scales first.
        """
        lanes, channels = self.places.banks, self.places.groups * self.places.channels_per_group
        bank = region[:channels, self.meta_bank].reshape(channels, -1, lanes)
        columns = first_column + groups[:, None] * self.meta_columns + np.arange(self.meta_columns)
        halves = np.ascontiguousarray(bank[:, columns].transpose(1, 2, 0, 3)).reshape(len(groups), -1, 2)
        return np.asarray(halves[:, : self.meta_words].view(np.float16).transpose(2, 0, 1), np.float32)
