"""How the host puts keys and values of earlier tokens into columns of crossbars, and reads back what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import Symbol

if TYPE_CHECKING:
    from pimc.simulator.state.machine_state import MachineState

Array = NDArray[Any]


def is_in_arrays(symbol: Symbol) -> bool:
    """Whether a symbol names keys or values in columns of crossbars."""
    return symbol.space == "xb"


def store_in_arrays(state: MachineState, symbol: Symbol, array: Array) -> None:
    """Write keys or values [kv_heads, tokens, elements] of the first tokens to their columns, a write of each cell."""
    for head, own in enumerate(np.asarray(array, np.float32)):
        for (group, column), numbers in zip(_places(state, symbol, head, len(own)), own, strict=True):
            state.crossbar.write(group, column, numbers)


def array_elements(state: MachineState, symbol: Symbol, tokens: int) -> Array:
    """What the columns hold of the first tokens, [1, kv_heads, tokens, elements]: codes times their scales."""
    heads, width = int(symbol.layout["kv_heads"]), int(symbol.layout["head_dim"])
    found = np.zeros((1, heads, tokens, width), np.float32)
    for head in range(heads):
        for token, (group, column) in enumerate(_places(state, symbol, head, tokens)):
            found[0, head, token] = state.crossbar.column(group, column, width)
    return found


def _places(state: MachineState, symbol: Symbol, head: int, tokens: int) -> Iterator[tuple[int, int]]:
    """Group and column of the first tokens of a head."""
    assert state.crossbar.crossbar is not None
    first = symbol.address + head * int(symbol.layout["head_columns"])
    for linear in range(first, first + tokens):
        yield divmod(linear, state.crossbar.crossbar.columns)
