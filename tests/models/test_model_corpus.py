"""The committed exporter graphs are sound, agree with each other, and the builders speak their dialects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from bert import BertConfig, build_bert
from gpt2 import Gpt2Config, build_gpt2
from llama import LlamaConfig, build_llama
from model_weights import RandomWeights

CORPUS = Path(__file__).parents[2] / "models" / "corpus"
FAMILIES = ("gpt2", "llama", "bert")
EXPORTERS = ("dynamo", "torchscript")
BUILDERS = {
    "gpt2": lambda spelling: build_gpt2(Gpt2Config(), RandomWeights(), spelling),
    "llama": lambda spelling: build_llama(LlamaConfig(), RandomWeights(), spelling),
    "bert": lambda spelling: build_bert(BertConfig(), RandomWeights(), spelling),
}


def load(family: str, exporter: str) -> onnx.ModelProto:
    return onnx.load(CORPUS / f"{family}-{exporter}.onnx")


def feeds_for(session: onnxruntime.InferenceSession, batch: int, length: int, past: int) -> dict[str, np.ndarray]:
    """Random ids and cache; nothing is padding."""
    rng = np.random.default_rng(past + 10 * length)
    feeds = {}
    has_cache = any(value.name.startswith("past") for value in session.get_inputs())
    past = past if has_cache else 0
    for value in session.get_inputs():
        if value.name == "attention_mask":
            feeds[value.name] = np.ones((batch, past + length), np.int64)
        elif value.name == "position_ids":
            feeds[value.name] = np.tile(np.arange(past, past + length), (batch, 1))
        elif value.name.startswith("past"):
            shape = (batch, value.shape[1], past, value.shape[3])
            feeds[value.name] = rng.standard_normal(shape).astype(np.float32)
        else:
            feeds[value.name] = rng.integers(0, 2, (batch, length))
    return feeds


@pytest.mark.parametrize("family", FAMILIES)
def test_both_exporters_wrote_the_same_model(family: str) -> None:
    sessions = [
        onnxruntime.InferenceSession(load(family, exporter).SerializeToString(), providers=["CPUExecutionProvider"])
        for exporter in EXPORTERS
    ]
    for batch, length, past in ((1, 1, 0), (1, 5, 0), (2, 1, 7), (3, 4, 2)):
        feeds = feeds_for(sessions[0], batch, length, past)
        for left, right in zip(*(session.run(None, feeds) for session in sessions), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_exported_graph_is_valid_and_small(family: str, exporter: str) -> None:
    model = load(family, exporter)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == {"dynamo": 20, "torchscript": 17}[exporter]
    assert model.ByteSize() <= 200_000


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_builder_uses_the_operators_that_the_exporter_uses(family: str, exporter: str) -> None:
    exported = {node.op_type for node in load(family, exporter).graph.node}
    built = {node.op_type for node in BUILDERS[family](exporter).skeleton.graph.node}
    assert built == exported


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_exported_decoder_has_the_names_of_the_built_one(family: str, exporter: str) -> None:
    exported, built = load(family, exporter).graph, BUILDERS[family](exporter).skeleton.graph
    assert [value.name for value in exported.input] == [value.name for value in built.input]
    assert [value.name for value in exported.output] == [value.name for value in built.output]


def test_exported_graphs_hold_no_source_lines() -> None:
    for path in CORPUS.glob("*.onnx"):
        content = path.read_bytes()
        assert b"stack_trace" not in content
        assert b".py" not in content.replace(b".pytorch_utils", b""), path.name
