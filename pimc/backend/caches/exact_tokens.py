"""Reads the first tokens of a `KvLayout` back from the banks, side by side: keys, then values of each token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pimc.backend.attention.cache_append import head_column, key_address, owner_channels, value_address
from pimc.backend.caches.keep_all import CacheIndex
from pimc.backend.emitter import Words, indexed

if TYPE_CHECKING:
    from pimc.backend.lowering import CacheRooms, Lowering
    from pimc.kv_layout import KvLayout

_Address = Callable[["Lowering", "KvLayout", CacheIndex], int]


def load_exact(low: Lowering, rooms: CacheRooms, tokens: int, target: Words, row: int) -> None:
    """Emit target[token, channel] = exact elements of the first tokens, which are `row` words apart."""
    keys, values = rooms.keys, rooms.values
    width, held = _padded(keys), -(-tokens // keys.banks) * keys.banks
    with low.storage.scratch(held * keys.kv_heads * width, "exact keys") as found:
        for first in range(0, held, keys.banks):
            _load_keys(low, rooms, first, found)
        for head in range(keys.kv_heads):
            place, source = target + head * keys.head_dim, found + head * width
            strides = {"dst_row": row, "a_row": keys.kv_heads * width}
            low.emitter.emit("vmap", place.operand, source.operand, "copy", keys.head_dim, tokens, **strides)
    width = _padded(values)
    with low.storage.scratch(held * values.kv_heads * width, "exact values") as found:
        for first in range(0, held, values.banks):
            _load_values(low, rooms, first, held, found)
        for head in range(values.kv_heads):
            place, source = target + keys.kv_heads * keys.head_dim + head * values.head_dim, found + head * width * held
            strides = {"dst_row": row, "a_row": 1, "a_step": held}
            low.emitter.emit("vmap", place.operand, source.operand, "copy", values.head_dim, tokens, **strides)


def _padded(layout: KvLayout) -> int:
    """Elements of a head in whole columns."""
    return layout.head_columns * layout.banks


def _load_keys(low: Lowering, rooms: CacheRooms, first: int, target: Words) -> None:
    """target[token, head, channel] = keys, bank by bank: a bank has one token of 16."""
    layout, width = rooms.keys, _padded(rooms.keys)
    row = layout.kv_heads * width
    with _unit(low, layout, first, key_address) as (column, channels), low.emitter.loop(layout.banks) as bank:
        word = low.emitter.scalar("mul", bank, row)
        for member in range(layout.heads_per_group):
            low.emitter.emit(
                "ldb",
                ch=indexed(0, channels),
                bank=indexed(0, bank),
                addr=indexed(rooms.key_column + head_column(layout, member), column),
                cols=layout.head_columns,
                dst=indexed(target.word + first * row + member * width, word),
                cdiv=layout.channels_per_group,
                si=layout.heads_per_group * width,
                sn=low.near_bank.lanes,
            )
        low.emitter.release(word)


def _load_values(low: Lowering, rooms: CacheRooms, first: int, row: int, target: Words) -> None:
    """target[head, channel, token] = values, bank by bank: a bank has 16 tokens of one channel in each stripe."""
    layout, width = rooms.values, _padded(rooms.values)
    with _unit(low, layout, first, value_address) as (column, channels), low.emitter.loop(layout.banks) as bank:
        word = low.emitter.scalar("mul", bank, row)
        for member in range(layout.heads_per_group):
            begin = rooms.value_column + head_column(layout, member)
            for stripe in range(layout.head_columns):
                low.emitter.emit(
                    "ldb",
                    ch=indexed(0, channels),
                    bank=indexed(0, bank),
                    addr=indexed(begin + stripe * layout.slots_per_row, column),
                    cols=1,
                    dst=indexed(target.word + (member * width + stripe * layout.banks) * row + first, word),
                    cdiv=layout.channels_per_group,
                    si=layout.heads_per_group * width * row,
                    sn=low.near_bank.lanes,
                )
        low.emitter.release(word)


@contextmanager
def _unit(low: Lowering, layout: KvLayout, first: int, address: _Address) -> Iterator[tuple[int, int]]:
    """Registers of the column and of the channels of 16 tokens from `first` on."""
    with low.temporary_registers():
        key = ("exact token", first)
        register = low.emitter.register()
        low.emitter.emit("li", register, first)
        index = CacheIndex(low.once(key, lambda: register), key)
        yield address(low, layout, index), owner_channels(low, layout, index)
