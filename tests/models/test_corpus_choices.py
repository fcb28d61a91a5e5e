"""Choices of experts that are shown, given, and told apart from near ties."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from corpus_choices import NEAR_TIE, ChoiceReference, distance_from_tie
from corpus_inputs import Case, random_case
from corpus_manifest import CorpusGraph, load_manifest
from corpus_measures import least_cosine, worst_error
from corpus_runs import ProgramRun, run_program

from pimc.reference import Reference

GRAPHS = {graph.name: graph for graph in load_manifest()}
MIXTURES = [graph for graph in GRAPHS.values() if graph.expert_blocks]


@pytest.fixture(scope="module")
def mixtral() -> ChoiceReference:
    return ChoiceReference(GRAPHS["mixtral-torchscript"])


def case_of(graph: CorpusGraph) -> Case:
    return random_case(graph, 2, 5, 0, seed=3)


@pytest.mark.parametrize(
    ("chosen", "distance"),
    [([0, 2], 0.0), ([2, 0], 0.0), ([0, 1], 0.1), ([1, 3], 0.4)],
    ids=["the best", "in any order", "one wrong", "both wrong"],
)
def test_distances_are_from_the_worst_chosen_to_the_best_left_out(chosen: list[int], distance: float) -> None:
    scores = np.array([[0.5, 0.2, 0.3, 0.1]])
    assert distance_from_tie(scores, np.array([chosen])) == pytest.approx([distance])


@pytest.mark.parametrize("graph", MIXTURES, ids=lambda graph: graph.name)
def test_its_own_choices_change_nothing(graph: CorpusGraph) -> None:
    reference, case = ChoiceReference(graph), case_of(graph)
    assert len(reference.choices) == graph.expert_blocks
    free = Reference(reference.shown).run(case.inputs)
    given = reference.given(case.inputs, free)
    expected = reference.free(case.inputs)
    assert worst_error(case.selections, expected, {name: given[name] for name in expected}) < 1e-6
    assert reference.distances(given, free, np.ones(10, bool)).size == 0


def test_other_choices_are_followed_and_told(mixtral: ChoiceReference) -> None:
    case = case_of(GRAPHS["mixtral-torchscript"])
    found = Reference(mixtral.shown).run(case.inputs)
    name = mixtral.choices[0].experts
    other = {**found, name: found[name].copy()}
    other[name][4] = np.setdiff1d(np.arange(4), found[name][4])
    given = mixtral.given(case.inputs, other)
    assert least_cosine(case.selections, mixtral.free(case.inputs), given) < 0.999
    assert mixtral.distances(given, other, np.arange(10) == 4).max() > NEAR_TIE


def test_a_program_that_chooses_at_a_near_tie_passes(mixtral: ChoiceReference) -> None:
    """One token after another one: the router's two candidates lie 0.0017 apart, and bf16 takes the other."""
    run = ProgramRun("machine", 1, None)
    assert run_program(GRAPHS["mixtral-torchscript"], mixtral, run) == ""
    assert (run.changed_choices, run.free_cosine < 0.93, run.cosine > 0.9999) == (1, True, True)


def test_a_graph_without_choices_is_its_own_reference() -> None:
    graph = GRAPHS["llama-dynamo"]
    reference, case = ChoiceReference(graph), case_of(graph)
    assert reference.choices == ()
    assert worst_error(case.selections, reference.free(case.inputs), reference.given(case.inputs, {})) == 0.0
    assert reference.distances({}, {}, np.ones(10, bool)).size == 0
