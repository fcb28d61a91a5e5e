"""Lower bounds from the MAC columns of a run."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_programs import ALL, machine

from pimc.simulator.accounting.floors import MacWork, peak_floor_cycles, row_cycled_floor_cycles, union_size

SWEEPS = st.lists(
    st.tuples(st.integers(1, 15), st.integers(0, 60), st.integers(1, 9), st.integers(1, 5), st.integers(0, 12)),
    max_size=12,
)


def work(*sweeps):
    made = MacWork()
    for sweep in sweeps:
        made.add(*sweep)
    return made


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10)), min_size=1))
def test_union_of_ranges(pairs):
    covered = {number for start, size in pairs for number in range(start, start + size)}
    assert union_size(np.array([(start, start + size) for start, size in pairs])) == len(covered)


@given(SWEEPS)
def test_columns_are_counted_for_every_channel(sweeps):
    touched = [
        (channel, column + output * stride + n)
        for mask, column, columns, outputs, stride in sweeps
        for channel in range(4)
        if mask >> channel & 1
        for output in range(outputs)
        for n in range(columns)
    ]
    made = work(*sweeps)
    assert made.executed_columns() == len(touched)
    assert made.distinct_columns() == len(set(touched))


def test_a_full_row_in_all_channels_costs_its_opening_and_its_columns():
    row = work((ALL, 0, 64, 1, 64))
    assert peak_floor_cycles(machine(), row) == 128
    assert row_cycled_floor_cycles(machine(), row) == 226


@pytest.mark.parametrize("heads", [1, 3, 8])
def test_a_row_that_query_heads_share_is_opened_once(heads):
    row = work(*[(ALL, 64, 64, 1, 64)] * heads)
    assert row_cycled_floor_cycles(machine(), row) == 98 + 128 * heads


def test_the_floor_spreads_work_over_all_channels():
    assert row_cycled_floor_cycles(machine(), work((1, 0, 64, 1, 64))) == 226 / 32


def test_no_work_has_no_floor():
    assert row_cycled_floor_cycles(machine(), MacWork()) == 0
