"""The exporters' graphs: every block is found, and fusion keeps what they mean."""

import numpy as np
import pytest
from corpus_manifest import CorpusGraph
from tests_corpus import GRAPHS, case_of, difference, imported, lengths_of, reference, taken

from passes import Graph, PassManager, explain, interpret, pipeline, recognised_counts
from passes.interpreter import interpret as interpretation
from passes.interpreter import operations
from passes.interpreter.operations import Array


def fused(graph: CorpusGraph, name: str = "default") -> Graph:
    result = imported(graph)
    PassManager(pipeline(name)).run(result)
    return result


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)
def test_every_block_is_found(graph: CorpusGraph) -> None:
    result = fused(graph)
    counts = recognised_counts(result)
    least = (graph.attention_blocks, graph.feed_forward_blocks, graph.expert_blocks)
    found = (counts["attention"], counts["feed_forward"], counts["experts"])
    reasons = [entry for finding in explain(result) for entry in finding.unfused]
    assert all(count >= wanted for count, wanted in zip(found, least, strict=True)), (found, least, reasons)
    past_names = [tensor.name for tensor in graph.inputs if "past" in tensor.dims or ".encoder." in tensor.name]
    if graph.exporter in ("dynamo", "torchscript", "optimum"):
        assert not [value.name for value in result.inputs if value.name in past_names]


@pytest.mark.parametrize("graph", GRAPHS[::6], ids=lambda graph: graph.name)
def test_fused_graphs_equal_the_reference(graph: CorpusGraph) -> None:
    result = fused(graph)
    session = reference(graph)
    names = [output.name for output in session.get_outputs()]
    for seq, past in lengths_of(graph):
        case = case_of(graph, seq, past)
        expected = dict(zip(names, session.run(None, case.inputs), strict=True))
        found = interpret(result, taken(result, case.inputs))
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert difference(case, name, array, found[name]) <= graph.relative_tolerance, (name, seq, past)


@pytest.mark.parametrize("graph", GRAPHS[2::12], ids=lambda graph: graph.name)
def test_optional_passes_change_nothing_but_rounding(graph: CorpusGraph) -> None:
    plain, optimised = fused(graph, "O0"), fused(graph)
    for seq, past in lengths_of(graph):
        case = case_of(graph, seq, past)
        expected, found = (interpret(each, taken(each, case.inputs)) for each in (plain, optimised))
        assert found.keys() == expected.keys()
        tolerance = 1e-5 if graph.relative_tolerance <= 1e-4 else graph.relative_tolerance
        for name, array in expected.items():
            assert difference(case, name, array, found[name]) <= tolerance, name


def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add products up in binary64, so that the order in which a library adds them does not show."""
    product = np.matmul

    def exact(a: Array, b: Array) -> Array:
        if a.dtype.kind != "f":
            return np.asarray(product(a, b))
        return np.asarray(product(a.astype(np.float64), b.astype(np.float64))).astype(np.result_type(a, b))

    monkeypatch.setattr(np, "matmul", exact)
    monkeypatch.setitem(interpretation._ALL_MEANINGS, "matmul", operations._float(exact))


ROUNDS_IN_THE_GRAPH = {"fuse_norm", "fuse_activation", "fuse_attention"}
"""Passes whose graphs round differently; of others that reassociate only the machine adds up in another order."""


SINGLE = [graph for graph in GRAPHS if "float16" not in graph.name]
"""In half precision a fused node rounds once instead of several times."""


@pytest.mark.parametrize("graph", SINGLE[4::16], ids=lambda graph: graph.name)
def test_other_passes_keep_every_bit(graph: CorpusGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    exact_products(monkeypatch)
    result = imported(graph)
    case = case_of(graph, *lengths_of(graph)[0])
    inputs = taken(result, case.inputs)
    before = interpret(result, inputs)
    for step in pipeline("default"):
        if not step.run(result):
            continue
        after = interpret(result, inputs)
        if step.name not in ROUNDS_IN_THE_GRAPH:
            wrong = [name for name in before if difference(case, name, before[name], after[name]) > 0]
            assert wrong == [], step.name
        before = after


WINDOWED = [graph for graph in GRAPHS if graph.window and graph.exporter in ("dynamo", "torchscript", "optimum")]


@pytest.mark.parametrize("graph", WINDOWED, ids=lambda graph: graph.name)
def test_windows_below_at_and_above_their_size(graph: CorpusGraph) -> None:
    result = fused(graph)
    session = reference(graph)
    for total in (graph.window - 1, graph.window, graph.window + 1):
        case = case_of(graph, *((1, total - 1) if graph.has_cache else (total, 0)))
        expected = session.run(None, case.inputs)[0]
        found = interpret(result, taken(result, case.inputs))
        name = session.get_outputs()[0].name
        assert difference(case, name, expected, found[name]) <= graph.relative_tolerance, total
