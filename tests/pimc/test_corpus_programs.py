"""Every graph of the corpus as a compiled program: one cell a graph and batch, one program for all its lengths."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

sys.path.append(str(Path(__file__).parents[1] / "models"))

from corpus_choices import ChoiceReference
from corpus_inputs import Case, random_case
from corpus_manifest import CorpusGraph, load_manifest
from corpus_measures import bound_by, branches_of, lengths_of, programs_of, symbols_of, unbound, worst_error
from corpus_runs import ProgramRun, is_quantised, run_program

from isa import load_machine
from pimc.compiler import compile_model
from pimc.simulator import Session

MACHINE = load_machine("gddr6-aim")
GRAPHS = load_manifest()
CONTEXT = 40


@lru_cache(maxsize=2)
def reference(graph: CorpusGraph) -> ChoiceReference:
    return ChoiceReference(graph)


SAMPLE = list({graph.family: graph for graph in GRAPHS if not graph.file.startswith("variants/")}.values())
"""One graph a family."""


def marks(graph: CorpusGraph, batch: int) -> list[pytest.MarkDecorator]:
    """Batches of two run for one graph a family here, `make soak` and `make matrix` run all of them."""
    return [pytest.mark.soak] if batch > 1 and graph not in SAMPLE else []


CELLS = [
    pytest.param(
        graph,
        batch,
        branch,
        id=f"{graph.name}-{batch}{'' if branch is None else f'-{branch}'}",
        marks=marks(graph, batch),
    )
    for graph in GRAPHS
    for batch, branch in programs_of(graph)
]
ROUNDED = list(dict.fromkeys((*SAMPLE, *(graph for graph in GRAPHS if graph.expert_blocks or is_quantised(graph)))))
"""What runs in the machine's rounding here, all mixtures of experts among it; `make matrix` runs all graphs."""


@pytest.mark.parametrize(("graph", "batch", "branch"), CELLS)
def test_program_equals_the_reference(graph: CorpusGraph, batch: int, branch: bool | None) -> None:
    assert run_program(graph, reference(graph), ProgramRun("fp32", batch, branch)) == ""


@pytest.mark.parametrize("graph", ROUNDED, ids=lambda graph: graph.name)
def test_machine_rounding_keeps_the_direction(graph: CorpusGraph) -> None:
    batch, branch = list(programs_of(graph))[0 if graph.expert_blocks else -1]
    run = ProgramRun("machine", batch, branch)
    assert run_program(graph, reference(graph), run) == ""
    assert 0.99 < run.cosine < 1.0


def last_case(graph: CorpusGraph, branch: bool | None) -> Case:
    seq, past = lengths_of(graph, 1, branch)[-1]
    return random_case(graph, 1, seq, past, seed=1)


def outputs_of(graph: CorpusGraph, branch: bool | None, case: Case, optimize: bool) -> dict[str, np.ndarray]:
    program = compile_model(
        graph.path,
        MACHINE,
        symbols_of(graph, 1),
        max_context=CONTEXT,
        numerics="fp32",
        optimize=optimize,
        bind=bound_by(branch),
    )
    return Session(program, MACHINE).run(unbound(case.inputs))


@pytest.mark.parametrize("graph", SAMPLE[::3], ids=lambda graph: graph.name)
def test_optional_passes_keep_the_program_s_outputs(graph: CorpusGraph) -> None:
    branch = branches_of(graph)[-1]
    case = last_case(graph, branch)
    plain, optimised = (outputs_of(graph, branch, case, optimize) for optimize in (False, True))
    assert worst_error(case.selections, plain, optimised) <= 1e-5


def test_every_graph_has_a_cell() -> None:
    assert {cell.values[0].name for cell in CELLS} == {graph.name for graph in GRAPHS}
    past = {graph.name for graph in GRAPHS if {(5, 0), (1, 1), (1, 7), (1, 33)} <= set(lengths_of(graph, 1, None))}
    assert len(past) >= 70
