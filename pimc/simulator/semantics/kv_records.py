"""Meaning of the codec's instructions for pruned tokens: levels that grow, records of codes that are not 0.

The state of a channel is its number of levels, the lowest and highest element of the latest one, and its meta word; the
table holds the meta words of all levels. A record is a bitmap of the channels with a code, a flag for each of these,
and their codes, those before `split` in `bits` bits, those behind it in `bits2`; each part begins at a byte.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import INSTRUCTIONS
from pimc.simulator.semantics.kv_codec import halves
from pimc.simulator.semantics.kv_record_kernels import append_records, expand_rows, fetch_records
from pimc.simulator.semantics.vector_ranges import rows_are_independent, view
from pimc.simulator.state.faults import FaultError
from pimc.simulator.state.machine_state import MachineState

_RANGE = INSTRUCTIONS["klevel"].operand("mode").choices.index("range")
_WORD_BYTES = 4


def kprune(
    state: MachineState,
    dst: int,
    a: int,
    threshold: float,
    length: int,
    rows: int,
    dst_row: int,
    a_row: int,
    dst_step: int,
    a_step: int,
) -> None:
    """Mark the elements that survive."""
    together = rows_are_independent(rows, length, (dst, dst_row, dst_step), ((a, a_row, a_step),))
    count = rows if together else 1
    for _ in range((1 if together else rows) if rows and length else 0):
        survives = np.abs(view(state.shared, a, count, length, a_row, a_step)) >= np.float32(threshold)
        view(state.shared_integers, dst, count, length, dst_row, dst_step)[...] = survives
        dst, a = dst + dst_row, a + a_row


class _Levels:
    """Views of the state of the channels, and of their table."""

    def __init__(self, machine: MachineState, state: int, table: int, length: int, table_row: int, steps: int) -> None:
        words = machine.shared_integers
        self.counts = words[state : state + length]
        self.low = machine.shared[state + length : state + 2 * length]
        self.high = machine.shared[state + 2 * length : state + 3 * length]
        self.meta = words[state + 3 * length : state + 4 * length]
        self._words, self._table, self._table_row, self._steps = words, table, table_row, steps

    def begin(self, elements: NDArray[np.float32], survives: NDArray[np.bool_]) -> None:
        """Forget all levels, and open the first over the survivors among [rows, channels]."""
        low = np.where(survives, elements, np.float32(np.inf)).min(axis=0)
        high = np.where(survives, elements, np.float32(-np.inf)).max(axis=0)
        for vector in (self.counts, self.low, self.high, self.meta):
            vector[:] = 0
        self._open(np.any(survives, axis=0), low, high)

    def admit(self, elements: NDArray[np.float32], survives: NDArray[np.bool_], levels: int) -> NDArray[np.bool_]:
        """Open the levels that the survivors of a row need, up to `levels`; which of them are not the first."""
        is_first = self.counts == 0
        is_outside = (elements < self.low) | (elements > self.high)
        opens: NDArray[np.bool_] = survives & (is_first | (is_outside & (self.counts < levels)))
        low = np.where(is_first, elements, np.minimum(self.low, elements))
        high = np.where(is_first, elements, np.maximum(self.high, elements))
        self._open(opens, low, high)
        return np.asarray(opens & ~is_first)

    def _open(self, opens: NDArray[np.bool_], low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        """Open the next level of some channels, from `low` to `high`; a zero there is positive."""
        channels = np.flatnonzero(opens)
        low, high = low[channels] + np.float32(0), high[channels] + np.float32(0)
        meta = halves((high - low) / np.float32(self._steps)) | halves(low) << 16
        self._words[self._table + self.counts[channels] * self._table_row + channels] = meta
        self.counts[channels] += 1
        self.low[channels], self.high[channels], self.meta[channels] = low, high, meta


def klevel(
    state: MachineState,
    dst: int,
    a: int,
    mask: int,
    levels_state: int,
    table: int,
    length: int,
    rows: int,
    row: int,
    table_row: int,
    steps: int,
    levels: int,
    mode: int,
) -> None:
    """Open the levels that elements need."""
    if rows == 0 or length == 0:
        return
    found = _Levels(state, levels_state, table, length, table_row, steps)
    if mode == _RANGE:
        elements = view(state.shared, a, rows, length, row, 1).reshape(rows, length)
        survives = view(state.shared_integers, mask, rows, length, row, 1).reshape(rows, length) != 0
        found.begin(elements, survives)
        return
    for _ in range(rows):
        survives = state.shared_integers[mask : mask + length] != 0
        flags = found.admit(state.shared[a : a + length].copy(), survives, levels)
        state.shared_integers[dst : dst + length] = flags
        dst, a, mask = dst + row, a + row, mask + row


def kappend(
    state: MachineState,
    rd: int,
    dst: int,
    at: int,
    a: int,
    flags: int,
    length: int,
    split: int,
    bits: int,
    bits2: int,
    rows: int,
    row: int,
    expected: int,
) -> None:
    """Codes to records."""
    if not state.computes:
        state.registers[rd] = at + rows * expected
        return
    octets = state.shared.view(np.uint8)
    start = dst * _WORD_BYTES + at
    behind = append_records(octets, state.shared_integers, start, a, flags, length, split, bits, bits2, rows, row)
    state.registers[rd] = int(behind) - dst * _WORD_BYTES


def kfetch(
    state: MachineState,
    rd: int,
    dst: int,
    flags: int,
    src: int,
    at: int,
    length: int,
    split: int,
    bits: int,
    bits2: int,
    rows: int,
    row: int,
    expected: int,
) -> None:
    """Records to codes."""
    if not state.computes:
        state.registers[rd] = at + rows * expected
        return
    octets = state.shared.view(np.uint8)
    start = src * _WORD_BYTES + at
    behind = fetch_records(octets, state.shared_integers, start, dst, flags, length, split, bits, bits2, rows, row)
    state.registers[rd] = int(behind) - src * _WORD_BYTES


def kexpand(
    state: MachineState,
    dst: int,
    a: int,
    flags: int,
    counters: int,
    table: int,
    length: int,
    rows: int,
    row: int,
    table_row: int,
    levels: int,
) -> None:
    """Codes to elements, in the level that the flags so far tell."""
    words = state.shared_integers
    wrong = expand_rows(state.shared, words, dst, a, flags, counters, table, length, rows, row, table_row, levels)
    if wrong >= 0:
        raise FaultError(f"the counter of channel {wrong} is {words[counters + wrong]}", f"allowed: 0 to {levels - 1}")


KV_RECORD_SEMANTICS: Mapping[str, Callable[..., Any]] = {
    "kprune": kprune,
    "klevel": klevel,
    "kappend": kappend,
    "kfetch": kfetch,
    "kexpand": kexpand,
}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
