"""MiniLM's graph equals plain numpy on the real weights, and puts like sentences close together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy_transformers as reference
import pytest

pytest.importorskip("tokenizers")
onnxruntime = pytest.importorskip("onnxruntime")

import minilm  # noqa: E402
from safetensors_file import read_safetensors  # noqa: E402

pytestmark = pytest.mark.minilm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minilm.write_model(tmp_path_factory.mktemp("minilm"), pooled=True)


def test_hidden_state_equals_numpy(folder: Path) -> None:
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.array([[101, 1037, 4937, 7126, 2015, 102], [101, 7592, 2088, 102, 0, 0]])
    padding = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]])
    feeds = {"input_ids": ids, "attention_mask": padding, "token_type_ids": np.zeros_like(ids)}
    hidden = session.run(["last_hidden_state"], feeds)[0]
    weights = read_safetensors(minilm.package_folder() / "model.safetensors")
    expected = reference.bert(minilm.read_config(), weights, ids, padding, np.zeros_like(ids))
    np.testing.assert_allclose(hidden, expected, rtol=1e-4, atol=1e-4)


def test_like_sentences_are_closer_than_unlike_ones(folder: Path) -> None:
    cat, kitten, stocks = (
        minilm.embed(folder, text)
        for text in ("A cat sleeps on the sofa.", "A kitten naps on the couch.", "Stocks fell sharply on Monday.")
    )
    assert cat @ cat == pytest.approx(1.0, abs=1e-5)
    assert cat @ kitten > 0.7
    assert abs(cat @ stocks) < 0.1


def test_default_model_has_one_output(tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(
        minilm.write_model(tmp_path) / "model.onnx", providers=["CPUExecutionProvider"]
    )
    assert [(value.name, value.shape) for value in session.get_outputs()] == [
        ("last_hidden_state", ["batch", "seq", 384])
    ]
