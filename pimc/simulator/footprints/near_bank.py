"""What a near-bank instruction touches: channels, columns, banks, and words of the shared buffer.

Footprint functions as described in `pimc.simulator.footprints.vector`; they raise `FaultError` also for a wrong channel
mask, for columns outside every region or across its end, and for writes to read-only regions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isa import INSTRUCTIONS, VECTOR_FUNCTIONS
from pimc.simulator.footprints.vector import NO_WORDS, Footprint, Span, is_empty, word_span
from pimc.simulator.semantics.vector_functions import FUNCTIONS
from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState

_FROM_BUFFER = INSTRUCTIONS["wracc"].operand("source").choices.index("buffer")
_ADD = INSTRUCTIONS["rdacc"].operand("mode").choices.index("add")
_ELEMENT_FORM = INSTRUCTIONS["ldb"].operand("form").choices.index("element")
_WORD_FORM = INSTRUCTIONS["ldb"].operand("form").choices.index("word")


def check_mask(state: MachineState, mask: int) -> None:
    """Raise `FaultError` unless `mask` names channels."""
    if not 0 < mask <= state.geometry.all_channels:
        raise FaultError(
            f"'ch' is the mask {mask:#x}",
            f"masks 0x1 to {state.geometry.all_channels:#x} name channels",
        )


def check_bank(state: MachineState, addr: int, columns: int, writes: bool, element: str | None = "number") -> None:
    """Raise `FaultError` unless `columns` from `addr` on lie in one region that may be accessed so.

    Args:
        state: The machine.
        addr: First linear column.
        columns: Number of columns.
        writes: Whether they are written.
        element: What the region must hold, see `isa.Region`; `None` when it does not matter.
    """
    region = state.region_at(addr)
    if region is None:
        raise FaultError(f"'addr' is column {addr}, which belongs to no region", *_regions(state))
    if addr + columns > region.high:
        raise FaultError(
            f"columns {addr} to {addr + columns - 1} leave the region '{region.region.name}'", *_regions(state)
        )
    if element is not None and region.region.element != element:
        raise FaultError(f"it works on {element}s", f"the region '{region.region.name}' holds {region.region.element}s")
    if writes and not region.region.writable:
        raise FaultError(f"it writes to the region '{region.region.name}'", f"its role is {region.region.role}")


def _regions(state: MachineState) -> tuple[str, ...]:
    return tuple(f"region '{each.region.name}': columns {each.low} to {each.high - 1}" for each in state.regions)


def check_index(name: str, first: int, count: int, limit: int) -> None:
    """Raise `FaultError` unless `first` to `first` + `count` - 1 lie in 0 to `limit` - 1."""
    if first < 0 or count < 0 or first + count > limit:
        raise FaultError(f"'{name}' covers {first} to {first + count - 1}", f"allowed: 0 to {limit - 1}")


def transfer_span(
    state: MachineState, name: str, ch: int, base: int, items: int, width: int, cdiv: int, si: int, sj: int, sn: int
) -> tuple[Span, int]:
    """Hull and number of the words of a transfer; words that channels share are read or written once."""
    if cdiv < 1:
        raise FaultError("'cdiv' is 0", "allowed: 1 to 63")
    low, high, distinct = state.channel_extent(ch, cdiv, si, sj)
    span = word_span(state, name, base + low, base + high + (items - 1) * sn + width)
    return span, distinct * items * width


def _wrgb(
    state: MachineState, ch: int, gb: int, src: int, cols: int, cdiv: int, si: int, sj: int, sn: int
) -> Footprint | None:
    check_mask(state, ch)
    if is_empty(1, cols):
        return None
    check_index("gb", gb, cols, state.geometry.buffer_columns)
    span, words = transfer_span(state, "src", ch, src, cols, state.geometry.lanes, cdiv, si, sj, sn)
    return Footprint((span,), (), words, 0)


def _wracc(
    state: MachineState, ch: int, acc: int, count: int, source: int, src: int, cdiv: int, si: int, sj: int, sn: int
) -> Footprint | None:
    check_mask(state, ch)
    if is_empty(1, count):
        return None
    check_index("acc", acc, count, state.geometry.accumulators)
    if source != _FROM_BUFFER:
        return NO_WORDS
    span, words = transfer_span(state, "src", ch, src, count, state.geometry.banks, cdiv, si, sj, sn)
    return Footprint((span,), (), words, 0)


def _mac(
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
) -> Footprint | None:
    check_mask(state, ch)
    if is_empty(outs, cols):
        return None
    last = outs - 1
    check_bank(state, addr, last * bstride + cols, False)
    check_index("gb", gb, last * gstride + cols, state.geometry.buffer_columns)
    check_index("acc", acc, last * astride + 1, state.geometry.accumulators)
    if state.geometry.equal_columns:
        _check_equal_columns(state, addr, gb, outs, bstride, gstride)
    return NO_WORDS


def _check_equal_columns(state: MachineState, addr: int, gb: int, outs: int, bstride: int, gstride: int) -> None:
    row = state.geometry.row_columns
    for output in range(outs):
        bank_column, buffer_column = (addr + output * bstride) % row, (gb + output * gstride) % row
        if bank_column != buffer_column:
            raise FaultError(
                f"output {output} multiplies bank column {bank_column} by global buffer column {buffer_column}",
                "on this machine both columns are the same (mac_gb_column: equal)",
            )


def _rdacc(
    state: MachineState, ch: int, acc: int, count: int, dst: int, cdiv: int, si: int, sj: int, sn: int, mode: int
) -> Footprint | None:
    check_mask(state, ch)
    if is_empty(1, count):
        return None
    check_index("acc", acc, count, state.geometry.accumulators)
    span, words = transfer_span(state, "dst", ch, dst, count, state.geometry.banks, cdiv, si, sj, sn)
    return Footprint((span,), (span,), words, words) if mode == _ADD else Footprint((), (span,), 0, words)


def _open(state: MachineState, ch: int, addr: int) -> Footprint | None:
    check_mask(state, ch)
    check_bank(state, addr, 1, False, None)
    return NO_WORDS


def _check_one_bank(
    state: MachineState, ch: int, bank: int, addr: int, cols: int, writes: bool, form: int = _ELEMENT_FORM
) -> None:
    check_mask(state, ch)
    check_index("bank", bank, 1, state.geometry.banks)
    check_bank(state, addr, cols, writes, None if form == _WORD_FORM else "number")


def _width(state: MachineState, form: int) -> int:
    return state.geometry.lanes // 2 if form == _WORD_FORM else state.geometry.lanes


def _ldb(
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
) -> Footprint | None:
    if is_empty(1, cols):
        return None
    _check_one_bank(state, ch, bank, addr, cols, False, form)
    span, words = transfer_span(state, "dst", ch, dst, cols, _width(state, form), cdiv, si, sj, sn)
    return Footprint((), (span,), 0, words)


def _stb(
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
) -> Footprint | None:
    if is_empty(1, cols):
        return None
    _check_one_bank(state, ch, bank, addr, cols, True, form)
    span, words = transfer_span(state, "src", ch, src, cols, _width(state, form), cdiv, si, sj, sn)
    return Footprint((span,), (), words, 0)


def _stlane(
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
) -> Footprint | None:
    check_mask(state, ch)
    check_index("lane", lane, 1, state.geometry.lanes)
    if is_empty(1, count):
        return None
    check_bank(state, addr, (count - 1) // state.geometry.banks * cstride + 1, True)
    span, words = transfer_span(state, "src", ch, src, 1, count, cdiv, si, sj, 0)
    return Footprint((span,), (), words, 0)


def _wrab(
    state: MachineState, ch: int, addr: int, cols: int, src: int, cdiv: int, si: int, sj: int, sn: int
) -> Footprint | None:
    check_mask(state, ch)
    if is_empty(1, cols):
        return None
    check_bank(state, addr, cols, True)
    span, words = transfer_span(state, "src", ch, src, cols, state.geometry.lanes, cdiv, si, sj, sn)
    return Footprint((span,), (), words, 0)


def _ewmul(state: MachineState, ch: int, addr: int, cols: int) -> Footprint | None:
    check_mask(state, ch)
    if state.geometry.banks_per_group < 3:
        raise FaultError("a bank group needs three banks", f"the machine has {state.geometry.banks_per_group}")
    if is_empty(1, cols):
        return None
    check_bank(state, addr, cols, True)
    return NO_WORDS


def _af(state: MachineState, ch: int, acc: int, fn: int) -> Footprint | None:
    check_mask(state, ch)
    check_index("acc", acc, 1, state.geometry.accumulators)
    if VECTOR_FUNCTIONS[fn] not in FUNCTIONS:
        raise FaultError(f"accumulators have no function '{VECTOR_FUNCTIONS[fn]}'", f"allowed: {', '.join(FUNCTIONS)}")
    return NO_WORDS


def _rdaf(state: MachineState, ch: int, dst: int, cdiv: int, si: int, sj: int) -> Footprint | None:
    check_mask(state, ch)
    span, words = transfer_span(state, "dst", ch, dst, 1, state.geometry.banks, cdiv, si, sj, 0)
    return Footprint((), (span,), 0, words)


def _cpbg(state: MachineState, ch: int, bank: int, addr: int, gb: int, cols: int) -> Footprint | None:
    if is_empty(1, cols):
        return None
    _check_one_bank(state, ch, bank, addr, cols, False)
    check_index("gb", gb, cols, state.geometry.buffer_columns)
    return NO_WORDS


def _cpgb(state: MachineState, ch: int, bank: int, addr: int, gb: int, cols: int) -> Footprint | None:
    if is_empty(1, cols):
        return None
    _check_one_bank(state, ch, bank, addr, cols, True)
    check_index("gb", gb, cols, state.geometry.buffer_columns)
    return NO_WORDS


NEAR_BANK_FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {
    "wrgb": _wrgb,
    "wracc": _wracc,
    "mac": _mac,
    "rdacc": _rdacc,
    "open": _open,
    "ldb": _ldb,
    "stb": _stb,
    "stlane": _stlane,
    "wrab": _wrab,
    "ewmul": _ewmul,
    "af": _af,
    "rdaf": _rdaf,
    "cpbg": _cpbg,
    "cpgb": _cpgb,
}
"""Footprint functions by mnemonic."""
