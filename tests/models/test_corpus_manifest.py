"""Every graph of the corpus is there, small, valid, and runs on the inputs that are made for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from corpus_inputs import ragged, random_case
from corpus_manifest import CORPUS, CorpusGraph, load_manifest, save_manifest

GRAPHS = load_manifest()
OUTSIDE_THE_STANDARD = {"SimplifiedLayerNormalization"}
"""Runtimes put this one into the standard's domain, where the checker does not know it."""
FILE_BYTES = 150_000
EXPORTERS = ("torchscript", "dynamo")
FAMILIES = (
    *("gpt2", "gptj", "gpt-neox", "opt", "bloom", "falcon", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"),
    *("phi", "phi3", "stablelm", "olmo", "granite", "mixtral", "qwen-moe", "qwen2-moe"),
    *("bert", "roberta", "distilbert", "albert", "electra", "mpnet", "deberta", "deberta-v2", "modernbert"),
    *("t5", "bart", "marian", "whisper", "vit", "deit", "swin", "dinov2", "clip", "siglip"),
)
every_graph = pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.name)


def graph_named(name: str) -> CorpusGraph:
    return next(graph for graph in GRAPHS if graph.name == name)


def lengths_of(graph: CorpusGraph) -> list[tuple[int, int, int]]:
    """Batch, new and past tokens of two runs."""
    wanted = [(1, 4, 0), (2, 3, 7), (2, 1, 7), (1, 3, 7), (1, 1, 7), (2, 5, 0), (2, 1, 0), (1, 1, 0)]
    return [each for each in wanted if graph.allows(*each)][:2]


def test_both_exporters_wrote_every_family() -> None:
    written = {(graph.family, graph.exporter) for graph in GRAPHS}
    assert {(family, exporter) for family in FAMILIES for exporter in EXPORTERS} - written == set()


def test_the_manifest_names_every_file_once() -> None:
    files = sorted(path.relative_to(CORPUS).as_posix() for path in CORPUS.rglob("*.onnx"))
    assert [graph.file for graph in GRAPHS] == files


@every_graph
def test_graph_is_small_and_valid(graph: CorpusGraph) -> None:
    content = graph.path.read_bytes()
    assert len(content) <= FILE_BYTES
    assert b"stack_trace" not in content
    model = onnx.load_from_string(content)
    assert graph.opset == next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    assert [tensor.name for tensor in graph.inputs] == [value.name for value in model.graph.input]
    assert [tensor.name for tensor in graph.outputs] == [value.name for value in model.graph.output]
    if not OUTSIDE_THE_STANDARD & {node.op_type for node in model.graph.node}:
        onnx.checker.check_model(model)


@every_graph
def test_graph_runs_on_its_inputs(graph: CorpusGraph) -> None:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = runtime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
    cases = [random_case(graph, *lengths) for lengths in lengths_of(graph)]
    assert cases
    for case in cases:
        for tensor, value in zip(graph.outputs, session.run(None, case.inputs), strict=True):
            assert value.dtype.name == tensor.dtype
            assert len(value.shape) == len(tensor.dims)
            assert all(dim == size for dim, size in zip(tensor.dims, value.shape, strict=True) if isinstance(dim, int))
            selected = value[np.broadcast_to(case.selections[tensor.name], value.shape)]
            assert np.isfinite(selected).all()
            if selected.size > 1:
                assert selected.std() > 1e-3, "an output without variety would agree with anything"


