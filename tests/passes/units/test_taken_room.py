"""Room in arrays: what several blocks of a program use is taken once."""

from __future__ import annotations

import numpy as np

from isa import load_machine
from passes import Cache, Graph, Node, TensorType
from passes.units.taken_room import TakenRoom
from passes.units.unit_costs import BlockCost, matrices_of, products_in_arrays

E2E = load_machine("e2e-pim")
WIDE = 700
"""Two groups of 512 rows along the inputs."""


def product(numbers: float, outputs: int = 8) -> Node:
    graph = Graph("test")
    source = graph.add_input("x", TensorType("float32", (1, 1, WIDE)))
    weight = graph.add_constant(np.full((WIDE, outputs), numbers, np.float32))
    return graph.add_node("linear", [source, weight], [TensorType("float32", (1, 1, outputs))])


def cost(node: Node) -> BlockCost:
    return products_in_arrays(E2E, matrices_of(node))


def test_a_matrix_is_taken_once_wherever_it_comes_from() -> None:
    room, first, twin, other = TakenRoom(E2E.crossbar), product(1), product(1), product(2)
    assert room.demand(first, None, cost(first)) == (cost(first).groups, 0)
    assert cost(first).groups > 1
    room.take(first, None, cost(first))
    assert room.demand(twin, None, cost(twin)) == (0, 0)
    assert room.demand(other, None, cost(other)) == (cost(other).groups, 0)
    room.take(twin, None, cost(twin))
    room.take(other, None, cost(other))
    assert room.groups == 2 * cost(first).groups


def test_a_cache_is_taken_once_by_its_shared_name() -> None:
    room, node = TakenRoom(E2E.crossbar), product(1)
    takes, ends = BlockCost(1, 1, groups=4, keys=9), "0.decoder.key"
    room.take(node, Cache("kv0", 2, 8, 8, past_key=f"past_key_values.{ends}"), takes)
    assert room.demand(node, Cache("kv7", 2, 8, 8, present_key=f"present.{ends}"), takes) == (0, 0)
    assert room.demand(node, Cache("kv8", 2, 8, 8, present_key="present.1.decoder.key"), takes) == (4, 9)
    assert (room.groups, room.keys) == (4, 9)


def test_nameless_caches_are_each_their_own() -> None:
    room, node, takes = TakenRoom(E2E.crossbar), product(1), BlockCost(1, 1, groups=4, keys=9)
    for name in ("kv0", "kv1"):
        room.take(node, Cache(name, 2, 8, 8), takes)
    assert (room.groups, room.keys) == (8, 18)
