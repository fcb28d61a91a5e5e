"""Which memory an instruction touches, found by compiled code: spans in the shared buffer, columns in the banks."""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, TABLE, compiled
from pimc.simulator.timing_only.tables import (
    ACCESS_KIND,
    ACCESS_WIDTH,
    BANK_RANGE,
    BASE,
    BY_CHANNEL,
    CHECK_WIDTH,
    LENGTH,
    MOST_ACCESSES,
    MOST_CHECKS,
    NO_ACCESS,
    NO_CHECK,
    READ,
    ROW_STRIDE,
    ROWS,
    STEP,
    WRITE,
)


@compiled(NOTHING, CYCLES, CYCLES, INTEGER, CYCLES)
def find_extent(values: Any, coordinates: Any, channels: int, extent: Any) -> None:
    """Smallest and largest offset of the channels of a transfer, and how many different ones there are.

    `extent` keeps the latest coordinates and their result.
    """
    mask, divisor = values[coordinates[0]], values[coordinates[1]]
    by_quotient, by_remainder = values[coordinates[2]], values[coordinates[3]]
    if extent[0] == mask and extent[1] == divisor and extent[2] == by_quotient and extent[3] == by_remainder:
        return
    extent[0], extent[1], extent[2], extent[3] = mask, divisor, by_quotient, by_remainder
    extent[4], extent[5], extent[6] = 1 << 62, 0, 0
    for channel in range(channels):
        if not mask >> channel & 1:
            continue
        offset = channel // divisor * by_quotient + channel % divisor * by_remainder
        is_new = True
        for earlier in range(channel):
            if mask >> earlier & 1:
                is_new &= earlier // divisor * by_quotient + earlier % divisor * by_remainder != offset
        extent[4] = min(extent[4], offset)
        extent[5] = max(extent[5], offset)
        extent[6] += is_new


@compiled(FLAG, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER)
def find_spans(values: Any, accesses: Any, extent: Any, spans: Any, counts: Any, words: int) -> bool:
    """Words of the shared buffer that an instruction accesses; false when they lie outside.

    Args:
        values: Row of values.
        accesses: As `TimingTables.accesses`.
        extent: Of the channels, as `find_extent` leaves it.
        spans: [3 * MOST_ACCESSES] kind, first word, word after the last of each.
        counts: Words read and written, filled.
        words: Size of the shared buffer.
    """
    counts[0], counts[1] = 0, 0
    for number in range(MOST_ACCESSES):
        at = ACCESS_WIDTH * number
        kind = accesses[at + ACCESS_KIND]
        spans[3 * number] = kind
        if kind == NO_ACCESS:
            continue
        rows, length = values[accesses[at + ROWS]], values[accesses[at + LENGTH]]
        if rows == 0 or length == 0:
            spans[3 * number] = NO_ACCESS
            continue
        reach = (rows - 1) * values[accesses[at + ROW_STRIDE]] + (length - 1) * values[accesses[at + STEP]]
        low = values[accesses[at + BASE]]
        high = low + reach + 1
        moved = rows * length
        if accesses[at + BY_CHANNEL]:
            low += extent[4]
            high += extent[5]
            moved *= extent[6]
        if low < 0 or high > words:
            return False
        spans[3 * number + 1], spans[3 * number + 2] = low, high
        counts[0] += moved if kind != WRITE else 0
        counts[1] += moved if kind != READ else 0
    return True


@compiled(FLAG, CYCLES, INTEGER, INTEGER, TABLE, FLAG)
def _in_one_region(values: Any, first: int, columns: int, regions: Any, writes: bool) -> bool:
    for index in range(regions.shape[0]):
        if regions[index, 0] <= first < regions[index, 1]:
            return bool(first + columns <= regions[index, 1] and (regions[index, 2] or not writes))
    return False


@compiled(FLAG, CYCLES, CYCLES, TABLE, INTEGER)
def is_allowed(values: Any, checks: Any, regions: Any, all_channels: int) -> bool:
    """Whether an instruction of the channels stays inside their memories."""
    if not 0 < values[0] <= all_channels:
        return False
    for number in range(MOST_CHECKS):
        at = CHECK_WIDTH * number
        if checks[at] == NO_CHECK:
            break
        first, ranges = values[checks[at + 1]], values[checks[at + 2]]
        columns = (ranges - 1) * values[checks[at + 3]] + values[checks[at + 4]]
        if checks[at] == BANK_RANGE:
            if not _in_one_region(values, first, columns, regions, checks[at + 5] != 0):
                return False
        elif first < 0 or columns < 0 or first + columns > checks[at + 5]:
            return False
    return True
