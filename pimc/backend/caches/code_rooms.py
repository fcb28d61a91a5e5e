"""Where the codes of quantised keys and values lie in the banks, with their scales and zero points.

Codes lie as a `KvLayout` says, with beats of 16 codes in place of columns. The meta words of a group of tokens fill
whole columns of one bank of all channels, those of keys in bank 0, those of values in bank 1: word w of a column lies
in channel w div 8, so that one `ldb` brings the groups to consecutive rows of the shared buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from isa import Symbol
from pimc.backend.attention.cache_append import group_channels, head_column
from pimc.backend.emitter import Words, indexed
from pimc.kv_layout import KvLayout, choose_groups

if TYPE_CHECKING:
    from isa import OperandValue
    from passes import Quantized
    from pimc.backend.lowering import CacheRooms, Lowering

_BEAT_BITS = 16  # bits of a lane: a column holds 16 / bits beats


@dataclass(frozen=True)
class Codes:
    """The codes of the keys or of the values.

    Attributes:
        layout: Places; its columns are beats.
        bits: Bits of a code.
        column: First linear column.
        meta_bank: Bank with the meta words.
        meta_words: Meta words of a group of tokens.
        meta_column: First linear column of the meta words.
    """

    layout: KvLayout
    bits: int
    column: int
    meta_bank: int
    meta_words: int
    meta_column: int

    @property
    def beats(self) -> int:
        """Beats of a column."""
        return _BEAT_BITS // self.bits

    @property
    def item_words(self) -> int:
        """Words of a packed beat."""
        return self.bits * self.layout.banks // 32

    @property
    def facts(self) -> dict[str, int]:
        """How codes and meta words are stored, for a symbol's layout."""
        return {
            "bits": self.bits,
            "meta_bank": self.meta_bank,
            "meta_words": self.meta_words,
            "meta_columns": self.meta_columns,
        }

    @property
    def columns(self) -> int:
        """Columns that the codes take."""
        return self.layout.columns // self.beats

    @property
    def channels(self) -> int:
        """Channels that hold a part."""
        return self.layout.groups * self.layout.channels_per_group

    @property
    def meta_columns(self) -> int:
        """Columns of the meta words of a group of tokens."""
        return -(-self.meta_words // self._column_words)

    @property
    def meta_row(self) -> int:
        """Words from one group's meta words to the next in the shared buffer."""
        return self.meta_columns * self._column_words

    @property
    def _column_words(self) -> int:
        return self.channels * self.layout.banks // 2

    def address(self, member: int) -> int:
        """First column of the group's key/value head `member`."""
        return self.column + head_column(self.layout, member) // self.beats

    def move_meta(self, low: Lowering, mnemonic: str, words: Words, group: int | None, columns: OperandValue) -> None:
        """Emit the move (`ldb`, `stb`) of meta words from the group of tokens in a register on, or from the first."""
        low.emitter.emit(
            mnemonic,
            group_channels(self.layout),
            self.meta_bank,
            indexed(self.meta_column, group),
            columns,
            words.operand,
            cdiv=self.channels,
            sj=self.layout.banks // 2,
            sn=self._column_words,
            form="word",
        )


@dataclass(frozen=True)
class CodeRooms:
    """The quantised part of a cache.

    Attributes:
        keys: Codes of the keys.
        values: Codes of the values.
        groups: Groups of tokens that it has room for.
        columns: Columns that it takes.
    """

    keys: Codes
    values: Codes
    groups: int
    columns: int

    def symbols(self) -> Iterator[Symbol]:
        """Names of the places, without that of the cache; the numbers of a layout count beats of 16 codes."""
        for codes in (self.keys, self.values):
            kind = f"{codes.layout.kind}_codes"
            yield Symbol(
                kind, "bank", codes.column, codes.columns, codes.layout.to_json() | {"kind": kind, **codes.facts}
            )
        first = self.keys.meta_column
        size = self.groups * max(self.keys.meta_columns, self.values.meta_columns)
        yield Symbol("meta_words", "bank", first, size, {"kind": "meta_words", "groups": self.groups})


def code_rooms(rooms: CacheRooms, chosen: Quantized, groups: int) -> CodeRooms:
    """The places of the codes of some groups of tokens, from `rooms.code_column` on."""
    exact, heads = rooms.keys, rooms.keys.kv_heads
    tokens = groups * chosen.group
    spread = choose_groups(heads, rooms.channels, tokens)
    key_words = exact.head_dim if chosen.key_axis == "channel" else exact.head_dim // chosen.width * chosen.group
    value_words = rooms.values.head_dim // chosen.width * chosen.group
    key_layout = _layout(exact, chosen.key_bits, spread, tokens)
    keys = Codes(key_layout, chosen.key_bits, rooms.code_column, 0, heads * key_words, 0)
    value_layout = _layout(rooms.values, chosen.value_bits, spread, tokens)
    values = Codes(value_layout, chosen.value_bits, keys.column + keys.columns, 1, heads * value_words, 0)
    meta = values.column + values.columns
    end = meta + groups * max(keys.meta_columns, values.meta_columns)
    keys, values = replace(keys, meta_column=meta), replace(values, meta_column=meta)
    return CodeRooms(keys, values, groups, end - rooms.code_column)


def _layout(exact: KvLayout, bits: int, spread: tuple[int, int], tokens: int) -> KvLayout:
    groups, width = spread
    beats = exact.row_columns * (_BEAT_BITS // bits)
    return replace(exact, groups=groups, channels_per_group=width, row_columns=beats, max_tokens=tokens)


@contextmanager
def loaded_meta(low: Lowering, codes: Codes, groups: int, most: int) -> Iterator[Words]:
    """The meta words of the first groups of tokens, as many as the register `groups` says and at most `most`."""
    with low.storage.scratch(most * codes.meta_row, "scales and zero points") as words:
        columns = groups
        if codes.meta_columns > 1:
            columns = low.emitter.scalar("mul", groups, codes.meta_columns)
        codes.move_meta(low, "ldb", words, None, indexed(0, columns))
        if codes.meta_columns > 1:
            low.emitter.release(columns)
        yield words
