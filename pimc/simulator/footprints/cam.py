"""What an instruction of extension C touches.

Footprint functions as described in `pimc.simulator.footprints.vector`. Memories of the CAM are spans of integers behind
the words of the shared buffer (`pimc.simulator.state.cam`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pimc.simulator.footprints.vector import Footprint, Span, word_span
from pimc.simulator.state.cam import CamSpace, CamState
from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState


def _cam(state: MachineState) -> CamState:
    if state.cam is None:
        raise FaultError("the machine has no CAM")
    return state.cam


def _span(state: MachineState, name: str, space: CamSpace, first: int, count: int) -> Span:
    """Addresses of a memory; raises `FaultError` outside of it."""
    cam = _cam(state)
    size = cam.sizes[space]
    if first < 0 or first + count > size:
        raise FaultError(f"'{name}' covers {first} to {first + count - 1}", f"allowed: 0 to {size - 1}")
    return cam.starts[space] + first, cam.starts[space] + first + count


def _at_most(name: str, found: int, most: int, least: int = 1) -> None:
    if not least <= found <= most:
        raise FaultError(f"'{name}' is {found}", f"allowed: {least} to {most}")


def _cstore(state: MachineState, key: int, a: int, dims: int) -> Footprint:
    _at_most("dims", dims, _cam(state).description.columns)
    written = _span(state, "key", CamSpace.KEYS, key, 1)
    return Footprint((word_span(state, "a", a, a + dims),), (written,), dims, 0)


def _cvalue(state: MachineState, value: int, a: int, elements: int) -> Footprint:
    _at_most("elements", elements, _cam(state).description.value_elements)
    written = _span(state, "value", CamSpace.VALUES, value, 1)
    return Footprint((word_span(state, "a", a, a + elements),), (written,), elements, 0)


def _half(state: MachineState, half: int, row: int, count: int) -> Span:
    """Rows of a half of the value buffer."""
    rows = _cam(state).description.value_rows
    _at_most("half", half, 1, 0)
    _at_most("row", row, rows - count, 0)
    return _span(state, "row", CamSpace.BUFFER, half * rows + row, count)


def _cfetch(state: MachineState, entry: int, value: int, row: int, half: int, top: int) -> Footprint:
    """Which values are read depends on the candidates: any behind the first one."""
    _at_most("top", top, _cam(state).description.tile_top)
    _at_most("value", value, _cam(state).description.values - 1, 0)
    values = _span(state, "value", CamSpace.VALUES, value, _cam(state).description.values - value)
    entries = _span(state, "entry", CamSpace.CANDIDATES, entry, top)
    return Footprint((entries, values), (_half(state, half, row, top),))


def _cquery(state: MachineState, a: int, dims: int) -> Footprint:
    _at_most("dims", dims, _cam(state).description.columns)
    writes = (_span(state, "a", CamSpace.QUERY, 0, 1), _span(state, "a", CamSpace.STAGE, 0, 1))
    return Footprint((word_span(state, "a", a, a + dims),), writes, dims, 0)


def _cprog(state: MachineState, key: int, count: int) -> Footprint:
    if count < 0:
        raise FaultError(f"'count' is {count}", "it must not be negative")
    read = _span(state, "key", CamSpace.KEYS, key, min(count, _cam(state).description.rows))
    return Footprint((read,), (_span(state, "key", CamSpace.ARRAY, 0, 1),))


def _csearch(state: MachineState, entry: int, index: int, row: int, top: int, bits: int) -> Footprint:
    _at_most("top", top, _cam(state).description.tile_top)
    _at_most("bits", bits, _cam(state).description.code_bits)
    reads = (_span(state, "entry", CamSpace.QUERY, 0, 1), _span(state, "entry", CamSpace.ARRAY, 0, 1))
    entries = _span(state, "entry", CamSpace.CANDIDATES, entry, top)
    return Footprint(reads, (entries, _span(state, "entry", CamSpace.STAGE, 0, 1)))


def _cmerge(state: MachineState, count: int, keep: int) -> Footprint:
    _at_most("keep", keep, _cam(state).description.kept)
    reads = (_span(state, "count", CamSpace.CANDIDATES, 0, count),)
    return Footprint(reads, (_span(state, "keep", CamSpace.CANDIDATES, 0, keep),))


def _ctop(state: MachineState, count: int, keep: int) -> Footprint:
    _at_most("keep", keep, _cam(state).description.kept)
    reads = (_span(state, "count", CamSpace.CANDIDATES, 0, count),)
    return Footprint(reads, (_span(state, "keep", CamSpace.WINNERS, 0, 1),))


def _cexp(state: MachineState, length: int, *_: float) -> Footprint:
    _at_most("len", length, _cam(state).description.kept)
    winners = (_span(state, "len", CamSpace.WINNERS, 0, 1),)
    return Footprint(winners, winners)


def _output(state: MachineState, half: int) -> Span:
    """A half of the output buffer."""
    _at_most("half", half, 1, 0)
    return _span(state, "half", CamSpace.OUTPUTS, half, 1)


def _cdiv(state: MachineState, length: int, half: int) -> Footprint:
    _at_most("len", length, _cam(state).description.kept)
    return Footprint((_span(state, "len", CamSpace.WINNERS, 0, 1),), (_output(state, half),))


def _cmac(state: MachineState, dst: int, rows: int, length: int, half: int) -> Footprint:
    cam = _cam(state).description
    _at_most("rows", rows, cam.kept)
    _at_most("len", length, cam.value_elements)
    reads = (_output(state, half), _half(state, half, 0, cam.value_rows))
    return Footprint(reads, (word_span(state, "dst", dst, dst + length),), 0, length)


CAM_FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {
    "cstore": _cstore,
    "cvalue": _cvalue,
    "cfetch": _cfetch,
    "cquery": _cquery,
    "cprog": _cprog,
    "csearch": _csearch,
    "cmerge": _cmerge,
    "ctop": _ctop,
    "cexp": _cexp,
    "cdiv": _cdiv,
    "cmac": _cmac,
}
"""Footprint functions by mnemonic."""
