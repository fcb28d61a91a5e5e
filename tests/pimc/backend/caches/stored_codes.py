"""Reads quantised keys and values from the banks, cell by cell, and compares them with what numpy has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from attention_only import AttentionUnderTest
from numpy.typing import NDArray

from isa import Program
from passes.interpreter.quantized import CodeGroup

Array = NDArray[Any]
_BANKS = 16


class StoredCodes:
    """What the code region of a program's only cache holds."""

    def __init__(self, test: AttentionUnderTest) -> None:
        self.program: Program = test.program
        region = test.session.simulator.state.bank_region("kv_codes")
        first = self.program.region("kv_codes").address
        channels, banks = region.data.shape[:2]
        self._first, self._columns = first, region.data.reshape(channels, banks, -1, _BANKS)
        self._codes = {symbol: self._beats(symbol) for symbol in ("key_codes", "value_codes")}

    def keys(self, token: int, head: int) -> Array:
        """Codes of a key: beats of 16 channels, one behind the other in the token's bank."""
        layout = self._layout("key_codes")
        beats = -(-layout["head_dim"] // _BANKS)
        group, member = divmod(head, layout["kv_heads"] // layout["groups"])
        unit, bank = divmod(token, _BANKS)
        slot, channel = divmod(unit, layout["channels_per_group"])
        first = self._row("key_codes", member, slot, beats) + slot % (layout["row_columns"] // beats) * beats
        channel += group * layout["channels_per_group"]
        return self._codes["key_codes"][channel, bank, first : first + beats].ravel()

    def values(self, token: int, head: int) -> Array:
        """Codes of a value: one of a beat in each bank and stripe."""
        layout = self._layout("value_codes")
        beats = -(-layout["head_dim"] // _BANKS)
        slots = layout["row_columns"] // beats
        group, member = divmod(head, layout["kv_heads"] // layout["groups"])
        unit, lane = divmod(token, _BANKS)
        slot, channel = divmod(unit, layout["channels_per_group"])
        channel += group * layout["channels_per_group"]
        row = self._row("value_codes", member, slot, beats)
        d = np.arange(layout["head_dim"])
        return self._codes["value_codes"][channel, d % _BANKS, row + d // _BANKS * slots + slot % slots, lane]

    def meta(self, symbol: str, number: int) -> Array:
        """The meta words (uint32) of a group of tokens."""
        layout, columns = self._layout(symbol), self._layout(symbol)["meta_columns"]
        first = self.program.symbol("cache.meta_words").address - self._first + number * columns
        channels = layout["groups"] * layout["channels_per_group"]
        found = self._columns[:channels, layout["meta_bank"], first : first + columns]
        words = np.ascontiguousarray(found.transpose(1, 0, 2)).view(np.uint32).ravel()
        return words[: layout["meta_words"]]

    def _layout(self, symbol: str) -> Mapping[str, Any]:
        return self.program.symbol(f"cache.{symbol}").layout

    def _row(self, symbol: str, member: int, slot: int, beats: int) -> int:
        """First beat of a slot's row."""
        layout = self._layout(symbol)
        slots = layout["row_columns"] // beats
        all_slots = -(-layout["max_tokens"] // (_BANKS * layout["channels_per_group"]))
        return (member * -(-all_slots // slots) + slot // slots) * layout["row_columns"]

    def _beats(self, symbol: str) -> Array:
        """All codes [channel, bank, beat, 16], the lowest bits first; a column holds 16 / bits beats."""
        bits, found = self._layout(symbol)["bits"], self.program.symbol(f"cache.{symbol}")
        cells = self._columns[:, :, found.address - self._first :][:, :, : found.size].astype(np.uint16)
        spread = np.unpackbits(np.ascontiguousarray(cells).view(np.uint8), axis=-1, bitorder="little")
        return spread.reshape(*cells.shape[:2], -1, 16, bits) @ (1 << np.arange(bits))


def assert_codes(test: AttentionUnderTest, places: Mapping[int, int] | None = None) -> int:
    """Codes and meta words in the banks are numpy's, bit for bit; returns the number of groups.

    Args:
        test: A program that ran.
        places: Which group lies at each place; default: all of them, in order.
    """
    groups: list[CodeGroup] = test.caches["cache"].sequences[0].tokens.groups  # type: ignore[union-attr]
    if not groups:
        return 0
    found = StoredCodes(test)
    for place, number in (places or {index: index for index in range(len(groups))}).items():
        group = groups[number]
        np.testing.assert_array_equal(found.meta("key_codes", place), _words(group.key_meta))
        np.testing.assert_array_equal(found.meta("value_codes", place), _words(group.value_meta))
        heads, tokens, _ = group.key_codes.shape  # type: ignore[union-attr]
        every = range(place * tokens, (place + 1) * tokens)
        keys, values = (
            [[read(token, head) for token in every] for head in range(heads)] for read in (found.keys, found.values)
        )
        np.testing.assert_array_equal(keys, group.key_codes)
        np.testing.assert_array_equal(values, group.value_codes)
    return len(groups)


def _words(meta: Array | None) -> Array:
    """Meta words as they are stored: of a channel [head, channel], or of a token [token, head, run]."""
    assert meta is not None
    return (meta if meta.ndim == 2 else meta.swapaxes(0, 1)).ravel()
