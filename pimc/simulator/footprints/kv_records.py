"""What the codec's instructions for pruned tokens touch; see `pimc.simulator.footprints.kv_codec`.

Records are as long as their data say. Runs without data take the operand `expected` for the bytes of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from isa import INSTRUCTIONS, record_bytes
from pimc.simulator.footprints.vector import Footprint, Span, is_empty, range_span, word_span
from pimc.simulator.semantics.kv_record_kernels import appended_bytes, fetched_bytes
from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState

_RANGE = INSTRUCTIONS["klevel"].operand("mode").choices.index("range")
_WORD_BYTES = 4
_MOST_BITS = 8
_STATE_VECTORS = 4


def _kprune(
    state: MachineState,
    dst: int,
    a: int,
    threshold: float,
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


def _check_levels(levels: int) -> None:
    if levels < 1:
        raise FaultError("'levels' is 0", "allowed: 1 to 255")


def _klevel(
    state: MachineState,
    dst: int,
    a: int,
    mask: int,
    levels_state: int,
    table: int,
    length: int,
    rows: int,
    row: int,
    table_row: int,
    steps: int,
    levels: int,
    mode: int,
) -> Footprint | None:
    _check_levels(levels)
    if steps < 1:
        raise FaultError("'steps' is 0", "allowed: 1 to 255")
    if is_empty(rows, length):
        return None
    elements = [range_span(state, name, start, rows, length, row, 1) for name, start in (("a", a), ("mask", mask))]
    own = range_span(state, "state", levels_state, _STATE_VECTORS, length, length, 1)
    if mode == _RANGE:
        entries = range_span(state, "table", table, 1, length, 0, 1)
        return Footprint(tuple(elements), (own, entries), 2 * rows * length, (_STATE_VECTORS + 1) * length)
    entries = range_span(state, "table", table, levels, length, table_row, 1)
    flags = range_span(state, "dst", dst, rows, length, row, 1)
    read, written = (2 * rows + _STATE_VECTORS - 1) * length, (rows + _STATE_VECTORS + 1) * length
    return Footprint((*elements, own), (flags, own, entries), read, written)


def _check_record(length: int, split: int, bits: int, bits2: int, rows: int, at: int, expected: int) -> None:
    for name, width in (("bits", bits), ("bits2", bits2)):
        if not 1 <= width <= _MOST_BITS:
            raise FaultError(f"'{name}' is {width}", f"allowed: 1 to {_MOST_BITS}")
    if split > length:
        raise FaultError(f"'split' is {split}", f"allowed: 0 to {length}")
    if rows < 0 or at < 0:
        raise FaultError(f"{rows} records from byte {at} on")
    least, most = record_bytes(length, split, bits, bits2)
    if not least <= expected <= most:
        raise FaultError(f"'expected' is {expected}", f"a record has {least} to {most} bytes")


def _stream(state: MachineState, name: str, base: int, at: int, size: int) -> tuple[Span, ...]:
    """Words of `size` bytes from byte `at` behind word `base` on; none for no bytes."""
    if size == 0:
        return ()
    return (word_span(state, name, base + at // _WORD_BYTES, base - (-(at + size) // _WORD_BYTES)),)


def _words(spans: tuple[Span, ...]) -> int:
    return sum(high - low for low, high in spans)


def _channel_rows(state: MachineState, name: str, start: int, rows: int, length: int, row: int) -> tuple[Span, ...]:
    return (range_span(state, name, start, rows, length, row, 1),) if rows and length else ()


def _kappend(
    state: MachineState,
    rd: int,
    dst: int,
    at: int,
    a: int,
    flags: int,
    length: int,
    split: int,
    bits: int,
    bits2: int,
    rows: int,
    row: int,
    expected: int,
) -> Footprint:
    _check_record(length, split, bits, bits2, rows, at, expected)
    reads = _channel_rows(state, "a", a, rows, length, row) + _channel_rows(state, "flags", flags, rows, length, row)
    size = rows * expected
    if state.computes:
        size = int(appended_bytes(state.shared_integers, a, length, split, bits, bits2, rows, row))
    writes = _stream(state, "dst", dst, at, size)
    return Footprint(reads, writes, 2 * rows * length, _words(writes))


def _kfetch(
    state: MachineState,
    rd: int,
    dst: int,
    flags: int,
    src: int,
    at: int,
    length: int,
    split: int,
    bits: int,
    bits2: int,
    rows: int,
    row: int,
    expected: int,
) -> Footprint:
    _check_record(length, split, bits, bits2, rows, at, expected)
    writes = _channel_rows(state, "dst", dst, rows, length, row)
    writes += _channel_rows(state, "flags", flags, rows, length, row)
    size = rows * expected
    if state.computes:
        octets = state.shared.view(np.uint8)
        size = int(fetched_bytes(octets, src * _WORD_BYTES + at, length, split, bits, bits2, rows))
        if size < 0:
            raise FaultError(f"{rows} records from byte {at} on leave the shared buffer")
    reads = _stream(state, "src", src, at, size)
    return Footprint(reads, writes, _words(reads), 2 * rows * length)


def _kexpand(
    state: MachineState,
    dst: int,
    a: int,
    flags: int,
    counters: int,
    table: int,
    length: int,
    rows: int,
    row: int,
    table_row: int,
    levels: int,
) -> Footprint | None:
    _check_levels(levels)
    if is_empty(rows, length):
        return None
    elements = [range_span(state, name, start, rows, length, row, 1) for name, start in (("a", a), ("flags", flags))]
    own = range_span(state, "state", counters, 1, length, 0, 1)
    entries = range_span(state, "table", table, levels, length, table_row, 1)
    written = range_span(state, "dst", dst, rows, length, row, 1)
    read = (3 * rows + 1) * length
    return Footprint((*elements, own, entries), (written, own), read, (rows + 1) * length)


KV_RECORD_FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {
    "kprune": _kprune,
    "klevel": _klevel,
    "kappend": _kappend,
    "kfetch": _kfetch,
    "kexpand": _kexpand,
}
"""Footprint functions by mnemonic."""
