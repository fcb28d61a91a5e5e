"""Every attention and feed-forward block of the corpus is recognised, and the matrix sees what goes wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import corpus_matrix
from corpus_manifest import CorpusGraph, load_manifest
from corpus_matrix import Cell, How, blocks_of, check, fuse, line_of
from corpus_measures import symbols_of
from corpus_runs import ProgramRun
from coverage_table import coverage_document

from passes import Graph

GRAPHS = load_manifest()
COVERAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
SAMPLES = (
    "mistral-torchscript",
    "gemma2-dynamo",
    "t5-dynamo/decoder_with_past",
    "mixtral-torchscript",
    "siglip-dynamo",
)
"""Graphs that are run whole here; `make matrix` runs all."""


def graph_named(name: str) -> CorpusGraph:
    return next(graph for graph in GRAPHS if graph.name == name)


@pytest.mark.parametrize("graph", [graph for graph in GRAPHS if graph.mode != "plain"], ids=lambda graph: graph.name)
def test_every_block_is_recognised(graph: CorpusGraph) -> None:
    bind = {tensor.name: True for tensor in graph.inputs if tensor.name == "use_cache_branch"}
    found = blocks_of(fuse(graph, symbols_of(graph, 1), bind))
    assert found == (graph.attention_blocks, graph.feed_forward_blocks, graph.expert_blocks)


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_pass(name: str) -> None:
    cell = check(graph_named(name), How(("fp32",) if name == SAMPLES[0] else ()))
    assert cell.reason == ""
    assert cell.passed
    assert 0 < cell.worst < 1e-4


def test_small_errors_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = corpus_matrix.interpret

    def wrong(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: value + 1e-3 * np.abs(value).max() for name, value in exact(graph, inputs).items()}

    monkeypatch.setattr(corpus_matrix, "interpret", wrong)
    cell = check(graph_named("vit-torchscript"))
    assert cell.reason == "differs by 1.0e-03 at batch 1, 1 new, 0 past"
    assert line_of(cell).startswith("FAIL vit-torchscript")


def test_blocks_that_are_not_recognised_fail() -> None:
    cell = check(replace(graph_named("vit-torchscript"), attention_blocks=3))
    assert (cell.passed, cell.reason) == (False, "blocks are not recognised")


def test_without_fusion_the_results_are_the_same() -> None:
    cell = check(graph_named("llama-torchscript-plain"), How(pipeline="O0"))
    assert (cell.passed, cell.feed_forward, cell.reason) == (True, 0, "")


def test_the_machines_own_rounding_is_measured_by_the_cosine() -> None:
    cell = check(graph_named("vit-torchscript"), How(("machine",)))
    assert cell.passed, cell.reason
    assert cell.simulated is None
    assert all(0.999 < run.cosine < 1.0 for run in cell.programs)


def test_a_merged_decoder_is_two_programs() -> None:
    cell = check(graph_named("t5-optimum/decoder_merged"))
    assert cell.passed, cell.reason


def test_the_table_strikes_what_fails() -> None:
    trouble = "differs by 2.0e-03 at batch 1, 1 new, 0 past"
    good = Cell(graph_named("llama-dynamo"), 2, 2, 0, 1e-6, [ProgramRun("fp32", 1, None, 2e-6)])
    bad = Cell(graph_named("llama-dynamo-plain"), 2, 2, 0, 1e-6, [ProgramRun("fp32", 1, None, 2e-3)], trouble)
    text = coverage_document([good, bad])
    assert "| llama |  | kv, ~~plain~~ |  |  |  |" in text
    assert "1 of 2 graphs pass. Recognised: 4 of 4 attentions, 4 of 4 feed-forward blocks." in text
    assert "- llama-dynamo-plain: differs by 2.0e-03 at batch 1, 1 new, 0 past" in text


def test_the_table_tells_of_the_machines_rounding() -> None:
    plain = Cell(graph_named("llama-dynamo"), programs=[ProgramRun("machine", 1, None, cosine=0.999999)])
    runs = [ProgramRun("machine", batch, None, 0.3, 0.9999, 0.92, changed_choices=1) for batch in (1, 2)]
    text = coverage_document([plain, Cell(graph_named("mixtral-dynamo"), programs=runs)])
    assert "| llama-dynamo | 0.99999 |  |  |" in text
    assert "| mixtral-dynamo | 0.99990 | 0.92000 | 2 |" in text


def test_the_written_table_tells_of_every_family() -> None:
    text = COVERAGE.read_text(encoding="utf-8")
    assert [family for family in {graph.family for graph in GRAPHS} if f"| {family} |" not in text] == []
    assert [graph.name for graph in GRAPHS if f"| {graph.name} | 0.99" not in text] == []
    assert f"\n{len(GRAPHS)} of {len(GRAPHS)} graphs pass." in text
