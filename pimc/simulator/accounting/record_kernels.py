"""Compiled kernel that counts what a stream of records holds."""

from __future__ import annotations

from typing import Any

from numba import njit


@njit(cache=True, nogil=True)
def count_codes(octets: Any, channels: int, split: int, bits: int, bits2: int) -> tuple[int, int]:
    """Records of a stream, and codes that are not 0 in them.

    Args:
        octets: uint8 bytes of whole records.
        channels: Codes of a token.
        split: Channels before the split.
        bits: Bits of their codes.
        bits2: Bits of the other codes.
    """
    position = records = survivors = 0
    while position < octets.size:
        first = second = 0
        for channel in range(channels):
            is_stored = octets[position + (channel >> 3)] >> (channel & 7) & 1
            if channel < split:
                first += is_stored
            else:
                second += is_stored
        flags = -(-(first + second) // 8)
        position += -(-channels // 8) + flags + -(-(first * bits + second * bits2) // 8)
        records += 1
        survivors += first + second
    return records, survivors
