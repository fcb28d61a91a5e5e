"""Where a levelled cache keeps its records and levels, and the moves between the banks and the shared buffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import Indexed, OperandValue, record_bytes
from pimc.backend.emitter import Words, indexed
from pimc.kv_stream import StreamLayout

if TYPE_CHECKING:
    from passes import Levelled
    from pimc.backend.lowering import CacheRooms, Lowering

WORD_BYTES = 4
_LANE_BYTES = 2  # of a column of codes


@dataclass(frozen=True)
class Part:
    """The keys or the values of tokens whose channels lie side by side.

    Attributes:
        first: First channel.
        width: Channels.
        bits: Bits of a code.
        threshold: Magnitude from which on elements survive.
        latest: First word of the latest levels.
        table: First word of the first level of the table.
    """

    first: int
    width: int
    bits: int
    threshold: float
    latest: int
    table: int

    @property
    def steps(self) -> int:
        """Largest code that a level adds to 1."""
        return (1 << self.bits) - 2

    @property
    def meta(self) -> int:
        """First of the meta words of the latest levels."""
        return self.latest + 3 * self.width


@dataclass(frozen=True)
class StreamRooms:
    """The records of a cache.

    Attributes:
        layout: Their places.
        column: First linear column of the stream.
        state: First word of the state.
        keys: Channels of the keys.
        values: Channels of the values.
    """

    layout: StreamLayout
    column: int
    state: int
    keys: Part
    values: Part

    @property
    def parts(self) -> tuple[Part, Part]:
        """Keys and values."""
        return self.keys, self.values

    @property
    def record(self) -> Mapping[str, OperandValue]:
        """Operands that say what a record is."""
        layout = self.layout
        return {
            "len": layout.channels,
            "split": layout.key_channels,
            "bits": layout.key_bits,
            "bits2": layout.value_bits,
            "row": layout.channels,
            "expected": layout.expected_bytes,
        }

    @property
    def table(self) -> int:
        """First word of the table."""
        return self.state + self.layout.table

    @property
    def stripe_words(self) -> int:
        """Words of a stripe."""
        return self.layout.stripe_bytes // WORD_BYTES

    def buffer_words(self, tokens: int, looked_at: int = 0) -> int:
        """Words that hold the records of so many tokens in whole stripes, and behind them as many as are looked at."""
        stored = tokens * self.layout.record_bytes
        behind = -(-(stored + looked_at * self.layout.record_bytes) // WORD_BYTES)
        return max(-(-stored // self.layout.stripe_bytes) * self.stripe_words, behind)


def stream_rooms(rooms: CacheRooms, chosen: Levelled) -> StreamRooms:
    """The places of all records and levels of a cache, from `rooms.code_column` and `rooms.state_word` on."""
    keys, values = (layout.kv_heads * layout.head_dim for layout in (rooms.keys, rooms.values))
    layout = StreamLayout(
        key_channels=keys,
        value_channels=values,
        key_bits=chosen.key_bits,
        value_bits=chosen.value_bits,
        levels=chosen.levels,
        record_bytes=record_bytes(keys + values, keys, chosen.key_bits, chosen.value_bits)[1],
        expected_bytes=_expected_bytes(chosen, keys, values),
        max_tokens=rooms.context,
        device_channels=rooms.channels,
        banks=rooms.keys.banks,
        row_columns=rooms.keys.row_columns,
        column_bytes=rooms.keys.banks * _LANE_BYTES,
    )
    state, table = rooms.state_word, rooms.state_word + layout.table
    return StreamRooms(
        layout,
        rooms.code_column,
        state,
        Part(0, keys, chosen.key_bits, chosen.key_threshold, state + layout.latest_keys, table),
        Part(keys, values, chosen.value_bits, chosen.value_threshold, state + layout.latest_values, table + keys),
    )


def _expected_bytes(chosen: Levelled, keys: int, values: int) -> int:
    """Bytes of a record when as many elements survive as are declared: bitmap, flags and codes."""
    survivors = [round(chosen.survivors * width) for width in (keys, values)]
    payload = survivors[0] * chosen.key_bits + survivors[1] * chosen.value_bits
    return sum(-(-bits // 8) for bits in (keys + values, sum(survivors), payload))


def move_stripes(low: Lowering, rooms: StreamRooms, mnemonic: str, stream: Words, size: int) -> None:
    """Emit the move (`ldb`, `stb`) of the stripes of as many bytes as the register `size` says, row by row."""
    layout, emit, scalar = rooms.layout, low.emitter.emit, low.emitter.scalar
    stripes = scalar("add", size, layout.stripe_bytes - 1)
    emit("divu", stripes, stripes, layout.stripe_bytes)
    number = scalar("add", stripes, layout.row_columns - 1)
    emit("divu", number, number, layout.row_columns)
    with low.emitter.loop(indexed(0, number)) as row:
        count = scalar("mul", row, layout.row_columns)
        word = scalar("mul", count, rooms.stripe_words)
        emit("sub", count, stripes, Indexed(0, count))
        emit("min", count, count, layout.row_columns)
        bank, column = _place(low, layout, row)
        everyone, words = layout.all_channels, indexed(stream.word, word)
        _move(low, rooms, mnemonic, everyone, (bank, column), indexed(0, count), words)
        low.emitter.release(count, word, bank, column)
    low.emitter.release(stripes, number)


def store_changes(low: Lowering, rooms: StreamRooms, stream: Words, start: int, end: int) -> None:
    """Emit the writes of the columns with the bytes `start` to `end` - 1, which registers say: stripe by stripe."""
    layout, emit, scalar = rooms.layout, low.emitter.emit, low.emitter.scalar
    first = scalar("divu", start, layout.stripe_bytes)
    number = scalar("add", end, layout.stripe_bytes - 1)
    emit("divu", number, number, layout.stripe_bytes)
    emit("sub", number, number, Indexed(0, first))
    with low.emitter.loop(indexed(0, number)) as index:
        stripe = scalar("add", first, Indexed(0, index))
        mask = _changed_channels(low, layout, stripe, start, end)
        row = scalar("divu", stripe, layout.row_columns)
        bank, column = _place(low, layout, row)
        emit("remu", row, stripe, layout.row_columns)
        emit("add", column, column, Indexed(0, row))
        emit("mul", stripe, stripe, rooms.stripe_words)
        _move(low, rooms, "stb", indexed(0, mask), (bank, column), 1, indexed(stream.word, stripe))
        low.emitter.release(stripe, mask, row, bank, column)
    low.emitter.release(first, number)


def _changed_channels(low: Lowering, layout: StreamLayout, stripe: int, start: int, end: int) -> int:
    """Register of the mask of the channels whose column of a stripe holds bytes from `start` to `end` - 1."""
    emit, scalar = low.emitter.emit, low.emitter.scalar
    offset = scalar("mul", stripe, layout.stripe_bytes)
    low_channel = scalar("sub", start, Indexed(0, offset))
    high_channel = scalar("sub", end, Indexed(0, offset))
    emit("add", high_channel, high_channel, layout.column_bytes - 1)
    mask, below = low.emitter.register(), offset
    for channel, power in ((high_channel, mask), (low_channel, below)):
        emit("divu", channel, channel, layout.column_bytes)
        emit("max", channel, channel, 0)
        emit("min", channel, channel, layout.device_channels)
        emit("li", power, 1)
        emit("shl", power, power, Indexed(0, channel))
    emit("sub", mask, mask, Indexed(0, below))
    everyone = below
    emit("li", everyone, layout.all_channels >> 16)
    emit("shl", everyone, everyone, 16)
    emit("or", everyone, everyone, layout.all_channels & 0xFFFF)
    emit("and", mask, mask, Indexed(0, everyone))
    emit("max", mask, mask, 1)
    low.emitter.release(offset, low_channel, high_channel)
    return mask


def _place(low: Lowering, layout: StreamLayout, row: int) -> tuple[int, int]:
    """Registers of the bank and the first column, relative to the stream, of a row of the stream."""
    bank = low.emitter.scalar("remu", row, layout.banks)
    column = low.emitter.scalar("divu", row, layout.banks)
    low.emitter.emit("mul", column, column, layout.row_columns)
    return bank, column


def _move(
    low: Lowering,
    rooms: StreamRooms,
    mnemonic: str,
    channels: OperandValue,
    place: tuple[int, int],
    count: OperandValue,
    words: OperandValue,
) -> None:
    """Move `count` columns of some channels."""
    bank, column = place
    low.emitter.emit(
        mnemonic,
        channels,
        indexed(0, bank),
        indexed(rooms.column, column),
        count,
        words,
        cdiv=rooms.layout.device_channels,
        sj=rooms.layout.column_bytes // WORD_BYTES,
        sn=rooms.stripe_words,
        form="word",
    )
