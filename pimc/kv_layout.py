"""How keys and values lie in near-bank DRAM, for the compiler that emits addresses and the host that packs tensors.

Channels form `groups` of `channels_per_group`; a group holds `heads_per_group` key/value heads and splits the tokens
over its channels. Token t has token group U = t div banks, which lives in channel U mod channels_per_group of the
group, in slot S = U div channels_per_group. A row of a bank holds `slots_per_row` slots.

* keys: token t in bank t mod banks, columns (S mod slots_per_row) * head_columns + i of row S div slots_per_row;
* values, transposed: element d in bank d mod banks, stripe d div banks, column
  stripe * slots_per_row + S mod slots_per_row of row S div slots_per_row, lane t mod banks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from isa import ResourceLimitError, cache_columns


@dataclass(frozen=True)
class KvLayout:
    """Layout of the keys or the values of one attention block.

    Attributes:
        kind: `key` or `value`.
        kv_heads: Key/value heads.
        head_dim: Elements of a head.
        groups: Channel groups.
        channels_per_group: Channels of a group.
        banks: Banks of a channel; equals the lanes of a column.
        row_columns: Columns of a row.
        max_tokens: Tokens of a sequence that fit.
        sequences: Sequences of a batch, one behind the other.
    """

    kind: str
    kv_heads: int
    head_dim: int
    groups: int
    channels_per_group: int
    banks: int
    row_columns: int
    max_tokens: int
    sequences: int = 1

    @property
    def heads_per_group(self) -> int:
        """Key/value heads that share a group of channels."""
        return self.kv_heads // self.groups

    @property
    def head_columns(self) -> int:
        """Columns of a head vector: ceil(head_dim / banks)."""
        return -(-self.head_dim // self.banks)

    @property
    def slots_per_row(self) -> int:
        """Slots in a row."""
        return self.row_columns // self.head_columns

    @property
    def slot_tokens(self) -> int:
        """Tokens that one slot of a group holds."""
        return self.banks * self.channels_per_group

    @property
    def max_slots(self) -> int:
        """Slots for `max_tokens`."""
        return -(-self.max_tokens // self.slot_tokens)

    @property
    def rows_per_head(self) -> int:
        """Rows of a bank that a head of the group takes."""
        return -(-self.max_slots // self.slots_per_row)

    @property
    def columns(self) -> int:
        """Linear columns of a bank that one sequence takes."""
        return cache_columns(self.to_json()) // self.sequences

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, for a symbol's `layout`."""
        return asdict(self)

    @classmethod
    def from_json(cls, layout: Mapping[str, Any]) -> KvLayout:
        """Read what `to_json` wrote."""
        return cls(**layout)

    def store(self, region: NDArray[Any], first_column: int, tensor: NDArray[Any], start_token: int = 0) -> None:
        """Write `tensor` [sequences, kv_heads, tokens, head_dim] to tokens start_token, ... of the cache.

        Args:
            region: [channels, banks, columns * lanes], bf16 bits (uint16) or float32; changed in place.
            first_column: Column of the region where the block begins.
            tensor: float32 keys or values.
            start_token: Position of the first token.
        """
        index = self.index(start_token + np.arange(tensor.shape[2]), first_column)
        values = np.asarray(tensor, dtype=np.float32)
        if region.dtype == np.uint16:
            region[index] = values.astype(ml_dtypes.bfloat16).view(np.uint16)
        else:
            region[index] = values

    def load(self, region: NDArray[Any], first_column: int, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read tokens back as float32 [sequences, kv_heads, tokens, head_dim]; other arguments as in `store`."""
        values = region[self.index(tokens, first_column)]
        if region.dtype == np.uint16:
            values = values.view(ml_dtypes.bfloat16)
        return np.asarray(values, dtype=np.float32)

    def index(self, tokens: NDArray[np.int64], first_column: int) -> tuple[NDArray[np.int64], ...]:
        """Where the elements of tokens lie: channel, bank and lane of a region [channels, banks, columns * lanes].

        Args:
            tokens: Positions, or slots.
            first_column: Column of the region where the block begins.

        Returns:
            Arrays [sequences, kv_heads, tokens, head_dim].
        """
        head = np.arange(self.kv_heads)[:, None, None]
        token = tokens[None, :, None]
        element = np.arange(self.head_dim)[None, None, :]
        token_group = token // self.banks
        slot = token_group // self.channels_per_group
        group, member = head // self.heads_per_group, head % self.heads_per_group
        channel = group * self.channels_per_group + token_group % self.channels_per_group
        row = member * self.rows_per_head + slot // self.slots_per_row
        place = slot % self.slots_per_row
        stripe, rest = element // self.banks, element % self.banks
        if self.kind == "key":
            bank, column, lane = token % self.banks, place * self.head_columns + stripe, rest
        else:
            bank, column, lane = rest, stripe * self.slots_per_row + place, token % self.banks
        first = first_column + self.columns * np.arange(self.sequences)[:, None, None, None]
        linear = first + row * self.row_columns + column
        return tuple(np.broadcast_arrays(channel, bank, linear * self.banks + lane))


_VISIT_SLOTS = 12
"""Cost of serving one head of a group (row activation, mode switches, register input and output, about 300 cycles),
in slots (about 24 cycles: four MAC columns and one accumulator for each of three query heads)."""


def choose_groups(kv_heads: int, channels: int, tokens: int) -> tuple[int, int]:
    """Groups and channels per group with the lowest cost for a cache of `tokens` tokens.

    The heads of a group are served one after the other, each for a fixed cost and a cost per slot; among equals the
    most groups win, because a short context then fills its slots better.
    """
    token_groups = -(-tokens // 16)
    best: tuple[int, int, int] | None = None
    for groups in (count for count in range(1, min(kv_heads, channels) + 1) if kv_heads % count == 0):
        width = channels // groups
        candidate = ((kv_heads // groups) * (-(-token_groups // width) + _VISIT_SLOTS), -groups, width)
        if best is None or candidate < best:
            best = candidate
    if best is None:
        raise ResourceLimitError(f"{kv_heads} key/value heads cannot be spread over {channels} channels")
    return -best[1], best[2]
