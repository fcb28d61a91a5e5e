"""Compiled kernels of extension K: packing codes, and multiplying packed codes in the banks.

Addresses are bounds-checked before a kernel is called. Channels are given in ascending order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def pack_row(
    words: Any,
    target: int,
    source: int,
    length: int,
    rows: int,
    packed: int,
    bits: int,
    target_row: int,
    source_row: int,
    step: int,
) -> None:
    """Pack the lowest `bits` bits of the `length` codes of each row into `packed` words, lowest bits first.

    Args:
        words: int32 words, changed in place; rows run one after another.
        target: First packed word.
        source: First code.
        length: Codes of a row.
        rows: Number of rows.
        packed: Words of a packed row.
        bits: Bits of a code, at most 16.
        target_row: Words from one packed row to the next.
        source_row: Words from one row of codes to the next.
        step: Words from one code to the next.
    """
    line = np.zeros(packed + 1, np.int64)
    lowest = (1 << bits) - 1
    for row in range(rows):
        line[:] = 0
        for index in range(length):
            code = np.int64(words[source + row * source_row + index * step]) & lowest
            place = index * bits
            shifted = code << (place & 31)
            line[place >> 5] |= shifted & 0xFFFFFFFF
            line[(place >> 5) + 1] |= shifted >> 32
        for index in range(packed):
            words[target + row * target_row + index] = np.int32(line[index])


@njit(cache=True, nogil=True)
def unpack_row(
    words: Any,
    target: int,
    source: int,
    length: int,
    rows: int,
    packed: int,
    bits: int,
    target_row: int,
    source_row: int,
    step: int,
) -> None:
    """The inverse of `pack_row`: `length` codes a row, `step` words apart, from `packed` words."""
    line = np.zeros(packed + 1, np.int64)
    lowest = (1 << bits) - 1
    for row in range(rows):
        for index in range(packed):
            line[index] = np.int64(words[source + row * source_row + index]) & 0xFFFFFFFF
        for index in range(length):
            place = index * bits
            both = line[place >> 5] | line[(place >> 5) + 1] << 32
            words[target + row * target_row + index * step] = np.int32(both >> (place & 31) & lowest)


@njit(cache=True, nogil=True)
def multiply_codes(
    elements: Any,
    global_buffer: Any,
    accumulators: Any,
    channels: Any,
    first: int,
    buffer_first: int,
    beats: int,
    outputs: int,
    accumulator: int,
    stride: int,
    buffer_stride: int,
    accumulator_stride: int,
    lanes: int,
    bits: int,
) -> None:
    """acc[channel, accumulator + o * accumulator_stride, bank] += codes(first + o * stride) . gb(buffer_first + ...).

    A product has one binary32 sum a lane, over ascending beats; the lanes are then summed in ascending order, and the
    result is added to the accumulator.

    Args:
        elements: uint16 [channels, banks, ...] of packed codes, 16 div `bits` of them in an element.
        global_buffer: float32 [channels, elements].
        accumulators: float32 [channels, accumulators, banks], changed in place.
        channels: int64 channel numbers.
        first: First element of the codes inside a bank.
        buffer_first: First element inside the global buffer.
        beats: Beats of `lanes` codes of a product.
        outputs: Number of products.
        accumulator: First accumulator.
        stride: Elements from one product's codes to the next.
        buffer_stride: Elements of the global buffer from one product's input to the next.
        accumulator_stride: Accumulators from one product to the next.
        lanes: Codes of a beat.
        bits: Bits of a code: 8, 4 or 2.
    """
    sums = np.zeros(lanes, np.float32)
    lowest = (1 << bits) - 1
    for channel in channels:
        for bank in range(accumulators.shape[2]):
            row = elements[channel, bank]
            for output in range(outputs):
                sums[:] = 0
                for beat in range(beats):
                    source = first + output * stride + beat * lanes * bits // 16
                    right = buffer_first + output * buffer_stride + beat * lanes
                    for lane in range(lanes):
                        place = lane * bits
                        code = row[source + place // 16] >> (place % 16) & lowest
                        sums[lane] += np.float32(code) * global_buffer[channel, right + lane]
                total = np.float32(0.0)
                for lane in range(lanes):
                    total += sums[lane]
                accumulators[channel, accumulator + output * accumulator_stride, bank] += total
