"""Optional passes that do not declare to reassociate: without any one of them no bit of the results changes."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

sys.path.append(str(Path(__file__).parents[1] / "models"))

from corpus_inputs import random_case
from corpus_manifest import CorpusGraph, load_manifest
from corpus_measures import bound_by, lengths_of, programs_of, symbols_of, unbound

from isa import Program, load_machine
from passes import pipeline
from passes.interpreter.operations import Array
from pimc.backend import entry_builder
from pimc.backend.roll_loops import Code
from pimc.compiler import compile_model
from pimc.simulator import Session

MACHINE = load_machine("gddr6-aim")
CONTEXT = 40
SAMPLE = {graph.name: graph for graph in load_manifest()[5::15]}
EXACT = sorted({step.name for step in pipeline("default") if step.optional and not step.reassociates})
OVER_CODE = ("roll_loops", "open_ahead")


def compiled(graph: CorpusGraph, without: str = "") -> Program:
    """The program for one sequence (or as many as the graph is for), with the whole default pipeline but one pass."""
    batch, branch = next(iter(programs_of(graph)))
    steps = ",".join(step.name for step in pipeline("default") if step.name != without)
    return compile_model(
        graph.path,
        MACHINE,
        symbols_of(graph, batch),
        max_context=CONTEXT,
        numerics="fp32",
        pipeline_text=steps,
        bind=bound_by(branch),
    )


def outputs_of(graph: CorpusGraph, program: Program) -> list[dict[str, Array]]:
    """Results at the shortest and at the longest lengths."""
    batch, branch = next(iter(programs_of(graph)))
    lengths = lengths_of(graph, batch, branch)
    session = Session(program, MACHINE)
    found = []
    for seq, past in (lengths[0], lengths[-1]):
        session.reset()
        found.append(session.run(unbound(random_case(graph, batch, seq, past, seed=1).inputs)))
    return found


@lru_cache(maxsize=2)
def usual(name: str) -> tuple[Program, list[dict[str, Array]]]:
    program = compiled(SAMPLE[name])
    return program, outputs_of(SAMPLE[name], program)


def check_bits(name: str, program: Program) -> None:
    for expected, found in zip(usual(name)[1], outputs_of(SAMPLE[name], program), strict=True):
        assert found.keys() == expected.keys()
        for output, array in expected.items():
            assert found[output].tobytes() == array.tobytes(), output


def test_there_are_such_passes() -> None:
    assert EXACT == ["common_subexpressions", "fuse_rotary", "merge_rotary"]


@pytest.mark.parametrize("name", SAMPLE)
def test_each_pass_alone_changes_no_bit(name: str) -> None:
    for step in EXACT:
        check_bits(name, compiled(SAMPLE[name], without=step))


@pytest.mark.parametrize("name", SAMPLE)
def test_passes_over_the_code_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual(name)
    for step in OVER_CODE:
        with monkeypatch.context() as patch:
            patch.setattr(entry_builder, step, _unchanged)
            check_bits(name, compiled(SAMPLE[name]))


def _unchanged(code: Code) -> Code:
    return code


@pytest.mark.parametrize("step", EXACT)
def test_each_of_them_does_something_in_the_sample(step: str) -> None:
    assert any(compiled(graph, without=step).code != compiled(graph).code for graph in SAMPLE.values())


def test_o0_leaves_the_code_as_it_was_emitted(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = next(iter(SAMPLE.values()))
    asked: list[Code] = []
    for step in OVER_CODE:
        monkeypatch.setattr(entry_builder, step, lambda code: asked.append(code) or code)
    compile_model(graph.path, MACHINE, symbols_of(graph, 1), max_context=CONTEXT, optimize=False)
    assert asked == []
    compiled(graph)
    assert len(asked) == len(OVER_CODE)
