"""Compiled kernels of the three near-bank instructions that a decoder lives on: `wrgb`, `mac`, `rdacc`.

Addresses are bounds-checked before a kernel is called. Channels are given in ascending order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, uintp

from pimc.simulator.semantics.dot_kernel import LANES, dot_bfloat16, dot_float32

_BANKS_AHEAD = 2
"""How many banks further on the cache is asked for weights: a range is too short for the hardware to look beyond it."""


@njit(inline="always")
def rounded_to_bfloat16(value: Any) -> Any:
    """A binary32 rounded to the nearest bf16, ties to even; a NaN stays a NaN."""
    bits = np.float32(value).view(np.uint32)
    if (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
        return value
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint32((bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)).view(np.float32)


@njit(cache=True, nogil=True)
def multiply_accumulate(
    bank_address: int,
    bank_bytes: int,
    element_bytes: int,
    global_buffer: Any,
    accumulators: Any,
    channels: Any,
    start: int,
    buffer_start: int,
    elements: int,
    outputs: int,
    accumulator: int,
    stride: int,
    buffer_stride: int,
    accumulator_stride: int,
) -> None:
    """acc[channel, accumulator + o * accumulator_stride, bank] += row(start + o * stride) . gb(buffer_start + o * ...).

    Args:
        bank_address: Memory address of [channels, banks, ...] elements, bf16 bits or binary32.
        bank_bytes: Bytes from one bank to the next.
        element_bytes: 2 for bf16 bits, 4 for binary32.
        global_buffer: float32 [channels, elements].
        accumulators: float32 [channels, accumulators, banks], changed in place.
        channels: int64 channel numbers.
        start: First element inside a bank.
        buffer_start: First element inside the global buffer.
        elements: Elements of a product, a multiple of `LANES`.
        outputs: Number of products.
        accumulator: First accumulator.
        stride: Elements from one product's row to the next.
        buffer_stride: Elements from one product's input to the next.
        accumulator_stride: Accumulators from one product to the next.
    """
    banks = accumulators.shape[2]
    blocks = uintp(elements // LANES)
    ahead = uintp(_BANKS_AHEAD * bank_bytes)
    inputs = global_buffer.ctypes.data
    row_bytes = global_buffer.shape[1] * 4
    for channel in channels:
        buffer = inputs + channel * row_bytes + buffer_start * 4
        for bank in range(banks):
            row = bank_address + (channel * banks + bank) * bank_bytes + start * element_bytes
            for output in range(outputs):
                left: Any = uintp(row + output * stride * element_bytes)
                right: Any = uintp(buffer + output * buffer_stride * 4)
                if element_bytes == 2:
                    total = dot_bfloat16(left, right, blocks, ahead)
                else:
                    total = dot_float32(left, right, blocks, ahead)
                accumulators[channel, accumulator + output * accumulator_stride, bank] += total


@njit(cache=True, nogil=True)
def write_global_buffer(
    global_buffer: Any,
    shared: Any,
    channels: Any,
    first: int,
    source: int,
    columns: int,
    divisor: int,
    quotient_stride: int,
    remainder_stride: int,
    column_stride: int,
    lanes: int,
    rounds: bool,
) -> None:
    """Copy `columns` columns of words to each channel's global buffer; round them to bf16 when `rounds`.

    Args:
        global_buffer: float32 [channels, elements], changed in place.
        shared: float32 words.
        channels: int64 channel numbers.
        first: First element in the global buffer.
        source: First word.
        columns: Columns of `lanes` words.
        divisor: Divisor of the channel coordinate.
        quotient_stride: Words per (channel div divisor).
        remainder_stride: Words per (channel mod divisor).
        column_stride: Words from one column to the next.
        lanes: Words of a column.
        rounds: Whether words are rounded to bf16.
    """
    for channel in channels:
        base = source + (channel // divisor) * quotient_stride + (channel % divisor) * remainder_stride
        for column in range(columns):
            target = first + column * lanes
            word = base + column * column_stride
            for lane in range(lanes):
                value = shared[word + lane]
                global_buffer[channel, target + lane] = rounded_to_bfloat16(value) if rounds else value


@njit(cache=True, nogil=True)
def read_accumulators(
    shared: Any,
    accumulators: Any,
    channels: Any,
    first: int,
    count: int,
    target: int,
    divisor: int,
    quotient_stride: int,
    remainder_stride: int,
    item_stride: int,
    adds: bool,
    rounds: bool,
) -> None:
    """Read `count` accumulators of all banks into words; what several channels write to one word is summed.

    The sum is taken in binary32 in ascending order of channels; with `adds` it begins with the word as it was.
    Arguments as in `write_global_buffer`; `accumulators` is float32 [channels, accumulators, banks].
    """
    banks = accumulators.shape[2]
    if not adds:
        for channel in channels:
            base = target + (channel // divisor) * quotient_stride + (channel % divisor) * remainder_stride
            for item in range(count):
                for bank in range(banks):
                    shared[base + item * item_stride + bank] = 0.0
    for channel in channels:
        base = target + (channel // divisor) * quotient_stride + (channel % divisor) * remainder_stride
        for item in range(count):
            for bank in range(banks):
                value = accumulators[channel, first + item, bank]
                shared[base + item * item_stride + bank] += rounded_to_bfloat16(value) if rounds else value
