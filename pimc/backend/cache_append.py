"""Writing a token's key and value into the KV cache in the banks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isa import Indexed
from passes import Node
from pimc.backend.emitter import Words, indexed
from pimc.backend.lowering import CacheRooms, Lowering
from pimc.kv_layout import KvLayout


def append_key(low: Lowering, node: Node) -> None:
    """Write the current token's key: its columns go to one bank of the owning channel of every group."""
    rooms = low.caches[str(node.attributes["cache"])]
    layout, everyone = rooms.keys, group_channels(rooms.keys)
    with (
        low.contiguous(low.storage.row_part(node.operand(1))) as packed,
        padded_heads(low, packed, layout.kv_heads, layout) as (key, width),
    ):
        names = ("key address", rooms.first, layout.head_columns, layout.slot_tokens, layout.columns)
        address = low.once(names, lambda: _key_address(low, rooms))
        for member in range(layout.heads_per_group):
            column = indexed(rooms.key_column + head_column(layout, member), address)
            low.emitter.emit("open", ch=everyone, addr=column)
            low.emitter.emit(
                "stb",
                ch=indexed(0, _owners(low, rooms)),
                bank=indexed(0, _lane(low, rooms)),
                addr=column,
                cols=layout.head_columns,
                src=(key + member * width).operand,
                cdiv=layout.channels_per_group,
                si=layout.heads_per_group * width,
                sn=low.near_bank.lanes,
            )


def append_value(low: Lowering, node: Node) -> None:
    """Write the current token's value, transposed: one lane of columns in all banks of the owning channels."""
    rooms = low.caches[str(node.attributes["cache"])]
    layout, everyone = rooms.values, group_channels(rooms.values)
    names = ("value address", rooms.first, layout.head_columns, layout.slot_tokens, layout.columns)
    with low.contiguous(low.storage.row_part(node.operand(2))) as source:
        address = low.once(names, lambda: _value_address(low, rooms))
        for member in range(layout.heads_per_group):
            column = indexed(rooms.value_column + head_column(layout, member), address)
            low.emitter.emit("open", ch=everyone, addr=column)
            low.emitter.emit(
                "stlane",
                ch=indexed(0, _owners(low, rooms)),
                addr=column,
                lane=indexed(0, _lane(low, rooms)),
                count=layout.head_dim,
                src=(source + member * layout.head_dim).operand,
                cstride=layout.slots_per_row,
                cdiv=layout.channels_per_group,
                si=layout.heads_per_group * layout.head_dim,
            )


def group_channels(layout: KvLayout) -> int:
    """Mask of all channels that hold a part of the cache."""
    return (1 << layout.groups * layout.channels_per_group) - 1


def head_column(layout: KvLayout, member: int) -> int:
    """First column of the group's key/value head `member`, relative to the cache."""
    return member * layout.rows_per_head * layout.row_columns


@contextmanager
def padded_heads(low: Lowering, source: Words, heads: int, layout: KvLayout) -> Iterator[tuple[Words, int]]:
    """Heads at whole columns: (first word, words from head to head); a copy with zeros where heads are no multiple."""
    width = layout.head_columns * layout.banks
    if width == layout.head_dim:
        yield source, width
        return
    with low.storage.scratch(heads * width, "padded heads") as padded:
        low.emitter.emit("vfill", padded.operand, len=heads * width)
        place = padded.operand, source.operand
        low.emitter.emit("vmap", *place, "copy", layout.head_dim, heads, dst_row=width, a_row=layout.head_dim)
        yield padded, width


def sequence_offset(low: Lowering, layout: KvLayout) -> int | None:
    """Register of the first column of the current sequence, `None` when there is one only.

    It is kept, so the first use must not stand in a loop, which may run no time.
    """
    row = low.storage.row
    if row is None or row.sequence is None:
        return None
    return low.storage.offset_register("sequence", layout.columns)


def add_sequence(low: Lowering, column: int, layout: KvLayout) -> None:
    """Emit column += first column of the current sequence."""
    offset = sequence_offset(low, layout)
    if offset is not None:
        low.emitter.emit("add", column, column, Indexed(0, offset))


def _lane(low: Lowering, rooms: CacheRooms) -> int:
    """Register of position mod banks: bank of the key, lane of the value."""
    position, banks = low.position(rooms.first), rooms.keys.banks
    return low.once(("lane", rooms.first), lambda: low.emitter.scalar("remu", position, banks))


def _token_group(low: Lowering, rooms: CacheRooms) -> int:
    position, banks = low.position(rooms.first), rooms.keys.banks
    return low.once(("token group", rooms.first), lambda: low.emitter.scalar("divu", position, banks))


def _owners(low: Lowering, rooms: CacheRooms) -> int:
    """Register of the mask of the channels that own the position, one in every group."""
    layout = rooms.keys
    first_members = sum(1 << group * layout.channels_per_group for group in range(layout.groups))

    def compute() -> int:
        member = low.emitter.scalar("remu", _token_group(low, rooms), layout.channels_per_group)
        mask = low.emitter.register()
        low.emitter.emit("li", mask, first_members >> 16)
        low.emitter.emit("shl", mask, mask, 16)
        low.emitter.emit("or", mask, mask, first_members & 0xFFFF)
        low.emitter.emit("shl", mask, mask, Indexed(0, member))
        low.emitter.release(member)
        return mask

    return low.once(("owners", rooms.first, layout.groups, layout.channels_per_group), compute)


def _slot(low: Lowering, rooms: CacheRooms) -> int:
    width = rooms.keys.channels_per_group
    group = _token_group(low, rooms)
    return low.once(("slot", rooms.first, width), lambda: low.emitter.scalar("divu", group, width))


def _row(low: Lowering, rooms: CacheRooms, layout: KvLayout) -> int:
    """Register of the first column of the position's row, relative to the head."""

    def compute() -> int:
        row = low.emitter.scalar("divu", _slot(low, rooms), layout.slots_per_row)
        low.emitter.emit("mul", row, row, layout.row_columns)
        return row

    return low.once(("row", rooms.first, layout.slots_per_row, layout.channels_per_group), compute)


def _slot_in_row(low: Lowering, rooms: CacheRooms, layout: KvLayout) -> int:
    key = ("slot in row", rooms.first, layout.slots_per_row, layout.channels_per_group)
    return low.once(key, lambda: low.emitter.scalar("remu", _slot(low, rooms), layout.slots_per_row))


def _key_address(low: Lowering, rooms: CacheRooms) -> int:
    layout = rooms.keys
    row, slot = _row(low, rooms, layout), _slot_in_row(low, rooms, layout)
    address = low.emitter.scalar("mul", slot, layout.head_columns)
    low.emitter.emit("add", address, address, Indexed(0, row))
    add_sequence(low, address, layout)
    return address


def _value_address(low: Lowering, rooms: CacheRooms) -> int:
    layout = rooms.values
    row, slot = _row(low, rooms, layout), _slot_in_row(low, rooms, layout)
    address = low.emitter.scalar("add", slot, Indexed(0, row))
    add_sequence(low, address, layout)
    return address
