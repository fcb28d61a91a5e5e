"""The smallest product of time and energy over blocks that can run on several units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from passes.units.unit_costs import BlockCost

Costs = Mapping[str, BlockCost]
"""Cost of a block by unit."""


def cheapest_units(blocks: Mapping[str, Costs], rest: BlockCost, milliwatts: float) -> dict[str, str]:
    """Units for which the time of everything times its energy is smallest.

    The best choice minimises energy + price * time for some price of time, as the smallest product of two sums lies on
    the convex hull of the points; prices at which a block changes sides are all that matter.

    Args:
        blocks: Costs of each block by its name.
        rest: Time and energy of all that has no choice.
        milliwatts: Power that flows all the time.
    """
    found = [{name: _at_price(costs, price) for name, costs in blocks.items()} for price in _prices(blocks.values())]

    def product(units: Mapping[str, str]) -> float:
        chosen = [blocks[name][unit] for name, unit in units.items()]
        time_ns = rest.time_ns + sum(cost.time_ns for cost in chosen)
        return time_ns * (rest.energy_pj + sum(cost.energy_pj for cost in chosen) + milliwatts * time_ns)

    return min(found, key=product)


def _prices(blocks: Iterable[Costs]) -> list[float]:
    """Prices of a nanosecond in picojoules between those at which a block changes sides."""
    changes = {0.0}
    for costs in blocks:
        for one in costs.values():
            for other in costs.values():
                if one.time_ns < other.time_ns and one.energy_pj > other.energy_pj:
                    changes.add((one.energy_pj - other.energy_pj) / (other.time_ns - one.time_ns))
    ordered = sorted(changes)
    return [0.0, *((low + high) / 2 for low, high in pairwise(ordered)), 2 * ordered[-1] + 1]


def _at_price(costs: Costs, price: float) -> str:
    return min(costs, key=lambda unit: costs[unit].energy_pj + price * costs[unit].time_ns)
