"""Compiled classes of channels that act alike: a row of the state for each, split and joined."""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, TABLE, compiled, inlined
from pimc.simulator.dram.layout import (
    BANKS,
    CLASSES,
    CLOCK,
    MEMBERS,
    OPEN_BANKS,
    OPEN_ROWS,
    OPEN_SINCE,
    REFRESH_DUE,
    REGISTER_MODE,
    WEIGHT,
)
from pimc.simulator.dram.tables import OPEN_CYCLES

PLACES = 37
"""Size of a memory of rows by channel mask: the powers of two have different remainders, so that channels addressed one
by one do not displace each other."""


@inlined
def remembered_row(state: Any, places: Any, mask: int) -> int:
    """The row of `state` that stands for exactly the channels of `mask`, or -1 when it is not remembered."""
    row: int = places[mask % PLACES]
    if row < state[0, CLASSES] and state[row, MEMBERS] == mask:
        return row
    return -1


@compiled(NOTHING, TABLE, INTEGER, INTEGER)
def _copy(state: Any, source: int, target: int) -> None:
    for index in range(state.shape[1]):
        state[target, index] = state[source, index]


@compiled(NOTHING, TABLE, INTEGER)
def split(state: Any, mask: int) -> None:
    """Give the channels of `mask` rows of their own."""
    for index in range(state[0, CLASSES]):
        inside = state[index, MEMBERS] & mask
        if inside == 0 or inside == state[index, MEMBERS]:
            continue
        fresh = state[0, CLASSES]
        state[0, CLASSES] += 1
        _copy(state, index, fresh)
        state[index, MEMBERS] &= ~inside
        state[fresh, MEMBERS] = inside
        weight = 0
        while inside:
            inside &= inside - 1
            weight += 1
        state[index, WEIGHT] -= weight
        state[fresh, WEIGHT] = weight


@compiled(FLAG, CYCLES, CYCLES, CYCLES)
def _alike(left: Any, right: Any, tables: Any) -> bool:
    """Whether no later command can tell the two states apart: the times at which they differ are past for both."""
    for index in (CLOCK, REGISTER_MODE, REFRESH_DUE, OPEN_BANKS):
        if left[index] != right[index]:
            return False
    times = OPEN_ROWS + tables[BANKS]
    for index in range(OPEN_ROWS, times):
        if left[index] != right[index]:
            return False
    clock = left[CLOCK]
    for index in range(times, left.size):
        if left[index] != right[index] and (left[index] > clock or right[index] > clock):
            return False
    return True


@compiled(NOTHING, TABLE, CYCLES, CYCLES, INTEGER)
def join(state: Any, tables: Any, counters: Any, mask: int) -> None:
    """Let one row stand for all channels of `mask` whose states are alike."""
    left = 0
    while left < state[0, CLASSES]:
        right = left + 1
        while state[left, MEMBERS] & mask and right < state[0, CLASSES]:
            if not (state[right, MEMBERS] & mask and _alike(state[left], state[right], tables)):
                right += 1
                continue
            if state[left, OPEN_BANKS] > 0:
                for index in (left, right):
                    counters[OPEN_CYCLES] += (state[left, CLOCK] - state[index, OPEN_SINCE]) * state[index, WEIGHT]
                state[left, OPEN_SINCE] = state[left, CLOCK]
            state[left, MEMBERS] |= state[right, MEMBERS]
            state[left, WEIGHT] += state[right, WEIGHT]
            state[0, CLASSES] -= 1
            if right < state[0, CLASSES]:
                _copy(state, state[0, CLASSES], right)
        left += 1
