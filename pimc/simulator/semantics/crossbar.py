"""Meaning of the instructions of crossbars: columns written into cells, vectors through a group of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from isa import INSTRUCTIONS
from pimc.simulator.semantics.vector_ranges import view
from pimc.simulator.state.machine_state import MachineState

_BEGIN = INSTRUCTIONS["xmvm"].operand("add").choices.index("begin")


def xprog(state: MachineState, group: int, column: int, src: int, length: int, src_step: int) -> None:
    """Write a column of a matrix."""
    state.crossbar.write(group, column, view(state.shared, src, 1, length, 0, src_step))


def xmvm(
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
) -> None:
    """Multiply a vector by the matrix of a group, or by the transposed one."""
    results = state.crossbar.product(group, state.shared[a : a + inputs].copy(), length, bool(side), not vector)
    results = results * np.float32(scale)
    if add == _BEGIN:
        results = state.shared[begin : begin + length] + results
    view(state.shared, dst, 1, length, 0, dst_step)[:] = results


CROSSBAR_SEMANTICS: Mapping[str, Callable[..., Any]] = {"xprog": xprog, "xmvm": xmvm}
"""Meaning by mnemonic."""
