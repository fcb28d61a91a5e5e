"""Models as real exporters write them: types with symbols, and results against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from passes import Graph, bind, interpret, verify
from pimc.frontend import import_model

CORPUS = sorted((Path(__file__).parents[3] / "models" / "corpus").glob("*.onnx"))
LENGTHS = [(0, 1, 0), (0, 6, 0), (0, 6, 2), (5, 1, 0), (5, 1, 3), (9, 4, 0), (9, 4, 2)]
"""(past, seq, padding at the left)."""
TOLERANCE = 1e-5


def feeds(graph: Graph, past: int, seq: int, padding: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(past * 100 + seq)
    arrays: dict[str, np.ndarray] = {}
    for value in graph.inputs:
        shape = [bind(dim, {"past": past, "seq": seq}) for dim in value.shape]
        if "mask" in value.name:
            arrays[value.name] = np.ones(shape, np.int64)
            arrays[value.name][:, :padding] = 0
        elif "position" in value.name:
            arrays[value.name] = np.broadcast_to(np.arange(past, past + seq), shape).copy()
        elif value.type.dtype == "int64":
            arrays[value.name] = random.integers(0, 2, shape)
        else:
            arrays[value.name] = random.standard_normal(shape, np.float32)
    return arrays


def worst_difference(graph: Graph, session: object, past: int, seq: int, padding: int) -> float:
    inputs = feeds(graph, past, seq, padding)
    results = interpret(graph, inputs)
    worst = 0.0
    for info, expected in zip(session.get_outputs(), session.run(None, inputs), strict=True):
        result = results[info.name]
        assert result.shape == expected.shape
        if result.ndim == 3:  # rows of padded tokens hold nothing that anyone may read
            result, expected = (x[:, max(0, padding - past) :] for x in (result, expected))
        worst = max(worst, float(np.abs(result - expected).max() / np.abs(expected).max()))
    return worst


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
@pytest.mark.parametrize("batch", [1, 2])
def test_results_equal_onnx_runtime(path: Path, batch: int) -> None:
    runtime = pytest.importorskip("onnxruntime")
    graph = import_model(path, {"batch": batch})
    verify(graph, "imported")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    has_past = any("past" in value.name for value in graph.inputs)
    lengths = [case for case in LENGTHS if has_past or case[0] == 0]
    worst = {case: worst_difference(graph, session, *case) for case in lengths}
    assert {case: error for case, error in worst.items() if not error <= TOLERANCE} == {}


def test_the_corpus_is_there() -> None:
    assert {path.stem for path in CORPUS} >= {f"{family}-{exporter}" for family in ("gpt2", "llama", "bert")
                                              for exporter in ("dynamo", "torchscript")}  # fmt: skip


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_the_length_of_the_mask_is_learnt_from_the_graph(exporter: str) -> None:
    path = next(path for path in CORPUS if path.stem == f"llama-{exporter}")
    names = {dim.dim_param for info in onnx.load(path).graph.input for dim in info.type.tensor_type.shape.dim}
    assert names & {"s89", "total"}  # the exporter leaves the equality unsaid
    graph = import_model(path)
    assert {name: str(kind) for name, kind in graph.signature.items() if ".1." not in name} == {
        "input_ids": "int64[1, seq]",
        "attention_mask": "int64[1, past + seq]",
        "position_ids": "int64[1, seq]",
        "past_key_values.0.key": "float32[1, 2, past, 8]",
        "past_key_values.0.value": "float32[1, 2, past, 8]",
        "logits": "float32[1, seq, 32]",
        "present.0.key": "float32[1, 2, past + seq, 8]",
        "present.0.value": "float32[1, 2, past + seq, 8]",
    }
    assert graph.symbols() == {"past", "seq"}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_node_names_its_origin(path: Path) -> None:
    names = {node.name for node in onnx.load(path).graph.node}
    graph = import_model(path)
    assert all(set(node.origins) <= names and node.origins for node in graph.nodes)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_shape_arithmetic_disappears(path: Path) -> None:
    proto = onnx.load(path)
    shape_nodes = sum(node.op_type in ("Shape", "ConstantOfShape", "Constant") for node in proto.graph.node)
    graph = import_model(path)
    arithmetic = [node for node in graph.nodes if node.op in ("div", "mod", "equal", "sub")]
    integer_arithmetic = [node for node in arithmetic if node.operand(0).type.dtype == "int64"]
    assert shape_nodes > 0
    assert integer_arithmetic == []
    assert len(graph) < len(proto.graph.node) - shape_nodes
