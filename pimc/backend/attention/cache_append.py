"""Writing a token's key and value into the KV cache in the banks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isa import Indexed
from passes import Node
from pimc.backend.caches.keep_all import CacheIndex
from pimc.backend.emitter import Words, indexed
from pimc.backend.lowering import Lowering
from pimc.kv_layout import KvLayout


def append_key(low: Lowering, node: Node) -> None:
    """Write the current token's key: its columns go to one bank of the owning channel of every group."""
    rooms = low.caches[str(node.attributes["cache"])]
    layout = rooms.keys
    with (
        low.contiguous(low.storage.row_part(node.operand(1))) as packed,
        rooms.selection.scored_form(low, packed, layout.kv_heads * layout.head_dim) as formed,
        padded_heads(low, formed, layout.kv_heads, layout) as (key, width),
    ):
        rooms.mechanism.take_key(low, rooms, packed)
        rooms.selection.take_key(low, rooms, packed)
        for index in rooms.mechanism.indices(low, rooms):
            store_key(low, layout, rooms.key_column, index, key, width)
            rooms.mechanism.appended(low, rooms, index)


def store_key(low: Lowering, layout: KvLayout, first: int, index: CacheIndex, key: Words, width: int) -> None:
    """Write a vector a head to its place in the rows of one bank of the owning channel of every group.

    Args:
        low: State of the lowering.
        layout: Where keys lie.
        first: First linear column of the keys.
        index: Which key it is.
        key: First word of the vector of the first head.
        width: Words from head to head, whole columns.
    """
    address = key_address(low, layout, index)
    for member, head, stride in _written(layout, index):
        column = indexed(first + head_column(layout, member), address)
        low.emitter.emit("open", ch=group_channels(layout), addr=column)
        low.emitter.emit(
            "stb",
            ch=indexed(0, owner_channels(low, layout, index)),
            bank=indexed(0, _lane(low, layout, index)),
            addr=column,
            cols=layout.head_columns,
            src=(key + head * width).operand,
            cdiv=layout.channels_per_group,
            si=stride * width,
            sn=low.near_bank.lanes,
        )


def append_value(low: Lowering, node: Node) -> None:
    """Write the current token's value, transposed: one lane of columns in all banks of the owning channels."""
    rooms = low.caches[str(node.attributes["cache"])]
    layout = rooms.values
    with low.contiguous(low.storage.row_part(node.operand(2))) as source:
        for index in rooms.mechanism.indices(low, rooms):
            address = value_address(low, layout, index)
            for member, head, stride in _written(layout, index):
                column = indexed(rooms.value_column + head_column(layout, member), address)
                low.emitter.emit("open", ch=group_channels(layout), addr=column)
                low.emitter.emit(
                    "stlane",
                    ch=indexed(0, owner_channels(low, layout, index)),
                    addr=column,
                    lane=indexed(0, _lane(low, layout, index)),
                    count=layout.head_dim,
                    src=(source + head * layout.head_dim).operand,
                    cstride=layout.slots_per_row,
                    cdiv=layout.channels_per_group,
                    si=stride * layout.head_dim,
                )


def _written(layout: KvLayout, index: CacheIndex) -> list[tuple[int, int, int]]:
    """What is written at an index: (head in its group, head in group 0 or the only one, heads from group to group)."""
    if index.head is not None:
        return [(index.head % layout.heads_per_group, index.head, 0)]
    return [(member, member, layout.heads_per_group) for member in range(layout.heads_per_group)]


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


def _lane(low: Lowering, layout: KvLayout, index: CacheIndex) -> int:
    """Register of the index mod banks: bank of the key, lane of the value."""
    return low.once(("lane", index.key), lambda: low.emitter.scalar("remu", index.register, layout.banks))


def _token_group(low: Lowering, layout: KvLayout, index: CacheIndex) -> int:
    return low.once(("token group", index.key), lambda: low.emitter.scalar("divu", index.register, layout.banks))


def owner_channels(low: Lowering, layout: KvLayout, index: CacheIndex) -> int:
    """Register of the mask of the channels that own the token: one in every group, or in that of the only head."""
    groups = range(layout.groups) if index.head is None else [index.head // layout.heads_per_group]
    first_members = sum(1 << group * layout.channels_per_group for group in groups)

    def compute() -> int:
        member = low.emitter.scalar("remu", _token_group(low, layout, index), layout.channels_per_group)
        mask = low.emitter.register()
        low.emitter.emit("li", mask, first_members >> 16)
        low.emitter.emit("shl", mask, mask, 16)
        low.emitter.emit("or", mask, mask, first_members & 0xFFFF)
        low.emitter.emit("shl", mask, mask, Indexed(0, member))
        low.emitter.release(member)
        return mask

    return low.once(("owners", index.key, layout.groups, layout.channels_per_group), compute)


def _slot(low: Lowering, layout: KvLayout, index: CacheIndex) -> int:
    width = layout.channels_per_group
    group = _token_group(low, layout, index)
    return low.once(("slot", index.key, width), lambda: low.emitter.scalar("divu", group, width))


def _row(low: Lowering, layout: KvLayout, index: CacheIndex) -> int:
    """Register of the first column of the token's row, relative to the head."""

    def compute() -> int:
        row = low.emitter.scalar("divu", _slot(low, layout, index), layout.slots_per_row)
        low.emitter.emit("mul", row, row, layout.row_columns)
        return row

    return low.once(("row", index.key, layout.slots_per_row, layout.channels_per_group), compute)


def _slot_in_row(low: Lowering, layout: KvLayout, index: CacheIndex) -> int:
    key = ("slot in row", index.key, layout.slots_per_row, layout.channels_per_group)
    return low.once(key, lambda: low.emitter.scalar("remu", _slot(low, layout, index), layout.slots_per_row))


def key_address(low: Lowering, layout: KvLayout, index: CacheIndex) -> int:
    """Register of the first column of the token's key, relative to the head."""

    def compute() -> int:
        row, slot = _row(low, layout, index), _slot_in_row(low, layout, index)
        address = low.emitter.scalar("mul", slot, layout.head_columns)
        low.emitter.emit("add", address, address, Indexed(0, row))
        add_sequence(low, address, layout)
        return address

    return low.once(("key address", index.key, layout.head_columns, layout.slot_tokens, layout.columns), compute)


def value_address(low: Lowering, layout: KvLayout, index: CacheIndex) -> int:
    """Register of the column of the token's first stripe, relative to the head."""

    def compute() -> int:
        row, slot = _row(low, layout, index), _slot_in_row(low, layout, index)
        address = low.emitter.scalar("add", slot, Indexed(0, row))
        add_sequence(low, address, layout)
        return address

    return low.once(("value address", index.key, layout.head_columns, layout.slot_tokens, layout.columns), compute)
