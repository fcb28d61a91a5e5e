"""Meaning of the tiles of a digital CIM core: products with resident weights, dot products, softmax, normalisation.

Words enter a unit as INT8; sums of products are exact, everything else is binary32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import INSTRUCTIONS
from pimc.simulator.semantics.kv_codec import codes_of, values_of
from pimc.simulator.semantics.vector_ranges import view
from pimc.simulator.state.machine_state import MachineState

_BEGIN = INSTRUCTIONS["dmvm"].operand("add").choices.index("begin")
_LARGEST_PROBABILITY = 127


def int8(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest integers from -128 to 127, halves to even; 0 for NaN."""
    return np.where(np.isnan(values), np.float32(0), np.clip(np.rint(values), -128, 127)).astype(np.float32)


def dprog(state: MachineState, matrix: int, row: int, src: int, count: int) -> None:
    """Write the weights of an input."""
    state.cim.weights(matrix)[row, :count] = int8(state.shared[src : src + count])


def dmvm(
    state: MachineState,
    dst: int,
    a: int,
    begin: int,
    matrix: int,
    inputs: int,
    outputs: int,
    add: int,
    scale: float,
) -> None:
    """Multiply a vector by a matrix; sums of 2^15 products of INT8 are exact in binary64."""
    weights = state.cim.weights(matrix)[:inputs, :outputs].astype(np.float64)
    sums = (int8(state.shared[a : a + inputs]).astype(np.float64) @ weights).astype(np.float32)
    results = sums * np.float32(scale)
    if add == _BEGIN:
        results = state.shared[begin : begin + outputs] + results
    state.shared[dst : dst + outputs] = results


def ddot(
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
) -> None:
    """A dot product for each head, one head after another."""
    for _ in range(heads):
        left = int8(state.shared[a : a + width]).astype(np.float64)
        right = int8(view(state.shared, b, 1, width, 0, b_step)).astype(np.float64)
        state.shared[dst] = np.float32(left @ right) * np.float32(scale)
        dst, a, b = dst + dst_head, a + a_head, b + b_head


def dsoftmax(
    state: MachineState, dst: int, a: int, width: int, tiles: int, heads: int, dst_head: int, a_head: int
) -> None:
    """Probabilities of each head as INT8 of 127ths."""
    for _ in range(heads):
        scores = state.shared[a : a + width]
        powers = np.exp(scores - scores.max())
        state.shared[dst : dst + width] = int8(np.float32(_LARGEST_PROBABILITY) * (powers / powers.sum()))
        dst, a = dst + dst_head, a + a_head


def dnorm(
    state: MachineState, dst: int, a: int, gain: int, width: int, first: int, count: int, eps: float, group: int
) -> None:
    """A tile of a normalised vector."""
    vector = state.shared[a : a + width]
    centred = vector - vector.mean(dtype=np.float32)
    deviation = np.sqrt(np.mean(centred * centred, dtype=np.float32) + np.float32(eps))
    tile = slice(first, first + count)
    gains = state.shared[gain : gain + 2 * width].reshape(2, width)[:, tile]
    state.shared[dst + first : dst + first + count] = int8(centred[tile] / deviation * gains[0] + gains[1])


def drelu(state: MachineState, dst: int, a: int, count: int) -> None:
    """Negative elements become 0."""
    state.shared[dst : dst + count] = np.maximum(int8(state.shared[a : a + count]), np.float32(0))


def dprune(state: MachineState, dst: int, a: int, threshold: float, count: int) -> None:
    """Small elements become 0."""
    elements = state.shared[a : a + count]
    state.shared[dst : dst + count] = np.where(np.abs(elements) >= np.float32(threshold), elements, np.float32(0))


def dquant(state: MachineState, dst: int, a: int, meta: int, count: int, steps: int, activity: int) -> None:
    """Elements to codes."""
    elements = state.shared[a : a + count]
    codes = 1 + codes_of(elements, state.shared_integers[meta : meta + count], steps)
    state.shared_integers[dst : dst + count] = np.where(elements == 0, 0, codes)


def ddequant(state: MachineState, dst: int, a: int, meta: int, count: int, activity: int) -> None:
    """Codes to elements."""
    words = state.shared_integers
    state.shared[dst : dst + count] = values_of(words[a : a + count], words[meta : meta + count], 1)


DIGITAL_CIM_SEMANTICS: Mapping[str, Callable[..., Any]] = {
    "dprog": dprog,
    "dmvm": dmvm,
    "ddot": ddot,
    "dsoftmax": dsoftmax,
    "dnorm": dnorm,
    "drelu": drelu,
    "dprune": dprune,
    "dquant": dquant,
    "ddequant": ddequant,
}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
