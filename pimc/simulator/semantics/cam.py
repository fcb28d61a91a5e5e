"""Meaning of the instructions of extension C: search by signs, ranking, weights, sums of values.

Arithmetic is binary32, one rounding an operation. Machine numerics round to bf16 what is stored: values, exponentials,
weights, results; sums are kept in binary32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pimc.simulator.semantics.numerics import rounded_to_bfloat16
from pimc.simulator.state.cam import EMPTY, CamState
from pimc.simulator.state.machine_state import MachineState


def _cam(state: MachineState) -> CamState:
    assert state.cam is not None
    return state.cam


def _stored(state: MachineState, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return rounded_to_bfloat16(values) if state.rounds_operands else values


def _signs(state: MachineState, first: int, dims: int) -> NDArray[np.bool_]:
    return np.asarray(state.shared[first : first + dims] > 0)


def cstore(state: MachineState, key: int, a: int, dims: int) -> None:
    """Signs of a new key."""
    _cam(state).keys[key, :dims] = _signs(state, a, dims)


def cvalue(state: MachineState, value: int, a: int, elements: int) -> None:
    """A new value."""
    _cam(state).values[value, :elements] = _stored(state, state.shared[a : a + elements])


def cfetch(state: MachineState, entry: int, value: int, row: int, half: int, top: int) -> None:
    """Values of the candidates of a tile."""
    cam = _cam(state)
    found = np.flatnonzero(cam.codes[entry : entry + top] != EMPTY)
    cam.buffer[half, row + found] = cam.values[value + cam.indices[entry + found]]


def cquery(state: MachineState, a: int, dims: int) -> None:
    """Signs of a query."""
    cam = _cam(state)
    cam.dims = dims
    cam.query[:dims] = _signs(state, a, dims)


def cprog(state: MachineState, key: int, count: int) -> None:
    """A tile of keys."""
    cam = _cam(state)
    cam.filled = min(count, len(cam.array))
    cam.array[: cam.filled] = cam.keys[key : key + cam.filled]


def csearch(state: MachineState, entry: int, index: int, row: int, top: int, bits: int) -> None:
    """The best of a tile."""
    cam = _cam(state)
    dims = cam.dims
    matches = (cam.array[: cam.filled, :dims] == cam.query[:dims]).sum(axis=1)
    codes = np.minimum((1 << bits) - 1, (matches << bits) // dims)
    best = np.argsort(-codes, kind="stable")[:top]
    places = slice(entry, entry + top)
    cam.codes[places] = EMPTY
    cam.codes[entry : entry + best.size] = codes[best]
    cam.indices[entry : entry + best.size] = index + best
    cam.rows[places] = np.arange(row, row + top)


def _best(cam: CamState, count: int, keep: int) -> NDArray[np.int64]:
    """Entries of the best candidates: the largest codes, of equal ones the lower index; none that are empty."""
    found = np.flatnonzero(cam.codes[:count] != EMPTY)
    return found[np.lexsort((cam.indices[found], -cam.codes[found]))[:keep]]


def cmerge(state: MachineState, count: int, keep: int) -> None:
    """Keep the best candidates so far."""
    cam = _cam(state)
    best = _best(cam, count, keep)
    for entries in (cam.codes, cam.indices, cam.rows):
        entries[: best.size] = entries[best]
    cam.codes[best.size : keep] = EMPTY


def ctop(state: MachineState, count: int, keep: int) -> None:
    """The winners of a query."""
    cam = _cam(state)
    best = _best(cam, count, keep)
    cam.winner_codes[:] = EMPTY
    cam.winner_codes[: best.size] = cam.codes[best]
    cam.winner_indices[: best.size] = cam.indices[best]
    cam.winner_rows[: best.size] = cam.rows[best]


def cexp(state: MachineState, length: int, dims: int, bits: int, scale: float) -> None:
    """Exponentials of the scores that the codes stand for, and their sum."""
    cam = _cam(state)
    codes = cam.winner_codes[:length]
    signed = (2 * codes * dims).astype(np.float32) / np.float32(1 << bits) - np.float32(dims)
    scores = np.float32(scale) * signed
    cam.exponentials[:length] = np.where(codes == EMPTY, np.float32(0), _stored(state, np.exp(scores - scores[0])))
    cam.total = np.add.accumulate(cam.exponentials[:length], dtype=np.float32)[-1]


def cdiv(state: MachineState, length: int, half: int) -> None:
    """Weights that add up to 1, and where their values are."""
    cam = _cam(state)
    cam.weights[half, :length] = _stored(state, cam.exponentials[:length] / cam.total)
    cam.weight_rows[half, :length] = np.where(cam.winner_codes[:length] == EMPTY, EMPTY, cam.winner_rows[:length])


def cmac(state: MachineState, dst: int, rows: int, length: int, half: int) -> None:
    """The weighted sum of the winners' values."""
    cam = _cam(state)
    places = cam.weight_rows[half, :rows]
    found = np.flatnonzero(places != EMPTY)
    result = np.zeros(length, np.float32)
    for weight, value in zip(cam.weights[half, found], cam.buffer[half, places[found], :length], strict=True):
        result += weight * value
    state.shared[dst : dst + length] = _stored(state, result)


CAM_SEMANTICS: Mapping[str, Callable[..., Any]] = {
    "cstore": cstore,
    "cvalue": cvalue,
    "cfetch": cfetch,
    "cquery": cquery,
    "cprog": cprog,
    "csearch": csearch,
    "cmerge": cmerge,
    "ctop": ctop,
    "cexp": cexp,
    "cdiv": cdiv,
    "cmac": cmac,
}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
