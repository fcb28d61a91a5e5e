"""What an instruction of extension K touches.

Footprint functions as described in `pimc.simulator.footprints.vector`; they raise `FaultError` also for widths that the
machine does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isa import INSTRUCTIONS, beats_per_column
from pimc.simulator.footprints.near_bank import check_bank, check_index, check_mask, transfer_span
from pimc.simulator.footprints.vector import NO_WORDS, Footprint, is_empty, range_span
from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState

_LIST = INSTRUCTIONS["kselect"].operand("form").choices.index("list")
_WORD_BITS = 32
_MOST_CODE_BITS = 16


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise FaultError("'steps' is 0", "allowed: 1 to 255")


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= _MOST_CODE_BITS:
        raise FaultError(f"'bits' is {bits}", f"allowed: 1 to {_MOST_CODE_BITS}")


def _check_bank_bits(state: MachineState, bits: int) -> None:
    codec = state.machine.kv_codec
    widths = codec.bank_decode if codec is not None else ()
    if bits not in widths:
        allowed = ", ".join(map(str, widths)) or "no"
        raise FaultError(f"'bits' is {bits}", f"the banks of this machine hold codes of {allowed} bits")


def _three(
    state: MachineState,
    names: tuple[str, str],
    dst: int,
    a: int,
    b: int,
    length: int,
    rows: int,
    dst_row: int,
    a_row: int,
    b_row: int,
    dst_step: int,
    a_step: int,
    b_step: int,
) -> Footprint | None:
    if is_empty(rows, length):
        return None
    reads = (
        range_span(state, names[0], a, rows, length, a_row, a_step),
        range_span(state, names[1], b, rows, length, b_row, b_step),
    )
    elements = rows * length
    written = range_span(state, "dst", dst, rows, length, dst_row, dst_step)
    return Footprint(reads, (written,), 2 * elements, elements)


def _kscale(state: MachineState, *operands: int) -> Footprint | None:
    *ranges, steps = operands
    _check_steps(steps)
    return _three(state, ("lo", "hi"), *ranges)


def _kunscale(
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
) -> Footprint | None:
    if is_empty(rows, length):
        return None
    read = range_span(state, "a", a, rows, length, a_row, a_step)
    written = range_span(state, "dst", dst, rows, length, dst_row, dst_step)
    return Footprint((read,), (written,), rows * length, rows * length)


def _kquant(state: MachineState, *operands: int) -> Footprint | None:
    *ranges, steps, _ = operands
    _check_steps(steps)
    return _three(state, ("a", "meta"), *ranges)


def _kdequant(state: MachineState, *operands: int) -> Footprint | None:
    return _three(state, ("a", "meta"), *operands[:-1])


def _kpack(
    state: MachineState,
    dst: int,
    a: int,
    length: int,
    rows: int,
    bits: int,
    dst_row: int,
    a_row: int,
    a_step: int,
) -> Footprint | None:
    _check_bits(bits)
    if is_empty(rows, length):
        return None
    words = -(-length * bits // _WORD_BITS)
    read = range_span(state, "a", a, rows, length, a_row, a_step)
    return Footprint((read,), (range_span(state, "dst", dst, rows, words, dst_row, 1),), rows * length, rows * words)


def _kunpack(
    state: MachineState,
    dst: int,
    a: int,
    length: int,
    rows: int,
    bits: int,
    dst_row: int,
    a_row: int,
    dst_step: int,
) -> Footprint | None:
    _check_bits(bits)
    if is_empty(rows, length):
        return None
    words = -(-length * bits // _WORD_BITS)
    written = range_span(state, "dst", dst, rows, length, dst_row, dst_step)
    return Footprint((range_span(state, "a", a, rows, words, a_row, 1),), (written,), rows * words, rows * length)


def _kselect(
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
) -> Footprint | None:
    width = count if form == _LIST else length
    if is_empty(rows, length) or is_empty(1, count + 1):
        return None
    reads = (
        range_span(state, "a", a, rows, length, a_row, a_step),
        range_span(state, "mask", mask, rows, length, mask_row, mask_step),
    )
    writes = (range_span(state, "dst", dst, rows, width, dst_row, 1),) if width else ()
    return Footprint(reads, writes, 2 * rows * length, rows * width)


def _check_beats(state: MachineState, addr: int, beat: int, last: int, bits: int, writes: bool) -> None:
    """Beats `beat` to `beat` + `last` behind the first one of column `addr` lie in a region of codes."""
    if beat < 0:
        raise FaultError(f"'beat' is {beat}", "it must not be negative")
    columns = (beat + last) // beats_per_column(state.machine, bits) + 1
    check_bank(state, addr, columns, writes, "code")


def _kstore(
    state: MachineState,
    ch: int,
    addr: int,
    beat: int,
    count: int,
    src: int,
    bits: int,
    bstride: int,
    cdiv: int,
    si: int,
    sj: int,
    sn: int,
) -> Footprint | None:
    check_mask(state, ch)
    _check_bank_bits(state, bits)
    if is_empty(1, count):
        return None
    _check_beats(state, addr, beat, (count - 1) // state.geometry.banks * bstride, bits, True)
    width = state.geometry.lanes * bits // _WORD_BITS
    span, words = transfer_span(state, "src", ch, src, count, width, cdiv, si, sj, sn)
    return Footprint((span,), (), words, 0)


def _kmac(
    state: MachineState,
    ch: int,
    addr: int,
    beat: int,
    gb: int,
    beats: int,
    outs: int,
    acc: int,
    bstride: int,
    gstride: int,
    astride: int,
    bits: int,
) -> Footprint | None:
    check_mask(state, ch)
    _check_bank_bits(state, bits)
    if is_empty(outs, beats):
        return None
    last = outs - 1
    _check_beats(state, addr, beat, last * bstride + beats - 1, bits, False)
    check_index("gb", gb, last * gstride + beats, state.geometry.buffer_columns)
    check_index("acc", acc, last * astride + 1, state.geometry.accumulators)
    return NO_WORDS


KV_CODEC_FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {
    "kscale": _kscale,
    "kunscale": _kunscale,
    "kquant": _kquant,
    "kdequant": _kdequant,
    "kpack": _kpack,
    "kunpack": _kunpack,
    "kselect": _kselect,
    "kstore": _kstore,
    "kmac": _kmac,
}
"""Footprint functions by mnemonic."""
