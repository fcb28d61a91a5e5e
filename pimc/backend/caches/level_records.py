"""Turns tokens into records: prune, open levels, quantise, append to the stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc.backend.caches.exact_tokens import load_exact
from pimc.backend.caches.stream_rooms import StreamRooms, move_stripes, store_changes
from pimc.backend.emitter import Words, indexed

if TYPE_CHECKING:
    from isa import OperandValue
    from pimc.backend.attention.attention_block import Block
    from pimc.backend.lowering import Lowering


def compress_warmup(block: Block, rooms: StreamRooms, tokens: int) -> None:
    """Emit the records of the first tokens, which are exact so far; their range opens the first levels."""
    low, layout = block.low, rooms.layout
    with low.storage.scratch(tokens * layout.channels, "exact keys and values") as elements:
        load_exact(low, block.rooms, tokens, elements, layout.channels)
        with low.storage.scratch(rooms.buffer_words(tokens), "the records of a cache") as stream:
            end = low.emitter.register()
            low.emitter.emit("li", end, 0)
            _append(low, rooms, elements, tokens, stream, end, "range")
            move_stripes(low, rooms, "stb", stream, end)
            _note_size(low, rooms, end)
            low.emitter.emit("vfill", rooms.state + layout.has_data, 1.0, 1, type="i32")
            low.emitter.release(end)


def append_token(low: Lowering, rooms: StreamRooms, stream: Words, position: int) -> None:
    """Load the stream, and emit the newest token's record behind it, to the shared buffer and to the banks."""
    start = _stored_bytes(low, rooms, position)
    move_stripes(low, rooms, "ldb", stream, start)
    end = low.emitter.scalar("add", start, 0)
    _append(low, rooms, Words(rooms.state), 1, stream, end, "level")
    store_changes(low, rooms, stream, start, end)
    _note_size(low, rooms, end)
    low.emitter.release(start, end)


def _stored_bytes(low: Lowering, rooms: StreamRooms, position: int) -> int:
    """A new register with the bytes of the stream; without data, as many as are expected of the tokens so far."""
    layout, emit = rooms.layout, low.emitter.emit
    size, is_empty = low.emitter.register(), low.emitter.register()
    emit("lds", size, rooms.state + layout.size)
    emit("lds", is_empty, rooms.state + layout.has_data)
    emit("max", is_empty, is_empty, 0)
    emit("min", is_empty, is_empty, 1)
    emit("sub", is_empty, is_empty, 1)
    with low.emitter.unless_zero(is_empty):
        emit("mul", size, position, layout.expected_bytes)
    emit("max", size, size, 0)
    emit("min", size, size, layout.max_bytes - layout.record_bytes)
    low.emitter.release(is_empty)
    return size


def _note_size(low: Lowering, rooms: StreamRooms, size: int) -> None:
    low.emitter.emit("sts", rooms.state + rooms.layout.size, size)


def _append(
    low: Lowering, rooms: StreamRooms, elements: Words, tokens: int, stream: Words, end: int, mode: str
) -> None:
    """Append records of tokens, which are overwritten, at the byte in the register `end`, which moves on."""
    emit, width = low.emitter.emit, rooms.layout.channels
    rows = {"dst_row": width, "a_row": width}
    with (
        low.storage.scratch(tokens * width, "surviving elements") as mask,
        low.storage.scratch(tokens * width, "elements that opened a level") as flags,
    ):
        if mode == "range":
            emit("vfill", flags.operand, len=tokens * width)
        for part in rooms.parts:
            source, survives, flag = ((words + part.first).operand for words in (elements, mask, flags))
            emit("kprune", survives, source, part.threshold, part.width, tokens, **rows)
            facts: dict[str, OperandValue] = {"row": width, "table_row": width, "levels": rooms.layout.levels}
            places = flag, source, survives, part.latest, part.table, part.width, tokens
            emit("klevel", *places, steps=part.steps, mode=mode, **facts)
            emit("kquant", source, source, part.meta, part.width, tokens, steps=part.steps, base=1, **rows)
        emit("vmul", elements.operand, elements.operand, mask.operand, tokens * width, type="i32")
        stored = stream.operand, indexed(0, end), elements.operand, flags.operand
        emit("kappend", end, *stored, rows=tokens, **rooms.record)
