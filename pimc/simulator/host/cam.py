"""How the host puts keys and values of earlier tokens into a CAM, and reads back what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import Symbol
from pimc.simulator.semantics.numerics import rounded_to_bfloat16

if TYPE_CHECKING:
    from pimc.simulator.state.cam import CamState
    from pimc.simulator.state.machine_state import MachineState

Array = NDArray[Any]


def is_in_cam(symbol: Symbol) -> bool:
    """Whether a symbol names keys or values in a CAM."""
    return symbol.space in ("key", "value")


def store_in_cam(state: MachineState, symbol: Symbol, array: Array) -> None:
    """Put keys or values [kv_heads, tokens, elements] of the first tokens into the memory."""
    cam = _cam(state)
    for head, own in enumerate(np.asarray(array, np.float32)):
        first = symbol.address + head * symbol.layout["max_tokens"]
        if symbol.space == "key":
            cam.keys[first : first + len(own), : own.shape[1]] = own > 0
        else:
            cam.values[first : first + len(own), : own.shape[1]] = (
                rounded_to_bfloat16(own) if state.rounds_operands else own
            )


def cam_elements(state: MachineState, symbol: Symbol, tokens: int) -> Array:
    """What the memory holds of the first tokens, [1, kv_heads, tokens, elements]; keys are worth 1 or -1."""
    cam, layout = _cam(state), symbol.layout
    firsts = symbol.address + np.arange(layout["kv_heads"]) * layout["max_tokens"]
    rows = firsts[:, np.newaxis] + np.arange(tokens)
    if symbol.space == "key":
        return np.where(cam.keys[rows, : layout["head_dim"]], np.float32(1), np.float32(-1))[np.newaxis]
    return cam.values[rows, : layout["head_dim"]][np.newaxis]


def _cam(state: MachineState) -> CamState:
    assert state.cam is not None
    return state.cam
