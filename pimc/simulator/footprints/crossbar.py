"""What instructions of crossbars touch; see `pimc.simulator.footprints.vector`.

Columns of the groups are spans behind the words of the shared buffer and the bytes off chip, so that the scoreboard
interlocks a matrix with its writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isa import INSTRUCTIONS, Crossbar
from pimc.simulator.footprints.vector import Footprint, Span, is_empty, word_span
from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState

_BEGIN = INSTRUCTIONS["xmvm"].operand("add").choices.index("begin")


def _crossbar(state: MachineState, group: int) -> Crossbar:
    part = state.machine.crossbar
    if part is None:
        raise FaultError(f"the machine '{state.machine.name}' has no crossbars")
    _at_most("group", group, part.groups - 1)
    return part


def _at_most(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise FaultError(f"'{name}' is {value}", f"allowed: at most {limit}")


def _columns(state: MachineState, part: Crossbar, group: int, first: int, count: int) -> Span:
    start = state.shared.size + state.cim.off_chip_bytes + group * part.columns + first
    return start, start + count


def _xprog(state: MachineState, group: int, column: int, src: int, length: int, src_step: int) -> Footprint | None:
    part = _crossbar(state, group)
    _at_most("column", column, part.columns - 1)
    _at_most("len", length, part.rows)
    if is_empty(1, length):
        return None
    read = word_span(state, "src", src, src + (length - 1) * src_step + 1)
    return Footprint((read,), (_columns(state, part, group, column, 1),), length, 0)


def _xmvm(
    state: MachineState,
    dst: int,
    a: int,
    begin: int,
    group: int,
    inputs: int,
    rows: int,
    length: int,
    side: int,
    add: int,
    scale: float,
    dst_step: int,
    vector: int,
) -> Footprint | None:
    part = _crossbar(state, group)
    if side and not part.dual_access:
        raise FaultError("a vector enters from the columns", "allowed: the rows; the arrays have no dual access")
    most = (part.columns, part.rows) if side else (part.rows, part.columns)
    _at_most("inputs", inputs, most[0])
    _at_most("len", length, most[1])
    if is_empty(inputs, length):
        return None
    if rows < -(-inputs // part.array_rows):
        raise FaultError(f"'rows' is {rows}", f"needed: at least {-(-inputs // part.array_rows)}")
    reads = [word_span(state, "a", a, a + inputs), _columns(state, part, group, 0, inputs if side else length)]
    if add == _BEGIN:
        reads.append(word_span(state, "begin", begin, begin + length))
    written = word_span(state, "dst", dst, dst + (length - 1) * dst_step + 1)
    return Footprint(tuple(reads), (written,), inputs + (length if add == _BEGIN else 0), length)


CROSSBAR_FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {"xprog": _xprog, "xmvm": _xmvm}
"""Footprint functions by mnemonic."""
