"""Meaning of the instructions of the sequencer: control, and integer arithmetic on scalar registers.

Scalar registers hold integers of 64 bits, two's complement. Nothing wraps: a result outside that range, a division by
less than 1, a shift by less than 0 or more than 63 bits and a negative trip count are errors. Right shifts and
divisions round down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import Loop, MachineState

_LOW, _HIGH = -(1 << 63), (1 << 63) - 1


def _set(state: MachineState, register: int, value: int) -> None:
    if not _LOW <= value <= _HIGH:
        raise FaultError(f"the result {value} does not fit a 64-bit register")
    state.registers[register] = value


def halt(state: MachineState) -> None:
    """End the entry."""
    state.halted = True


def loop(state: MachineState, rd: int, count: int) -> None:
    """Begin a hardware loop, or skip it when there is nothing to do."""
    start = state.program_counter
    if count < 0:
        raise FaultError(f"a loop cannot run {count} times")
    if count == 0:
        state.program_counter = state.loop_ends[start - 1] + 1
        return
    state.registers[rd] = 0
    state.loops.append(Loop(start, rd, count))


def end(state: MachineState) -> None:
    """Go back to the body of the innermost loop, or leave it."""
    current = state.loops[-1]
    current.iteration += 1
    if current.iteration < current.count:
        state.registers[current.register] = current.iteration
        state.program_counter = current.body
    else:
        state.loops.pop()


def skipz(state: MachineState, ra: int, target: int) -> None:
    """Go forward when the register is zero."""
    if state.registers[ra] == 0:
        state.program_counter = target


def li(state: MachineState, rd: int, b: int) -> None:
    """Load or move."""
    _set(state, rd, b)


def add(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Sum."""
    _set(state, rd, state.registers[ra] + b)


def sub(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Difference."""
    _set(state, rd, state.registers[ra] - b)


def mul(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Product."""
    _set(state, rd, state.registers[ra] * b)


def divu(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Quotient, rounded down."""
    if b < 1:
        raise FaultError(f"division by {b}")
    state.registers[rd] = state.registers[ra] // b


def remu(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Remainder, never negative."""
    if b < 1:
        raise FaultError(f"division by {b}")
    state.registers[rd] = state.registers[ra] % b


def and_(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Bitwise and."""
    state.registers[rd] = state.registers[ra] & b


def or_(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Bitwise or."""
    state.registers[rd] = state.registers[ra] | b


def _check_shift(bits: int) -> None:
    if not 0 <= bits < 64:
        raise FaultError(f"a shift by {bits} bits")


def shl(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Left shift."""
    _check_shift(b)
    _set(state, rd, state.registers[ra] << b)


def shr(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Right shift, rounded down."""
    _check_shift(b)
    state.registers[rd] = state.registers[ra] >> b


def min_(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Smaller value."""
    state.registers[rd] = min(state.registers[ra], b)


def max_(state: MachineState, rd: int, ra: int, b: int) -> None:
    """Larger value."""
    state.registers[rd] = max(state.registers[ra], b)


SCALAR_SEMANTICS: Mapping[str, Callable[..., Any]] = {
    "halt": halt,
    "loop": loop,
    "end": end,
    "skipz": skipz,
    "li": li,
    "add": add,
    "sub": sub,
    "mul": mul,
    "divu": divu,
    "remu": remu,
    "and": and_,
    "or": or_,
    "shl": shl,
    "shr": shr,
    "min": min_,
    "max": max_,
}
"""Semantics by mnemonic: f(state, *operands) with register numbers and resolved integers, in the order of the table."""
