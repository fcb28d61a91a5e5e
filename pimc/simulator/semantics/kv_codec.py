"""Meaning of the codec's instructions on words: scales, codes, packing, selection.

Ranges, rows and overlaps are those of the vector unit. Arithmetic is binary32, one rounding an operation. A meta word
holds two binary16 numbers, the scale in its low half and the zero point in its high half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import INSTRUCTIONS
from pimc.simulator.semantics.kv_codec_kernels import pack_row, unpack_row
from pimc.simulator.semantics.vector import by_rows
from pimc.simulator.semantics.vector_ranges import view
from pimc.simulator.state.machine_state import MachineState

_ZERO_PART = INSTRUCTIONS["kunscale"].operand("part").choices.index("zero")
_SMALLEST = INSTRUCTIONS["kselect"].operand("fn").choices.index("smallest")
_LIST = INSTRUCTIONS["kselect"].operand("form").choices.index("list")
_LARGEST_HALF = 65504.0
_NAN_HALF = 0x7E00
_WORD_BITS = 32


def halves(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Bits of the nearest binary16, ties to even; what overflows becomes +-65504, and every NaN is 0x7E00."""
    nearest = np.clip(values, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16).view(np.uint16)
    return np.where(np.isnan(values), _NAN_HALF, nearest).astype(np.int32)


def scales(meta: NDArray[np.int32]) -> NDArray[np.float32]:
    """Scales of meta words."""
    return (meta & 0xFFFF).astype(np.uint16).view(np.float16).astype(np.float32)


def zeros(meta: NDArray[np.int32]) -> NDArray[np.float32]:
    """Zero points of meta words."""
    return (meta >> 16 & 0xFFFF).astype(np.uint16).view(np.float16).astype(np.float32)


def _floats(words: NDArray[np.int32]) -> NDArray[np.float32]:
    return np.asarray(words.view(np.float32))


def kscale(state: MachineState, *operands: int) -> None:
    """Meta words from smallest and largest elements."""
    *ranges, steps = operands

    def write(low: NDArray[Any], high: NDArray[Any], out: NDArray[Any]) -> None:
        scale = halves((high - low) / np.float32(steps))
        out[...] = scale | halves(low) << 16

    by_rows(write, state.shared, state.shared_integers, *ranges)


def kunscale(
    state: MachineState,
    dst: int,
    a: int,
    part: int,
    length: int,
    rows: int,
    dst_row: int,
    a_row: int,
    dst_step: int,
    a_step: int,
) -> None:
    """Scale or zero point as binary32."""
    half = zeros if part == _ZERO_PART else scales

    def write(meta: NDArray[Any], _: NDArray[Any], out: NDArray[Any]) -> None:
        out[...] = half(meta)

    ranges = (dst, a, a, length, rows, dst_row, a_row, a_row, dst_step, a_step, a_step)
    by_rows(write, state.shared_integers, state.shared, *ranges)


def codes_of(values: NDArray[np.float32], meta: NDArray[np.int32], steps: int) -> NDArray[np.int32]:
    """round((value - zero) / scale) in 0 to `steps`; 0 where the scale is 0 and where that is no number."""
    scale = scales(meta)
    places = np.rint((values - zeros(meta)) / scale)
    known = (scale != 0) & ~np.isnan(places)
    return np.where(known, np.clip(places, 0, steps), 0).astype(np.int32)


def kquant(state: MachineState, *operands: int) -> None:
    """Elements to codes."""
    *ranges, steps, base = operands

    def write(a: NDArray[Any], meta: NDArray[Any], out: NDArray[Any]) -> None:
        out[...] = base + codes_of(_floats(a), meta, steps)

    by_rows(write, state.shared_integers, state.shared_integers, *ranges)


def values_of(codes: NDArray[np.int32], meta: NDArray[np.int32], base: int) -> NDArray[np.float32]:
    """(code - base) * scale + zero; 0 for the code 0 when base is 1."""
    values = (codes - np.int32(base)).astype(np.float32) * scales(meta) + zeros(meta)
    return np.where(codes == 0, np.float32(0), values) if base else values


def kdequant(state: MachineState, *operands: int) -> None:
    """Codes to elements."""
    *ranges, base = operands

    def write(codes: NDArray[Any], meta: NDArray[Any], out: NDArray[Any]) -> None:
        out[...] = values_of(codes, meta, base)

    by_rows(write, state.shared_integers, state.shared, *ranges)


def kpack(
    state: MachineState,
    dst: int,
    a: int,
    length: int,
    rows: int,
    bits: int,
    dst_row: int,
    a_row: int,
    a_step: int,
) -> None:
    """Codes to packed words."""
    words = -(-length * bits // _WORD_BITS)
    if words and rows:
        pack_row(state.shared_integers, dst, a, length, rows, words, bits, dst_row, a_row, a_step)


def kunpack(
    state: MachineState,
    dst: int,
    a: int,
    length: int,
    rows: int,
    bits: int,
    dst_row: int,
    a_row: int,
    dst_step: int,
) -> None:
    """Packed words to codes."""
    words = -(-length * bits // _WORD_BITS)
    if words and rows:
        unpack_row(state.shared_integers, dst, a, length, rows, words, bits, dst_row, a_row, dst_step)


def kselect(
    state: MachineState,
    dst: int,
    a: int,
    mask: int,
    count: int,
    length: int,
    rows: int,
    dst_row: int,
    a_row: int,
    mask_row: int,
    a_step: int,
    mask_step: int,
    fn: int,
    form: int,
) -> None:
    """The best elements of each row, as indices or as a mask."""
    words = state.shared_integers
    for _ in range(rows if length else 0):
        keys = view(state.shared, a, 1, length, 0, a_step)
        candidates = np.flatnonzero(view(words, mask, 1, length, 0, mask_step))
        order = np.argsort(keys[candidates] if fn == _SMALLEST else -keys[candidates], kind="stable")
        best = candidates[order[:count]]
        if form == _LIST:
            words[dst : dst + best.size] = best
            words[dst + best.size : dst + count] = -1
        else:
            words[dst : dst + length] = 0
            words[dst + best] = 1
        dst, a, mask = dst + dst_row, a + a_row, mask + mask_row


KV_CODEC_SEMANTICS: Mapping[str, Callable[..., Any]] = {
    "kscale": kscale,
    "kunscale": kunscale,
    "kquant": kquant,
    "kdequant": kdequant,
    "kpack": kpack,
    "kunpack": kunpack,
    "kselect": kselect,
}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
