"""Quantises the oldest group of the exact ring: read back, find ranges, quantise, pack, store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isa import OperandValue
from pimc.backend.attention.cache_append import group_channels, head_column, key_address, owner_channels, value_address
from pimc.backend.caches.code_rooms import CodeRooms, Codes
from pimc.backend.caches.keep_all import CacheIndex
from pimc.backend.emitter import Words, indexed
from pimc.backend.operations.nest import LARGEST_STEP

if TYPE_CHECKING:
    from passes import Quantized
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.lowering import Lowering
    from pimc.kv_layout import KvLayout

_Address = Callable[["Lowering", "KvLayout", CacheIndex], int]


def quantize_group(block: Block, chosen: Quantized, rooms: CodeRooms, ring_place: int, code_place: int) -> None:
    """Emit the quantisation of a group of tokens, first of the keys and then of the values.

    The registers of the block's extent no longer hold.

    Args:
        block: The attention.
        chosen: Bits, axes and group sizes.
        rooms: Places of the codes.
        ring_place: Register of the place of its first token in the exact ring.
        code_place: Register of the place of its first token among the codes.
    """
    low = block.low
    keys, values = rooms.keys.layout, rooms.values.layout
    key_words, value_words = (
        chosen.group * layout.kv_heads * layout.head_dim for layout in (rooms.keys.layout, rooms.values.layout)
    )
    with low.storage.scratch(key_words, "keys of a group") as words:
        _load_keys(block, chosen, words, ring_place)
        with low.storage.scratch(rooms.keys.meta_row, "scales and zero points") as meta:
            if chosen.key_axis == "channel":
                _quantize_channels(block, chosen, rooms.keys, words, meta)
            else:
                step, row = 1, keys.kv_heads * keys.head_dim
                _quantize_tokens(block, chosen, rooms.keys, words, meta, (keys.head_dim, row, step))
            _store_meta(block, chosen, rooms.keys, meta, code_place)
        _store_keys(block, chosen, rooms.keys, words, code_place)
    with low.storage.scratch(value_words, "values of a group") as words:
        _load_values(block, chosen, words, ring_place)
        with low.storage.scratch(rooms.values.meta_row, "scales and zero points") as meta:
            step, row = chosen.group, 1
            _quantize_tokens(block, chosen, rooms.values, words, meta, (values.head_dim * chosen.group, row, step))
            _store_meta(block, chosen, rooms.values, meta, code_place)
        _store_values(block, chosen, rooms.values, words, code_place)


def _load_keys(block: Block, chosen: Quantized, target: Words, ring_place: int) -> None:
    """target[token, head, channel] = exact keys, bank by bank: a bank has one token of 16."""
    low, layout = block.low, block.rooms.keys
    width = layout.kv_heads * layout.head_dim
    for unit in range(chosen.group // layout.banks):
        with low.temporary_registers():
            index = _index(low, ring_place, unit * layout.banks, "exact unit")
            column, channels = key_address(low, layout, index), owner_channels(low, layout, index)
            for member in range(layout.heads_per_group):
                address = indexed(block.rooms.key_column + head_column(layout, member), column)
                first = target.word + unit * layout.banks * width + member * layout.head_dim
                with _open_banks(low, layout, address, width) as (bank, row):
                    low.emitter.emit(
                        "ldb",
                        ch=indexed(0, channels),
                        bank=indexed(0, bank),
                        addr=address,
                        cols=layout.head_columns,
                        dst=indexed(first, row),
                        cdiv=layout.channels_per_group,
                        si=layout.heads_per_group * layout.head_dim,
                        sn=low.near_bank.lanes,
                    )


def _load_values(block: Block, chosen: Quantized, target: Words, ring_place: int) -> None:
    """target[head, channel, token] = exact values: a bank has 16 tokens of one channel in each stripe."""
    low, layout = block.low, block.rooms.values
    size = layout.head_dim * chosen.group
    for unit in range(chosen.group // layout.banks):
        with low.temporary_registers():
            index = _index(low, ring_place, unit * layout.banks, "exact unit")
            column, channels = value_address(low, layout, index), owner_channels(low, layout, index)
            for member in range(layout.heads_per_group):
                first = block.rooms.value_column + head_column(layout, member)
                with _open_banks(low, layout, indexed(first, column), chosen.group) as (bank, row):
                    for stripe in range(layout.head_columns):
                        place = member * size + (stripe * chosen.group + unit) * layout.banks
                        low.emitter.emit(
                            "ldb",
                            ch=indexed(0, channels),
                            bank=indexed(0, bank),
                            addr=indexed(first + stripe * layout.slots_per_row, column),
                            cols=1,
                            dst=indexed(target.word + place, row),
                            cdiv=layout.channels_per_group,
                            si=layout.heads_per_group * size,
                            sn=low.near_bank.lanes,
                        )


@contextmanager
def _open_banks(low: Lowering, layout: KvLayout, address: OperandValue, width: int) -> Iterator[tuple[int, int]]:
    """Open a row of all banks, then loop over these: registers of the bank and of `width` times its number."""
    low.emitter.emit("open", ch=group_channels(layout), addr=address)
    with low.emitter.loop(layout.banks) as bank:
        row = low.emitter.scalar("mul", bank, width)
        yield bank, row
        low.emitter.release(row)


def _index(low: Lowering, first: int, offset: int, name: str) -> CacheIndex:
    """The token `offset` behind the one in the register `first`."""
    key = (name, first, offset)
    return CacheIndex(low.once(key, lambda: low.emitter.scalar("add", first, offset)), key)


def _quantize_channels(block: Block, chosen: Quantized, codes: Codes, words: Words, meta: Words) -> None:
    """Codes in place of keys[token, channel], with a scale and a zero point for each channel."""
    low, emit = block.low, block.low.emitter.emit
    width, steps = codes.meta_words, (1 << codes.bits) - 1
    with (
        low.storage.scratch(width, "smallest elements") as least,
        low.storage.scratch(width, "largest elements") as largest,
    ):
        for name, place in (("min", least), ("max", largest)):
            _extremes_of_channels(low, name, place, words, width, chosen.group)
        emit("kscale", meta.operand, least.operand, largest.operand, width, steps=steps)
    strides = {"dst_row": width, "a_row": width}
    emit("kquant", words.operand, words.operand, meta.operand, width, chosen.group, steps=steps, **strides)


def _extremes_of_channels(low: Lowering, name: str, target: Words, elements: Words, width: int, tokens: int) -> None:
    """target[channel] = `min` or `max` of elements[token, channel]; token by token where no step reaches the next."""
    emit, place = low.emitter.emit, target.operand
    if width <= LARGEST_STEP:
        emit(f"r{name}", place, elements.operand, tokens, width, a_row=1, a_step=width)
        return
    emit("vmap", place, elements.operand, "copy", width)
    later = (elements + width).operand
    emit(f"v{name}", place, place, later, width, tokens - 1, dst_row=0, a_row=0, b_row=width)


def _quantize_tokens(
    block: Block, chosen: Quantized, codes: Codes, words: Words, meta: Words, strides: tuple[int, int, int]
) -> None:
    """Codes in place of elements, with a scale and a zero point for each token and run of channels.

    `strides` are the words from head to head, from token to token, and from channel to channel.
    """
    low, emit = block.low, block.low.emitter.emit
    of_head, of_token, of_channel = strides
    steps, runs = (1 << codes.bits) - 1, codes.layout.head_dim // chosen.width
    of_meta = codes.layout.kv_heads * runs
    cells = [
        (words + head * of_head + run * chosen.width * of_channel, head * runs + run)
        for head in range(codes.layout.kv_heads)
        for run in range(runs)
    ]
    size = chosen.group * of_meta
    with (
        low.storage.scratch(size, "smallest elements") as least,
        low.storage.scratch(size, "largest elements") as largest,
    ):
        for source, cell in cells:
            for mnemonic, place in (("rmin", least), ("rmax", largest)):
                rows = {"dst_row": of_meta, "a_row": of_token, "a_step": of_channel}
                emit(mnemonic, (place + cell).operand, source.operand, chosen.width, chosen.group, **rows)
        emit("kscale", meta.operand, least.operand, largest.operand, size, steps=steps)
    for place, cell in cells:
        rows = {"dst_row": of_token, "a_row": of_token, "meta_row": of_meta}
        rows |= {"dst_step": of_channel, "a_step": of_channel, "meta_step": 0}
        words_of_cell, factor = place.operand, (meta + cell).operand
        emit("kquant", words_of_cell, words_of_cell, factor, chosen.width, chosen.group, steps=steps, **rows)


def _store_meta(block: Block, chosen: Quantized, codes: Codes, meta: Words, code_place: int) -> None:
    column = block.low.emitter.scalar("divu", code_place, chosen.group)
    block.low.emitter.emit("mul", column, column, codes.meta_columns)
    codes.move_meta(block.low, "stb", meta, column, codes.meta_columns)
    block.low.emitter.release(column)


def _store_keys(block: Block, chosen: Quantized, codes: Codes, words: Words, code_place: int) -> None:
    """Item i * 16 + b of a unit of 16 tokens is beat i of the key in bank b."""
    low, layout = block.low, codes.layout
    banks, beats, size = layout.banks, layout.head_columns, codes.item_words
    width, items = layout.kv_heads * layout.head_dim, layout.head_columns * layout.banks
    with low.storage.scratch(layout.kv_heads * items * size, "packed keys") as packed:
        for unit in range(chosen.group // banks):
            for head in range(layout.kv_heads):
                for beat in range(beats):
                    place = packed + (head * items + beat * banks) * size
                    source = words + unit * banks * width + head * layout.head_dim + beat * banks
                    strides = {"dst_row": size, "a_row": width}
                    low.emitter.emit("kpack", place.operand, source.operand, banks, banks, codes.bits, **strides)
            _store(block, codes, packed, items, 1, _index(low, code_place, unit * banks, "unit"), key_address)


def _store_values(block: Block, chosen: Quantized, codes: Codes, words: Words, code_place: int) -> None:
    """Item d of a unit of 16 tokens is their beat of channel d."""
    low, layout = block.low, codes.layout
    channels, banks = layout.kv_heads * layout.head_dim, layout.banks
    with low.storage.scratch(channels * codes.item_words, "packed values") as packed:
        for unit in range(chosen.group // banks):
            strides = {"dst_row": codes.item_words, "a_row": chosen.group}
            source = (words + unit * banks).operand
            low.emitter.emit("kpack", packed.operand, source, banks, channels, codes.bits, **strides)
            index = _index(low, code_place, unit * banks, "unit")
            _store(block, codes, packed, layout.head_dim, layout.slots_per_row, index, value_address)


def _store(
    block: Block, codes: Codes, packed: Words, items: int, stride: int, index: CacheIndex, address: _Address
) -> None:
    """Store `items` beats of each head for 16 tokens from `index` on."""
    low, layout = block.low, codes.layout
    with low.temporary_registers():
        beat, channels = address(low, layout, index), owner_channels(low, layout, index)
        for member in range(layout.heads_per_group):
            low.emitter.emit("open", ch=group_channels(layout), addr=codes.address(member))
            low.emitter.emit(
                "kstore",
                ch=indexed(0, channels),
                addr=codes.address(member),
                beat=indexed(0, beat),
                count=items,
                src=(packed + member * items * codes.item_words).operand,
                bits=codes.bits,
                bstride=stride,
                cdiv=layout.channels_per_group,
                si=layout.heads_per_group * items * codes.item_words,
                sn=codes.item_words,
            )
