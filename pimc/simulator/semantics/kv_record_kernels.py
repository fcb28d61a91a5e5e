"""Compiled kernels for records of codes that are not 0: their size, writing, reading, and what the codes are worth.

A record is a bitmap of the channels whose code is not 0, a flag for each of these channels, and their codes, those of
the channels before `split` in `bits` bits, those behind it in `bits2`. Each part begins at a byte, lowest bits first.
Addresses are bounds-checked before a kernel is called.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_ONES = np.bitwise_count(np.arange(256, dtype=np.uint8)).astype(np.int64)
"""How many bits of a byte are 1."""


@njit(inline="always")
def _record_bytes(channels: int, first: int, second: int, bits: int, bits2: int) -> int:
    """Bytes of a record with `first` codes before and `second` codes behind the split."""
    flags = -(-(first + second) // 8)
    return -(-channels // 8) + flags + -(-(first * bits + second * bits2) // 8)


@njit(cache=True, nogil=True)
def appended_bytes(
    words: Any, codes: int, channels: int, split: int, bits: int, bits2: int, rows: int, row_stride: int
) -> int:
    """Bytes of the records of `rows` rows of codes.

    Args:
        words: int32 words.
        codes: First code.
        channels: Codes of a row.
        split: Channels before the split.
        bits: Bits of their codes.
        bits2: Bits of the other codes.
        rows: Number of rows.
        row_stride: Words from one row to the next.
    """
    total = 0
    for row in range(rows):
        first = second = 0
        for channel in range(channels):
            if words[codes + row * row_stride + channel] != 0:
                first += channel < split
                second += channel >= split
        total += _record_bytes(channels, first, second, bits, bits2)
    return total


@njit(inline="always")
def _ones(octets: Any, start: int, bits: int) -> int:
    """How many of the `bits` bits from byte `start` on are 1."""
    total = 0
    for place in range(start, start + bits // 8):
        total += _ONES[octets[place]]
    if bits & 7:
        total += _ONES[octets[start + bits // 8] & ((1 << (bits & 7)) - 1)]
    return total


@njit(cache=True, nogil=True)
def fetched_bytes(octets: Any, start: int, channels: int, split: int, bits: int, bits2: int, rows: int) -> int:
    """Bytes of `rows` records that begin at byte `start`, or -1 when they leave `octets`; otherwise as above."""
    position = start
    for _ in range(rows):
        if position + -(-channels // 8) > octets.size:
            return -1
        first = _ones(octets, position, split)
        stored = _ones(octets, position, channels)
        position += _record_bytes(channels, first, stored - first, bits, bits2)
    return position - start if position <= octets.size else -1


@njit(inline="always")
def _put(octets: Any, place: int, value: int, bits: int) -> None:
    """Set the bits `place` to `place` + `bits` - 1, which are 0; at most 8."""
    shifted = value << (place & 7)
    octets[place >> 3] |= np.uint8(shifted & 255)
    if (place & 7) + bits > 8:
        octets[(place >> 3) + 1] |= np.uint8(shifted >> 8)


@njit(inline="always")
def _get(octets: Any, place: int, bits: int) -> Any:
    """The bits `place` to `place` + `bits` - 1; at most 8."""
    first = min(place >> 3, octets.size - 1)
    second = min(first + 1, octets.size - 1)
    both = np.int64(octets[first]) | np.int64(octets[second]) << 8
    return both >> (place & 7) & ((1 << bits) - 1)


@njit(cache=True, nogil=True)
def append_records(
    octets: Any,
    words: Any,
    start: int,
    codes: int,
    flags: int,
    channels: int,
    split: int,
    bits: int,
    bits2: int,
    rows: int,
    row_stride: int,
) -> int:
    """Write the records of `rows` rows of codes and flags from byte `start` on; return the byte behind the last.

    Args:
        octets: uint8 bytes of the words, changed in place.
        words: int32 words.
        start: First byte.
        codes: First code.
        flags: First flag.
        channels: Codes of a row.
        split: Channels before the split.
        bits: Bits of their codes.
        bits2: Bits of the other codes.
        rows: Number of rows.
        row_stride: Words from one row of codes and of flags to the next.
    """
    most = 2 * -(-channels // 8) + -(-(split * bits + (channels - split) * bits2) // 8)
    record = np.zeros(most, np.uint8)
    position = start
    for row in range(rows):
        record[:] = 0
        at = row * row_stride
        stored = 0
        for channel in range(channels):
            stored += words[codes + at + channel] != 0
        flag_place = -(-channels // 8) * 8
        code_place = flag_place + -(-stored // 8) * 8
        for channel in range(channels):
            code: Any = np.int64(words[codes + at + channel])
            if code == 0:
                continue
            width = bits if channel < split else bits2
            _put(record, channel, 1, 1)
            _put(record, flag_place, 1 if words[flags + at + channel] != 0 else 0, 1)
            _put(record, code_place, code & ((1 << width) - 1), width)
            flag_place += 1
            code_place += width
        size = -(-code_place // 8)
        octets[position : position + size] = record[:size]
        position += size
    return position


@njit(cache=True, nogil=True)
def fetch_records(
    octets: Any,
    words: Any,
    start: int,
    codes: int,
    flags: int,
    channels: int,
    split: int,
    bits: int,
    bits2: int,
    rows: int,
    row_stride: int,
) -> int:
    """The inverse of `append_records`: read records from byte `start` on; return the byte behind the last."""
    found_codes, found_flags = np.zeros(channels, np.int32), np.zeros(channels, np.int32)
    position = start
    for row in range(rows):
        flag_place = 8 * (position + -(-channels // 8))
        code_place = flag_place + -(-_ones(octets, position, channels) // 8) * 8
        for channel in range(channels):
            # Without branches: which codes are there is random, and a wrong guess costs more than a useless read.
            is_stored: Any = np.int64(octets[position + (channel >> 3)]) >> (channel & 7) & 1
            width = bits if channel < split else bits2
            found_codes[channel] = _get(octets, code_place, width) * is_stored
            found_flags[channel] = _get(octets, flag_place, 1) * is_stored
            flag_place += is_stored
            code_place += width * is_stored
        at = row * row_stride
        words[codes + at : codes + at + channels] = found_codes
        words[flags + at : flags + at + channels] = found_flags
        position = -(-code_place // 8)
    return position


@njit(inline="always")
def _half(bits: Any) -> Any:
    """The binary16 number of 16 bits as binary32."""
    sign, exponent, fraction = bits >> 15 & 1, bits >> 10 & 31, bits & 0x3FF
    if exponent == 0:
        magnitude = np.float32(fraction) * np.float32(2.0**-24)
        return -magnitude if sign else magnitude
    widened = 255 if exponent == 31 else exponent + 112
    return np.uint32(sign << 31 | widened << 23 | fraction << 13).view(np.float32)


@njit(cache=True, nogil=True)
def expand_rows(
    values: Any,
    words: Any,
    target: int,
    codes: int,
    flags: int,
    counters: int,
    table: int,
    channels: int,
    rows: int,
    row_stride: int,
    table_stride: int,
    levels: int,
) -> int:
    """(code - 1) * scale + zero, by the meta word of the level that a channel's counter tells; 0 for the code 0.

    Args:
        values: float32 words.
        words: The same words as int32; counters are changed in place.
        target: First result.
        codes: First code.
        flags: First flag, which its channel's counter grows by.
        counters: Counter of the first channel.
        table: Meta word of the first channel in level 0.
        channels: Codes of a row.
        rows: Number of rows.
        row_stride: Words from one row of results, codes and flags to the next.
        table_stride: Words from one level to the next.
        levels: Number of levels.

    Returns:
        The first channel whose counter is not below `levels`, or -1.
    """
    line = np.zeros(channels, np.float32)
    scales, zeros = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
    for row in range(rows):
        at = row * row_stride
        for channel in range(channels):
            flag = words[flags + at + channel]
            if row > 0 and flag == 0:
                continue
            level = words[counters + channel] + flag
            words[counters + channel] = level
            if not 0 <= level < levels:
                return channel
            meta: Any = np.int64(words[table + level * table_stride + channel])
            scales[channel], zeros[channel] = _half(meta & 0xFFFF), _half(meta >> 16 & 0xFFFF)
        for channel in range(channels):
            code = words[codes + at + channel]
            value = np.float32(code - 1) * scales[channel] + zeros[channel]
            line[channel] = value if code != 0 else np.float32(0.0)
        values[target + at : target + at + channels] = line
    return -1
