"""What a KV cache holds, as a `present` output gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import Port, Program, Symbol
from pimc.kv_layout import KvLayout
from pimc.simulator.host.arrays import array_elements, is_in_arrays
from pimc.simulator.host.cam import cam_elements, is_in_cam
from pimc.simulator.host.codes import stored_codes
from pimc.simulator.host.memory import cache_array, cache_elements
from pimc.simulator.host.records import stored_records

if TYPE_CHECKING:
    from pimc.simulator.state.machine_state import MachineState


def present_array(state: MachineState, program: Program, port: Port, exact: Symbol, tokens: int) -> NDArray[Any]:
    """Keys or values that a cache holds, in the shape of a `present` output: exact elements, or what is in their place.

    Tokens of a cache that evicts lie in the order of its slots, those of a quantised cache in their own order.

    Args:
        state: What the machine holds.
        program: Its program.
        port: The output.
        exact: Symbol of the exact keys or values.
        tokens: Tokens so far.
    """
    if is_in_cam(exact):
        return cache_array(port, exact, cam_elements(state, exact, tokens))
    if is_in_arrays(exact):
        return cache_array(port, exact, array_elements(state, exact, tokens))
    for read in (stored_records, stored_codes):
        found = read(state, program, exact, tokens)
        if found is not None:
            return cache_array(port, exact, found)
    slots = min(tokens, KvLayout.from_json(exact.layout).max_tokens)
    return cache_array(port, exact, cache_elements(state, exact, np.arange(slots)))
