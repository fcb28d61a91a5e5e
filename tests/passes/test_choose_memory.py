"""When attention goes to the associative memory: what is legal there, what it costs, what finds room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from isa import Machine, load_machine
from passes import ChooseUnits, Graph, UnitChoice, load_kv, parse_units, search_problem
from passes.units.search_costs import search_in_banks, search_in_memory
from pimc.compiler import compile_model, fuse_model
from pimc.evaluation.timing import cost_without_data
from pimc.frontend import load_model

E2E = load_machine("e2e-pim")
SHAKESPEARE = Path(__file__).parents[2] / "models" / "tiny-shakespeare.onnx"
SEARCHED = "attention=cost,products=banks"


def searched(kv: str = "cam:k=32") -> Graph:
    return fuse_model(load_model(SHAKESPEARE), {"batch": 1}, kv=load_kv(kv))


def chosen(graph: Graph, machine: Machine = E2E, wish: str = SEARCHED, tokens: int = 256) -> UnitChoice:
    ChooseUnits(machine, parse_units(wish), tokens).run(graph)
    choice = graph.facts.pop("choose_units")
    assert isinstance(choice, UnitChoice)
    return choice


def attention(graph: Graph, choice: UnitChoice) -> list[str]:
    return [choice.of(node) for node in graph.nodes if node.op == "cached_attention"]


def reasons(graph: Graph, choice: UnitChoice) -> list[str]:
    return [choice.reasons[node.name] for node in graph.nodes if node.op == "cached_attention"]


def with_cam(**sizes: Any) -> Machine:
    assert E2E.cam is not None
    return E2E.model_copy(update={"cam": E2E.cam.model_copy(update=sizes)})


def test_costs_send_small_heads_to_the_memory_and_the_user_can_keep_them() -> None:
    graph = searched()
    assert attention(graph, chosen(graph)) == ["cam"] * 3
    assert attention(graph, chosen(graph, wish="banks")) == ["banks"] * 3
    assert attention(graph, chosen(graph, wish="cam")) == ["cam"] * 3


@pytest.mark.parametrize(
    ("kv", "sizes", "reason"),
    [
        ("topk:k=8", {}, "not searched by signs"),
        ("cam:k=33", {}, "33 winners; the CAM has 32"),
        ("cam:tile=8", {}, "tiles of 8 keys; the array holds 16"),
        ("cam:bits=7", {}, "7 bits of a code; the CAM has 6"),
        ("cam:tile_top=3", {}, "3 candidates of a tile; the CAM has 2"),
        ("window:sink=4,budget=64 + cam", {}, "forgets or encodes tokens"),
        ("cam", {"columns": 31}, "32 channels of a key; the CAM has 31"),
        ("cam", {"value_elements": 31}, "32 elements of a value; the CAM has 31"),
    ],
)
def test_what_the_memory_cannot_do_stays_in_the_banks(kv: str, sizes: dict[str, int], reason: str) -> None:
    graph = searched(kv)
    choice = chosen(graph, with_cam(**sizes), "attention=cam")
    assert attention(graph, choice) == ["banks"] * 3
    assert all(reason in text for text in reasons(graph, choice))


def test_layers_without_room_stay_in_the_banks() -> None:
    """A layer has 4 heads of 256 tokens: 2,100 rows hold two layers."""
    graph = searched()
    choice = chosen(graph, with_cam(keys=2100))
    assert attention(graph, choice) == ["cam", "cam", "banks"]
    assert "no room in the associative memory (demand: 3072 keys; bound: 2100)" in reasons(graph, choice)[2]
    assert attention(graph, chosen(graph, with_cam(value_rows=31))) == ["banks"] * 3
    assert attention(graph, chosen(graph, with_cam(keys=2100), "attention=cam")) == ["cam"] * 3


@pytest.mark.parametrize("is_computed", [False, True])
def test_a_mask_that_the_model_computes_keeps_keys_in_the_banks(is_computed: bool) -> None:
    graph = searched()
    node = next(node for node in graph.nodes if node.op == "cached_attention")
    mask = node.optional(3)
    assert mask is not None
    if is_computed:
        graph.set_input(node, 3, graph.add_node("not", [mask], [mask.type], {}).output)
    assert E2E.cam is not None
    problem = search_problem(E2E.cam, node, graph.caches[str(node.attributes["cache"])])
    assert (problem is None) != is_computed
    assert problem is None or "a search leaves no key out" in problem


def test_costs_grow_with_the_tokens_and_follow_the_machine() -> None:
    graph = searched()
    node = next(node for node in graph.nodes if node.op == "cached_attention")
    cache = graph.caches[str(node.attributes["cache"])]
    few, many = (search_in_memory(E2E, node, cache, tokens) for tokens in (64, 512))
    assert few.energy_pj < many.energy_pj
    assert few.time_ns < many.time_ns
    assert (few.keys, many.keys) == (256, 2048)
    assert E2E.cam is not None
    modules = E2E.cam.modules
    slow = modules.exponential.model_copy(update={"cycles": 20})
    slower = with_cam(modules=modules.model_copy(update={"exponential": slow}))
    assert search_in_memory(slower, node, cache, 64).time_ns > few.time_ns
    in_banks = search_in_banks(E2E, node, cache, 64)
    assert in_banks.time_ns < search_in_banks(E2E, node, cache, 512).time_ns
    assert in_banks.keys == 0


@pytest.mark.parametrize("tokens", [64, 512])
def test_estimates_say_what_programs_gain_and_lose_by_the_memory(tokens: int) -> None:
    """Whole decode steps of both programs differ as the estimates of their attentions do."""
    graph = searched()
    nodes = [node for node in graph.nodes if node.op == "cached_attention"]
    estimates, steps = [], []
    for unit, estimate in (("banks", search_in_banks), ("cam", search_in_memory)):
        found = [estimate(E2E, node, graph.caches[str(node.attributes["cache"])], tokens) for node in nodes]
        estimates.append((sum(cost.time_ns for cost in found), sum(cost.energy_pj for cost in found)))
        units = f"products=banks,attention={unit}"
        program = compile_model(SHAKESPEARE, E2E, {"batch": 1}, tokens, weights=False, kv="cam:k=32", units=units)
        cost = cost_without_data(program, E2E, tokens)
        steps.append((cost.time_s / cost.steps * 1e9, cost.energy_j_per_token * 1e12))
    estimated = [in_memory - in_banks for in_banks, in_memory in zip(*estimates, strict=True)]
    measured = [in_memory - in_banks for in_banks, in_memory in zip(*steps, strict=True)]
    assert 0 < measured[0] < estimated[0] < 2 * measured[0]
    assert estimated[1] == pytest.approx(measured[1], rel=0.15)
    assert measured[1] < 0
