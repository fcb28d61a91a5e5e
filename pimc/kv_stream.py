"""How the records of a levelled KV cache lie in near-bank DRAM and in the shared buffer, for compiler and host.

Records follow one another as bytes. Column c of the stream lies in channel c mod channels; the columns of all channels
are a stripe. Stripe s is column s mod row_columns of row s div row_columns of the stream; row r of the stream is row
r div banks of bank r mod banks.

State in the shared buffer, words: the newest token (keys, then values), the latest levels of the keys and those of the
values (counts, lowest, highest, meta words), the table of all levels [levels, channels], the bytes of the stream, and
whether there are any data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LATEST = 4
"""Vectors that the latest levels take: counts, lowest, highest, meta words."""


def state_words(channels: int, levels: int) -> int:
    """Words of the state of a cache whose tokens have `channels` channels with at most `levels` levels."""
    return (1 + _LATEST + levels) * channels + 2


@dataclass(frozen=True)
class StreamLayout:
    """Places of one layer's records.

    Attributes:
        key_channels: Channels of a token's keys, of all heads.
        value_channels: The same of its values.
        key_bits: Bits of a key's code.
        value_bits: Bits of a value's code.
        levels: Levels of a channel at most.
        record_bytes: Most bytes of a record.
        expected_bytes: Bytes of a record in runs without data.
        max_tokens: Tokens that fit, whatever they are.
        device_channels: Channels of the device.
        banks: Banks of a channel.
        row_columns: Columns of a row of a bank.
        column_bytes: Bytes of a column.
    """

    key_channels: int
    value_channels: int
    key_bits: int
    value_bits: int
    levels: int
    record_bytes: int
    expected_bytes: int
    max_tokens: int
    device_channels: int
    banks: int
    row_columns: int
    column_bytes: int

    @property
    def channels(self) -> int:
        """Channels of a token."""
        return self.key_channels + self.value_channels

    @property
    def stripe_bytes(self) -> int:
        """Bytes of a column of all channels of the device."""
        return self.device_channels * self.column_bytes

    @property
    def max_bytes(self) -> int:
        """Bytes of the longest stream."""
        return self.max_tokens * self.record_bytes

    @property
    def max_stripes(self) -> int:
        """Stripes of the longest stream."""
        return -(-self.max_bytes // self.stripe_bytes)

    @property
    def columns(self) -> int:
        """Linear columns of the banks that the longest stream takes."""
        rows = -(-self.max_stripes // self.row_columns)
        return -(-rows // self.banks) * self.row_columns

    @property
    def latest_keys(self) -> int:
        """Word of the state where the latest levels of the keys begin."""
        return self.channels

    @property
    def latest_values(self) -> int:
        """Word of the state where those of the values begin."""
        return self.latest_keys + _LATEST * self.key_channels

    @property
    def table(self) -> int:
        """Word of the state where the table begins."""
        return self.latest_values + _LATEST * self.value_channels

    @property
    def size(self) -> int:
        """Word of the state with the bytes of the stream."""
        return self.table + self.levels * self.channels

    @property
    def has_data(self) -> int:
        """Word of the state that is 0 unless records were computed."""
        return self.size + 1

    @property
    def all_channels(self) -> int:
        """Mask of the channels of the device."""
        return (1 << self.device_channels) - 1

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, for a symbol's `layout`."""
        return {"kind": "records", **asdict(self)}

    @classmethod
    def from_json(cls, layout: Mapping[str, Any]) -> StreamLayout:
        """Read what `to_json` wrote."""
        return cls(**{field.name: layout[field.name] for field in fields(cls)})

    def load(self, region: NDArray[np.uint16], first_column: int, size: int) -> NDArray[np.uint8]:
        """The first `size` bytes of a stream.

        Args:
            region: [channels, banks, columns * lanes] of a code region.
            first_column: Column of the region where the stream begins.
            size: Bytes.
        """
        stripes = np.arange(-(-size // self.stripe_bytes))
        row, place = stripes // self.row_columns, stripes % self.row_columns
        lanes = self.column_bytes // region.itemsize
        column = first_column + row // self.banks * self.row_columns + place
        found = region[:, (row % self.banks)[:, None], column[:, None] * lanes + np.arange(lanes)]
        return np.ascontiguousarray(found.transpose(1, 0, 2)).reshape(-1).view(np.uint8)[:size]
