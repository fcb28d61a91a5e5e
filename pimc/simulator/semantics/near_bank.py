"""Meaning of the near-bank instructions: what moves and what is computed in the channels.

Banks hold elements (bf16 bits, or binary32 under `fp32` numerics); accumulators are binary32. Under `machine` numerics
words are rounded to bf16 when they enter a bank or a global buffer, and, where the machine reads 16 bits of an
accumulator, when they enter or leave an accumulator or an activation register. What several channels write to one word
of the shared buffer is summed in binary32 in ascending order of channels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import INSTRUCTIONS
from pimc.simulator.semantics.near_bank_kernels import multiply_accumulate, read_accumulators, write_global_buffer
from pimc.simulator.semantics.numerics import from_elements, rounded_to_bfloat16, to_elements
from pimc.simulator.semantics.vector_functions import FUNCTION_OF_CODE
from pimc.simulator.state.banks import BankRegion
from pimc.simulator.state.machine_state import MachineState

_FROM_BUFFER = INSTRUCTIONS["wracc"].operand("source").choices.index("buffer")
_ADD = INSTRUCTIONS["rdacc"].operand("mode").choices.index("add")
_WORD_FORM = INSTRUCTIONS["ldb"].operand("form").choices.index("word")


def _region(state: MachineState, addr: int) -> BankRegion:
    region = state.region_at(addr)
    if region is None:
        raise AssertionError("bank addresses are checked before execution")
    return region


def _elements(state: MachineState, addr: int, cols: int) -> tuple[NDArray[Any], slice]:
    """The region of `addr`, and the elements of its columns."""
    region = _region(state, addr)
    lanes = state.geometry.lanes
    start = (addr - region.low) * lanes
    return region.data, slice(start, start + cols * lanes)


def _word_index(bases: NDArray[np.int64], items: int, item_stride: int, width: int) -> NDArray[np.int64]:
    """Word addresses [channels, items, width] of a transfer whose channels begin at `bases`."""
    return bases[:, None, None] + (np.arange(items) * item_stride)[:, None] + np.arange(width)


def _are_distinct(bases: NDArray[np.int64], items: int, item_stride: int, width: int) -> bool:
    """Whether no word of a transfer of several channels occurs twice, by the distances; sufficient, not necessary."""
    places = np.sort(bases)
    gap, item_gap = int(np.diff(places).min()), item_stride if items > 1 else width
    one_behind_the_other = item_gap >= width and gap >= (items - 1) * item_stride + width
    side_by_side = gap >= width and item_gap >= int(places[-1] - places[0]) + width
    return one_behind_the_other or side_by_side


def _write_words(state: MachineState, bases: NDArray[np.int64], item_stride: int, values: NDArray[np.float32]) -> None:
    """Write [channels, items, width] words; a word that is written more than once gets the sum."""
    items, width = values.shape[1:]
    index = _word_index(bases, items, item_stride, width)
    is_plain = bases.size == 1 or _are_distinct(bases, items, item_stride, width)
    if is_plain or np.unique(index).size == index.size:
        state.shared_integers[index] = values.view(np.int32)
    else:
        state.shared[index] = 0.0
        np.add.at(state.shared, index, values)


def wrgb(state: MachineState, ch: int, gb: int, src: int, cols: int, cdiv: int, si: int, sj: int, sn: int) -> None:
    """Shared buffer to global buffers."""
    lanes = state.geometry.lanes
    write_global_buffer(
        state.global_buffer,
        state.shared,
        state.channels(ch),
        gb * lanes,
        src,
        cols,
        cdiv,
        si,
        sj,
        sn,
        lanes,
        state.rounds_operands,
    )


def wracc(
    state: MachineState, ch: int, acc: int, count: int, source: int, src: int, cdiv: int, si: int, sj: int, sn: int
) -> None:
    """Shared buffer, or zero, to accumulators."""
    channels = state.channels(ch)
    if source == _FROM_BUFFER:
        index = _word_index(src + state.channel_offsets(ch, cdiv, si, sj), count, sn, state.geometry.banks)
        values = state.shared[index]
        if state.rounds_readout:
            values = rounded_to_bfloat16(values)
        state.accumulators[channels, acc : acc + count] = values
    elif channels.size == state.geometry.channels:
        state.accumulators[:, acc : acc + count] = 0.0
    else:
        state.accumulators[channels, acc : acc + count] = 0.0


def mac(
    state: MachineState,
    ch: int,
    addr: int,
    gb: int,
    cols: int,
    outs: int,
    acc: int,
    bstride: int,
    gstride: int,
    astride: int,
) -> None:
    """Multiply-accumulate in all banks."""
    if outs == 0 or cols == 0:
        return
    region = _region(state, addr)
    lanes = state.geometry.lanes
    multiply_accumulate(
        region.address,
        region.bank_bytes,
        state.dtype.itemsize,
        state.global_buffer,
        state.accumulators,
        state.channels(ch),
        (addr - region.low) * lanes,
        gb * lanes,
        cols * lanes,
        outs,
        acc,
        bstride * lanes,
        gstride * lanes,
        astride,
    )


def rdacc(
    state: MachineState, ch: int, acc: int, count: int, dst: int, cdiv: int, si: int, sj: int, sn: int, mode: int
) -> None:
    """Accumulators to shared buffer."""
    read_accumulators(
        state.shared,
        state.accumulators,
        state.channels(ch),
        acc,
        count,
        dst,
        cdiv,
        si,
        sj,
        sn,
        mode == _ADD,
        state.rounds_readout,
    )


def open_(state: MachineState, ch: int, addr: int) -> None:
    """Open a row: changes timing only."""


def ldb(
    state: MachineState,
    ch: int,
    bank: int,
    addr: int,
    cols: int,
    dst: int,
    cdiv: int,
    si: int,
    sj: int,
    sn: int,
    form: int,
) -> None:
    """One bank to shared buffer."""
    data, span = _elements(state, addr, cols)
    stored = data[state.channels(ch), bank, span]
    lanes = state.geometry.lanes
    bases = dst + state.channel_offsets(ch, cdiv, si, sj)
    if form == _WORD_FORM:
        words = _words_of_pairs(stored).reshape(bases.size, cols, lanes // 2)
        _write_words(state, bases, sn, words)
    else:
        values = from_elements(stored).reshape(bases.size, cols, lanes)
        _write_words(state, bases, sn, values)


def _words_of_pairs(elements: NDArray[Any]) -> NDArray[np.float32]:
    """Words that lane pairs hold: both halves of a bf16 pair, or the first element of a binary32 pair."""
    if elements.dtype == np.uint16:
        return elements.view(np.float32)
    return np.ascontiguousarray(elements[..., ::2])


def stb(
    state: MachineState,
    ch: int,
    bank: int,
    addr: int,
    cols: int,
    src: int,
    cdiv: int,
    si: int,
    sj: int,
    sn: int,
    form: int,
) -> None:
    """Shared buffer to one bank."""
    data, span = _elements(state, addr, cols)
    channels = state.channels(ch)
    width = state.geometry.lanes // 2 if form == _WORD_FORM else state.geometry.lanes
    index = _word_index(src + state.channel_offsets(ch, cdiv, si, sj), cols, sn, width)
    words = state.shared[index].reshape(channels.size, cols * width)
    if form != _WORD_FORM:
        data[channels, bank, span] = to_elements(words, data.dtype)
    elif data.dtype == np.uint16:
        data[channels, bank, span] = words.view(np.uint16)
    else:
        data.view(np.int32)[channels, bank, span.start : span.stop : 2] = words.view(np.int32)


def stlane(
    state: MachineState,
    ch: int,
    addr: int,
    lane: int,
    count: int,
    src: int,
    cstride: int,
    cdiv: int,
    si: int,
    sj: int,
) -> None:
    """Shared buffer to one lane of a column in every bank, stripe by stripe."""
    region = _region(state, addr)
    lanes, banks = state.geometry.lanes, state.geometry.banks
    number = np.arange(count)
    elements = (addr - region.low + number // banks * cstride) * lanes + lane
    words = state.shared[(src + state.channel_offsets(ch, cdiv, si, sj))[:, None] + number]
    data = region.data
    data[state.channels(ch)[:, None], number % banks, elements] = to_elements(words, data.dtype)


def wrab(state: MachineState, ch: int, addr: int, cols: int, src: int, cdiv: int, si: int, sj: int, sn: int) -> None:
    """Shared buffer to all banks alike."""
    data, span = _elements(state, addr, cols)
    channels = state.channels(ch)
    index = _word_index(src + state.channel_offsets(ch, cdiv, si, sj), cols, sn, state.geometry.lanes)
    words = state.shared[index].reshape(channels.size, 1, span.stop - span.start)
    data[channels, :, span] = to_elements(words, data.dtype)


def ewmul(state: MachineState, ch: int, addr: int, cols: int) -> None:
    """Element-wise product of two banks of every bank group into the third."""
    data, span = _elements(state, addr, cols)
    channels = state.channels(ch)[:, None]
    first = np.arange(state.geometry.bank_groups) * state.geometry.banks_per_group
    product = from_elements(data[channels, first, span]) * from_elements(data[channels, first + 1, span])
    data[channels, first + 2, span] = to_elements(product, data.dtype)


def af(state: MachineState, ch: int, acc: int, fn: int) -> None:
    """Activation function of one accumulator."""
    channels = state.channels(ch)
    values = FUNCTION_OF_CODE[fn](state.accumulators[channels, acc])
    state.activation[channels] = rounded_to_bfloat16(values) if state.rounds_readout else values


def rdaf(state: MachineState, ch: int, dst: int, cdiv: int, si: int, sj: int) -> None:
    """Activation registers to shared buffer."""
    bases = dst + state.channel_offsets(ch, cdiv, si, sj)
    _write_words(state, bases, 0, state.activation[state.channels(ch)][:, None, :])


def cpbg(state: MachineState, ch: int, bank: int, addr: int, gb: int, cols: int) -> None:
    """One bank to global buffer."""
    data, span = _elements(state, addr, cols)
    channels = state.channels(ch)
    start = gb * state.geometry.lanes
    state.global_buffer[channels, start : start + span.stop - span.start] = from_elements(data[channels, bank, span])


def cpgb(state: MachineState, ch: int, bank: int, addr: int, gb: int, cols: int) -> None:
    """Global buffer to one bank."""
    data, span = _elements(state, addr, cols)
    channels = state.channels(ch)
    start = gb * state.geometry.lanes
    values = state.global_buffer[channels, start : start + span.stop - span.start]
    data[channels, bank, span] = to_elements(values, data.dtype)


NEAR_BANK_SEMANTICS: Mapping[str, Callable[..., Any]] = {
    "wrgb": wrgb,
    "wracc": wracc,
    "mac": mac,
    "rdacc": rdacc,
    "open": open_,
    "ldb": ldb,
    "stb": stb,
    "stlane": stlane,
    "wrab": wrab,
    "ewmul": ewmul,
    "af": af,
    "rdaf": rdaf,
    "cpbg": cpbg,
    "cpgb": cpgb,
}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
