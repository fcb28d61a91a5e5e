"""The choice of units: what a user may say, what is legal, what costs decide, what fits."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from isa import InputError, Machine, UnsupportedError, load_machine
from passes import ChooseUnits, Graph, UnitChoice, UnitSpecification, parse_units
from passes.units.unit_costs import (
    BlockCost,
    attention_in_arrays,
    attention_in_banks,
    matrices_of,
    products_in_arrays,
    products_in_banks,
    static_mw,
)
from pimc.compiler import fuse_model
from pimc.frontend import load_model

E2E = load_machine("e2e-pim")
SHAKESPEARE = Path(__file__).parents[2] / "models" / "tiny-shakespeare.onnx"


@pytest.fixture(scope="module")
def graph() -> Graph:
    return fuse_model(load_model(SHAKESPEARE), {"batch": 1})


def chosen(graph: Graph, text: str = "cost", machine: Machine = E2E) -> UnitChoice:
    ChooseUnits(machine, parse_units(text)).run(graph)
    choice = graph.facts.pop("choose_units")
    assert isinstance(choice, UnitChoice)
    return choice


def with_groups(groups: int) -> Machine:
    assert E2E.crossbar is not None
    return E2E.model_copy(update={"crossbar": E2E.crossbar.model_copy(update={"groups": groups})})


def kinds(graph: Graph, choice: UnitChoice, op: str) -> set[str]:
    return {choice.of(node) for node in graph.nodes if node.op == op}


@pytest.mark.parametrize(
    ("text", "linear", "attention"),
    [
        ("crossbar", "crossbar", "crossbar"),
        ("banks", "banks", "banks"),
        ("products=crossbar,attention=banks", "crossbar", "banks"),
        ("attention=crossbar , products=banks", "banks", "crossbar"),
    ],
)
def test_kinds_go_where_they_are_wanted(graph: Graph, text: str, linear: str, attention: str) -> None:
    choice = chosen(graph, text)
    assert kinds(graph, choice, "linear") == kinds(graph, choice, "feed_forward") == {linear}
    assert kinds(graph, choice, "cached_attention") == {attention}
    assert all(reason.startswith("as wanted") for reason in choice.reasons.values())


def test_a_unit_alone_stands_for_the_kinds_that_it_can_run() -> None:
    assert parse_units("cam").wishes == (("attention", "cam"),)
    assert parse_units("crossbar").wishes == (("products", "crossbar"), ("attention", "crossbar"))


def test_later_wishes_win_and_patterns_name_nodes(graph: Graph) -> None:
    node = next(node for node in graph.nodes if node.op == "feed_forward")
    choice = chosen(graph, f"products=crossbar,attention=banks,{node.name}=banks")
    assert {name for name, unit in choice.units.items() if unit == "crossbar"} == {
        each.name for each in graph.nodes if each.op in ("linear", "feed_forward") and each is not node
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("products=crosbar", "there is no unit 'crosbar'"),
        ("=banks", "names no block"),
        (" , ", "nothing is chosen"),
        ("nothing-like-this=banks", "no block with a choice is called 'nothing-like-this'"),
        ("cast=banks", "no block with a choice is called 'cast'\nnote: blocks: cached_attention, cached_attention.1, "),
        ("products=cam", "products cannot run on 'cam'"),
    ],
)
def test_other_wishes_are_refused(graph: Graph, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        chosen(graph, text)


def test_a_machine_without_the_unit_is_named(graph: Graph) -> None:
    with pytest.raises(InputError, match="'gddr6-aim' has no unit 'crossbar'"):
        chosen(graph, "products=crossbar", load_machine("gddr6-aim"))


def test_what_cannot_run_there_stays_or_is_refused_by_name() -> None:
    graph = fuse_model(load_model(SHAKESPEARE), {"batch": 2})
    choice = chosen(graph, "crossbar")
    attention = [node for node in graph.nodes if node.op == "cached_attention"]
    assert {choice.of(node) for node in attention} == {"banks"}
    assert all("not on crossbar" in choice.reasons[node.name] for node in attention)
    assert set(choice.unmet) == {node.name for node in attention}
    assert not chosen(graph, "cost").unmet
    with pytest.raises(UnsupportedError, match="columns hold the tokens of one sequence"):
        chosen(graph, f"{attention[0].name}=crossbar")


def test_groups_go_to_the_blocks_that_gain_most(graph: Graph) -> None:
    everything = chosen(graph, "products=crossbar,attention=banks")
    some = chosen(graph, "products=crossbar,attention=banks", with_groups(3))
    inside = [name for name, unit in some.units.items() if unit == "crossbar"]
    assert 0 < len(inside) <= 3
    assert len(inside) < sum(unit == "crossbar" for unit in everything.units.values())
    left = [name for name in some.units if everything.units[name] != some.units[name]]
    assert left
    assert all(some.reasons[name].startswith("no room among 3 groups") for name in left)


def block_costs(graph: Graph) -> list[dict[str, BlockCost]]:
    found = []
    for node in graph.nodes:
        if node.op in ("linear", "feed_forward"):
            shapes = matrices_of(node)
            found.append({"banks": products_in_banks(E2E, shapes), "crossbar": products_in_arrays(E2E, shapes)})
        elif node.op == "cached_attention":
            cache = graph.caches[str(node.attributes["cache"])]
            arrays = attention_in_arrays(E2E, node, cache, 512)
            found.append({"banks": attention_in_banks(E2E, node, cache, 512), "crossbar": arrays})
    return found


def test_no_other_choice_has_a_smaller_product_of_time_and_energy(graph: Graph) -> None:
    costs = block_costs(graph)
    choice = chosen(graph)
    names = [node.name for node in graph.nodes if node.op in ("linear", "feed_forward", "cached_attention")]
    assert list(choice.units) == names

    def delay_times_energy(units: tuple[str, ...]) -> float:
        time = sum(each[unit].time_ns for each, unit in zip(costs, units, strict=True))
        energy = sum(each[unit].energy_pj for each, unit in zip(costs, units, strict=True))
        return (time + rest) * (energy + static_mw(E2E) * (time + rest))

    from passes.choose_units import _rest_ns

    rest = _rest_ns(E2E, graph)
    best = min(delay_times_energy(units) for units in product(("banks", "crossbar"), repeat=len(names)))
    assert delay_times_energy(tuple(choice.units.values())) == pytest.approx(best)


def test_dearer_arrays_change_the_choice(graph: Graph) -> None:
    assert E2E.crossbar is not None
    dear = E2E.crossbar.model_copy(update={"adc_pj": 1e6, "vector_cycles": 100_000})
    assert set(chosen(graph, machine=E2E.model_copy(update={"crossbar": dear})).units.values()) == {"banks"}
    cheap = E2E.crossbar.model_copy(update={"vector_cycles": 1})
    assert set(chosen(graph, machine=E2E.model_copy(update={"crossbar": cheap})).units.values()) == {"crossbar"}


def test_a_gate_counts_with_its_neighbour(graph: Graph) -> None:
    node = next(node for node in graph.nodes if node.op == "feed_forward")
    up, down = matrices_of(node)
    assert up[0] == down[1]
    assert up[1] == down[0]
    assert replace(UnitSpecification(), text="x").wish(node) == "cost"
