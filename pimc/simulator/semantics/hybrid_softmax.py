"""Meaning of the instructions of the hybrid softmax: tournaments, and tables of exponentials and logarithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimc.simulator.semantics.vector_ranges import view
from pimc.simulator.state.machine_state import MachineState

_Array = NDArray[np.float32]


def xmax(state: MachineState, dst: int, a: int, length: int, rows: int, a_row: int) -> None:
    """The largest element of each row."""
    found = _rows(state, a, rows, length, a_row)
    state.shared[dst : dst + rows] = found.max(axis=1)


def xexp(
    state: MachineState, dst: int, a: int, b: int, length: int, rows: int, dst_row: int, a_row: int, scale: float
) -> None:
    """Exponentials of what is left of each row behind a subtraction."""
    found = _rows(state, a, rows, length, a_row).copy()
    with np.errstate(over="ignore"):
        arguments = np.float32(scale) * (found - state.shared[b : b + rows, np.newaxis])
        results = _fixed(state, np.exp(_fixed(state, arguments)))
    _rows(state, dst, rows, length, dst_row)[:] = results


def xlog(state: MachineState, dst: int, a: int, b: int, length: int, scale: float) -> None:
    """Sums of numbers and logarithms."""
    arguments = _fixed(state, state.shared[b : b + length])
    step = _step(state)
    if step is not None:
        arguments = np.maximum(arguments, np.float32(step))
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = _fixed(state, np.log(arguments))
    state.shared[dst : dst + length] = state.shared[a : a + length] + np.float32(scale) * logarithms


def _rows(state: MachineState, start: int, rows: int, length: int, row: int) -> _Array:
    found = view(state.shared, start, rows, length, row, 1)
    return found[np.newaxis] if rows == 1 else found


def _step(state: MachineState) -> float | None:
    """The distance of two numbers in a table, `None` where nothing is rounded."""
    part = state.machine.hybrid_softmax
    return None if part is None or not state.rounds_operands else 0.5**part.fraction_bits


def _fixed(state: MachineState, numbers: _Array) -> _Array:
    """Numbers as tables hold them."""
    step = _step(state)
    if step is None:
        return numbers
    return np.asarray(np.rint(numbers / np.float32(step)) * np.float32(step), np.float32)


HYBRID_SOFTMAX_SEMANTICS: Mapping[str, Callable[..., Any]] = {"xmax": xmax, "xexp": xexp, "xlog": xlog}
"""Meaning by mnemonic."""