@pytest.mark.parametrize(
    ("name", "batch", "seq", "past"),
    [("gemma2-dynamo", 2, 3, 9), ("roberta-dynamo", 3, 6, 0), ("bart-dynamo/decoder", 3, 4, 0)],
)
def test_selected_places_do_not_see_padding(name: str, batch: int, seq: int, past: int) -> None:
    """Other tokens and other cached states under the mask leave every selected element alone."""
    runtime = pytest.importorskip("onnxruntime")
    graph = graph_named(name)
    session = runtime.InferenceSession(str(graph.path), providers=["CPUExecutionProvider"])
    case = random_case(graph, batch, seq, past)
    mask = next(value for name, value in case.inputs.items() if name.endswith("attention_mask")).astype(bool)
    changed = dict(case.inputs)
    for tensor in graph.inputs:
        if tensor.dtype != "float32":
            continue
        axis = next(axis for axis, dim in enumerate(tensor.dims) if dim in ("past", "enc_seq"))
        shape = [1] * len(tensor.dims)
        shape[0], shape[axis] = batch, case.inputs[tensor.name].shape[axis]
        kept = mask[:, : shape[axis]].reshape(shape)
        changed[tensor.name] = np.where(kept, case.inputs[tensor.name], np.float32(1.5))
    if "enc_seq" not in {dim for tensor in graph.inputs for dim in tensor.dims}:
        changed["input_ids"] = np.where(mask[:, past:], case.inputs["input_ids"], graph.pad_token)
    before, after = (session.run(None, inputs) for inputs in (case.inputs, changed))
    for tensor, left, right in zip(graph.outputs, before, after, strict=True):
        if tensor.name.startswith("present") and ".encoder." in tensor.name:
            continue
        chosen = np.broadcast_to(case.selections[tensor.name], left.shape)
        np.testing.assert_allclose(left[chosen], right[chosen], rtol=1e-5, atol=1e-5)


def test_padding_stands_where_the_family_wants_it() -> None:
    decoder = random_case(graph_named("llama-dynamo"), 3, 4, 0)
    assert decoder.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]]
    assert decoder.inputs["position_ids"].tolist() == [[0, 1, 2, 3], [0, 0, 1, 2], [0, 0, 0, 0]]
    assert decoder.selections["logits"][..., 0].tolist() == decoder.inputs["attention_mask"].astype(bool).tolist()
    encoder = random_case(graph_named("roberta-dynamo"), 2, 4)
    assert encoder.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert ((encoder.inputs["input_ids"] == 1) == (encoder.inputs["attention_mask"] == 0)).all()


def test_positions_go_on_behind_the_past() -> None:
    case = random_case(graph_named("llama-dynamo"), 2, 2, 3, padding=(0, 2))
    assert case.inputs["position_ids"].tolist() == [[3, 4], [1, 2]]
    assert case.selections["present.0.key"][1, 0, :, 0].tolist() == [False, False, True, True, True]


def test_a_fixed_cache_is_written_behind_what_it_holds() -> None:
    inputs = random_case(graph_named("llama-tensorscatter-op24"), 3, 2, 5).inputs
    assert inputs["write_indices"].tolist() == [5, 4, 1]
    assert inputs["nonpad_kv_seqlen"].tolist() == [7, 6, 3]
    assert inputs["position_ids"].tolist() == [[5, 6], [4, 5], [1, 2]]


def test_ragged_padding_never_covers_a_row() -> None:
    assert ragged(7, 6) == (0, 1, 4, 2, 5, 3, 0)
    assert ragged(3, 1) == (0, 0, 0)


def test_lengths_that_a_graph_does_not_take_are_known() -> None:
    assert graph_named("llama-dynamo").allows(2, 3, 33)
    assert not graph_named("llama-dynamo-plain").allows(1, 1, 3)
    assert not graph_named("llama-genai").allows(2, 1, 0)
    assert not graph_named("t5-optimum/decoder_with_past").allows(1, 2, 3)
    assert not graph_named("gpt2-dynamo").allows(1, 33, 33)


def test_the_manifest_survives_writing(tmp_path) -> None:
    path = tmp_path / "manifest.json"
    graphs = (replace(GRAPHS[0], relative_tolerance=0.5), *GRAPHS[1:])
    save_manifest(graphs[::-1], path)
    assert load_manifest(path) == graphs
