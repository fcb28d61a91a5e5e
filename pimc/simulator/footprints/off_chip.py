"""What transfers between the shared buffer and off-chip memory touch; see `pimc.simulator.footprints.vector`.

Bytes of the off-chip memory are spans behind the words of the shared buffer, so that the scoreboard interlocks both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isa import record_bytes
from pimc.simulator.footprints.vector import Footprint, Span, is_empty, word_span
from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState

_MOST_RECORD_BITS = 8


def _byte_span(state: MachineState, addr: int, count: int) -> Span:
    size = state.cim.off_chip_bytes
    if addr < 0 or addr + count > size:
        raise FaultError(
            f"'addr' covers bytes {addr} to {addr + count - 1} of the off-chip memory",
            f"the off-chip memory has bytes 0 to {size - 1}",
        )
    words = state.shared.size
    return words + addr, words + addr + count


def _ldoff(state: MachineState, dst: int, addr: int, count: int) -> Footprint | None:
    if is_empty(1, count):
        return None
    return Footprint((_byte_span(state, addr, count),), (word_span(state, "dst", dst, dst + count),), 0, count)


def _stoff(state: MachineState, addr: int, src: int, count: int) -> Footprint | None:
    if is_empty(1, count):
        return None
    return Footprint((word_span(state, "src", src, src + count),), (_byte_span(state, addr, count),), count, 0)


def _spans(
    state: MachineState,
    name: str,
    start: int,
    addr: int,
    channels: int,
    split: int,
    bits: int,
    bits2: int,
    rows: int,
    slot: int,
    declared: int,
    content: int,
) -> tuple[Span, Span] | None:
    """Words of codes, and bytes of their records in slots that must be large enough."""
    for width in (bits, bits2):
        if not 1 <= width <= _MOST_RECORD_BITS:
            raise FaultError(f"codes of {width} bits", f"allowed: 1 to {_MOST_RECORD_BITS}")
        if content and width < _MOST_RECORD_BITS:
            raise FaultError(f"values of {width} bits", f"allowed: {_MOST_RECORD_BITS}")
    if split > channels:
        raise FaultError(f"'split' is {split}", f"allowed: 0 to {channels}")
    most = record_bytes(channels, split, bits, bits2)[1]
    if slot < most:
        raise FaultError(f"'slot' is {slot}", f"a record may have {most} bytes")
    if is_empty(rows, channels):
        return None
    return word_span(state, name, start, start + rows * channels), _byte_span(state, addr, rows * slot)


def _ldnz(state: MachineState, dst: int, addr: int, *operands: int) -> Footprint | None:
    found = _spans(state, "dst", dst, addr, *operands)
    if found is None:
        return None
    words, octets = found
    return Footprint((octets,), (words,), 0, words[1] - words[0])


def _stnz(state: MachineState, addr: int, src: int, *operands: int) -> Footprint | None:
    found = _spans(state, "src", src, addr, *operands)
    if found is None:
        return None
    words, octets = found
    return Footprint((words,), (octets,), words[1] - words[0], 0)


OFF_CHIP_FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {
    "ldoff": _ldoff,
    "stoff": _stoff,
    "ldnz": _ldnz,
    "stnz": _stnz,
}
"""Footprint functions by mnemonic."""
