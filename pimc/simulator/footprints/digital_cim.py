"""What tiles of a digital CIM core touch.

Footprint functions as described in `pimc.simulator.footprints.vector`; they raise `FaultError` also for sizes that the
core does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isa import DIGITAL_CIM_MATRICES, DigitalCim
from pimc.simulator.footprints.vector import Footprint, Span, is_empty, word_span
from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState


def core_of(state: MachineState) -> DigitalCim:
    """The core of the machine; raises `FaultError` when it has none."""
    if state.machine.digital_cim is None:
        raise FaultError(f"the machine '{state.machine.name}' has no digital CIM core")
    return state.machine.digital_cim


def _at_most(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise FaultError(f"'{name}' is {value}", f"allowed: at most {limit}")


def _covers(tiles: int, width: int, lanes: int) -> None:
    if not 1 <= -(-width // lanes) <= tiles:
        raise FaultError(f"{tiles} tiles of {lanes} elements", f"needed: at least {-(-width // lanes)}")


def _vector(state: MachineState, name: str, start: int, count: int) -> Span:
    return word_span(state, name, start, start + count)


def _heads(state: MachineState, name: str, start: int, heads: int, head: int, extent: int) -> Span:
    return word_span(state, name, start, start + (heads - 1) * head + extent)


def _dprog(state: MachineState, matrix: int, row: int, src: int, count: int) -> Footprint | None:
    inputs, outputs = core_of(state).matrices[DIGITAL_CIM_MATRICES[matrix]]
    _at_most("input", row, inputs - 1)
    _at_most("count", count, outputs)
    if is_empty(1, count):
        return None
    return Footprint((_vector(state, "src", src, count),), (), count, 0)


def _dmvm(
    state: MachineState,
    dst: int,
    a: int,
    begin: int,
    matrix: int,
    inputs: int,
    outputs: int,
    add: int,
    scale: float,
) -> Footprint | None:
    size = core_of(state).matrices[DIGITAL_CIM_MATRICES[matrix]]
    _at_most("inputs", inputs, size[0])
    _at_most("outputs", outputs, size[1])
    if is_empty(inputs, outputs):
        return None
    reads = [_vector(state, "a", a, inputs)]
    if add:
        reads.append(_vector(state, "begin", begin, outputs))
    words = sum(high - low for low, high in reads)
    return Footprint(tuple(reads), (_vector(state, "dst", dst, outputs),), words, outputs)


def _ddot(
    state: MachineState,
    dst: int,
    a: int,
    b: int,
    width: int,
    tiles: int,
    heads: int,
    dst_head: int,
    a_head: int,
    b_head: int,
    b_step: int,
    scale: float,
    activity: int,
    group: int,
) -> Footprint | None:
    engines = core_of(state).engines
    _at_most("heads", heads, engines.count)
    _at_most("group", group, engines.sets - 1)
    if is_empty(heads, width):
        return None
    _covers(tiles, width, engines.lanes)
    reads = (
        _heads(state, "a", a, heads, a_head, width),
        _heads(state, "b", b, heads, b_head, (width - 1) * b_step + 1),
    )
    return Footprint(reads, (_heads(state, "dst", dst, heads, dst_head, 1),), 2 * heads * width, heads)


def _dsoftmax(
    state: MachineState, dst: int, a: int, width: int, tiles: int, heads: int, dst_head: int, a_head: int
) -> Footprint | None:
    units = core_of(state).softmax
    _at_most("heads", heads, units.count)
    if is_empty(heads, width):
        return None
    _covers(tiles, width, units.lanes)
    read = _heads(state, "a", a, heads, a_head, width)
    written = _heads(state, "dst", dst, heads, dst_head, width)
    return Footprint((read,), (written,), heads * width, heads * width)


def _dnorm(
    state: MachineState, dst: int, a: int, gain: int, width: int, first: int, count: int, eps: float, group: int
) -> Footprint | None:
    norm = core_of(state).norm
    _at_most("group", group, norm.sets - 1)
    _at_most("count", count, norm.count * norm.lanes)
    _at_most("first + count", first + count, width)
    if is_empty(width, count):
        return None
    reads = (_vector(state, "a", a, width), _vector(state, "gain", gain, 2 * width))
    return Footprint(reads, (_vector(state, "dst", dst + first, count),), width + 2 * count, count)


def _drelu(state: MachineState, dst: int, a: int, count: int) -> Footprint | None:
    return _tile(state, "drelu", dst, a, count)


def _dprune(state: MachineState, dst: int, a: int, threshold: float, count: int) -> Footprint | None:
    return _tile(state, "dprune", dst, a, count)


def _tile(state: MachineState, mnemonic: str, dst: int, a: int, count: int) -> Footprint | None:
    unit = core_of(state).unit(mnemonic)
    _at_most("count", count, unit.count * unit.lanes)
    if is_empty(1, count):
        return None
    return Footprint((_vector(state, "a", a, count),), (_vector(state, "dst", dst, count),), count, count)


def _dquant(
    state: MachineState, dst: int, a: int, meta: int, count: int, steps: int, activity: int
) -> Footprint | None:
    if steps < 1:
        raise FaultError("'steps' is 0", "allowed: 1 to 255")
    return _ddequant(state, dst, a, meta, count, activity)


def _ddequant(state: MachineState, dst: int, a: int, meta: int, count: int, activity: int) -> Footprint | None:
    core_of(state)
    if is_empty(1, count):
        return None
    reads = (_vector(state, "a", a, count), _vector(state, "meta", meta, count))
    return Footprint(reads, (_vector(state, "dst", dst, count),), 2 * count, count)


DIGITAL_CIM_FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {
    "dprog": _dprog,
    "dmvm": _dmvm,
    "ddot": _ddot,
    "dsoftmax": _dsoftmax,
    "dnorm": _dnorm,
    "drelu": _drelu,
    "dprune": _dprune,
    "dquant": _dquant,
    "ddequant": _ddequant,
}
"""Footprint functions by mnemonic."""
