"""Which units can run a block."""

from __future__ import annotations

from isa import Machine
from passes.ir import Cache, Node
from passes.units.array_limits import columns_problem
from passes.units.search_limits import search_problem


def unit_problem(machine: Machine, node: Node, cache: Cache | None, unit: str, is_filled: bool = False) -> str | None:
    """Why a block cannot run on a unit; `None` when it can.

    Args:
        machine: The machine.
        node: The block.
        cache: The cache of its attention, `None` for products.
        unit: One of `UNITS_OF_BLOCKS`.
        is_filled: Whether another graph of the program writes the keys and values that are given to the node.
    """
    if unit == "banks":
        return None if machine.computes_in_banks else "the machine has no units at its banks"
    if unit == "cam":
        return _search_problem(machine, node, cache)
    if machine.crossbar is None:
        return "the machine has no crossbars"
    if cache is None:
        return None
    problem, widest = columns_problem(machine.crossbar, node, cache, is_filled), max(cache.head_dim, cache.value_dim)
    if problem is None and widest > machine.crossbar.rows:
        return f"a key or value has {widest} elements, and a group of arrays {machine.crossbar.rows} rows"
    return problem


def _search_problem(machine: Machine, node: Node, cache: Cache | None) -> str | None:
    """Why the associative memory cannot search for keys."""
    if machine.cam is None:
        return "the machine has no associative memory"
    return search_problem(machine.cam, node, cache) if cache is not None else "it is no search for keys"
