"""The smallest product of time and energy, against all choices."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passes.units.cheapest_units import cheapest_units
from passes.units.unit_costs import BlockCost

COSTS = st.builds(BlockCost, st.integers(0, 50).map(float), st.integers(0, 50).map(float))
UNITS = ("banks", "crossbar", "cam")
BLOCKS = st.lists(st.lists(COSTS, min_size=1, max_size=3), min_size=0, max_size=5)


@given(BLOCKS, COSTS, st.integers(0, 5))
def test_no_choice_has_a_smaller_product(found: list[list[BlockCost]], rest: BlockCost, milliwatts: int) -> None:
    blocks = {str(n): dict(zip(UNITS, costs, strict=False)) for n, costs in enumerate(found)}

    def worth(units: Mapping[str, str]) -> float:
        time = rest.time_ns + sum(blocks[name][unit].time_ns for name, unit in units.items())
        energy = rest.energy_pj + sum(blocks[name][unit].energy_pj for name, unit in units.items())
        return time * (energy + milliwatts * time)

    chosen = cheapest_units(blocks, rest, milliwatts)
    assert list(chosen) == list(blocks)
    every = [dict(zip(blocks, units, strict=True)) for units in product(*blocks.values())]
    assert worth(chosen) == pytest.approx(min(map(worth, every)))
