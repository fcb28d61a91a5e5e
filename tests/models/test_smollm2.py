"""SmolLM2 is read right out of its GGUF file: it answers, and equals plain numpy on the same weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy_transformers as reference
import pytest

pytest.importorskip("gguf")
pytest.importorskip("tokenizers")
onnxruntime = pytest.importorskip("onnxruntime")

import smollm2  # noqa: E402
from gguf_llama import LlamaGguf, gguf_name, halves_from_pairs  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

pytestmark = pytest.mark.smollm2


@pytest.fixture(scope="module")
def whole_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = smollm2.write_model(tmp_path_factory.mktemp("smollm2"))
    yield folder
    shutil.rmtree(folder)


def test_model_answers_in_its_chat_template(whole_model: Path) -> None:
    assert smollm2.answer(whole_model, "What is the capital of France?") == "The capital of France is Paris."


def test_model_knows_its_template_and_end_token(whole_model: Path) -> None:
    session = onnxruntime.InferenceSession(whole_model / "model.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["eos_token_id"] == "2"
    assert facts["licence"] == "apache-2.0"
    assert "<|im_start|>" in facts["chat_template"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return LlamaGguf.open(smollm2.weights_path()).tokenizer()


def test_first_layer_equals_numpy(tmp_path: Path) -> None:
    source = LlamaGguf.open(smollm2.weights_path())
    config = source.config(1)
    folder = smollm2.write_model(tmp_path, 1, "torchscript")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    ids, ones, places = np.array([[504, 3575, 282, 4649]]), np.ones((1, 4), np.int64), np.arange(4)[None]
    empty = {f"past_key_values.0.{kind}": np.zeros((1, 3, 0, 64), np.float32) for kind in ("key", "value")}
    feeds = {"input_ids": ids, "attention_mask": ones, "position_ids": places} | empty
    logits = session.run(["logits"], feeds)[0]
    expected, _ = reference.llama(config, _Checkpoint(source), reference.Call(ids, ones, places, []))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "text", ["Hello world!", "12345 apples,\n\tnaïve café — 你好 🙂", "<|im_start|>user\nHi<|im_end|>\n"]
)
def test_tokenizer_round_trips(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_tokenizer_keeps_special_tokens_whole_and_digits_apart(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("<|im_start|>2024<|im_end|>").tokens == ["<|im_start|>", "2", "0", "2", "4", "<|im_end|>"]


def test_rows_of_a_head_are_put_back_into_halves() -> None:
    rows = np.arange(12, dtype=np.float32)[:, None]
    # Two heads of 6: pairs (0, 1), (2, 3), (4, 5) become 0, 2, 4 and 1, 3, 5.
    assert halves_from_pairs(rows, 2)[:, 0].tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


class _Checkpoint(dict):
    """The GGUF's weights under checkpoint names, dequantised one by one and put into the checkpoint's row order."""

    def __init__(self, source: LlamaGguf) -> None:
        super().__init__()
        self.source = source
        self.shapes = {tensor.name: tuple(int(n) for n in reversed(tensor.shape)) for tensor in source.reader.tensors}

    def __missing__(self, name: str) -> np.ndarray:
        return self.source.weights().read(name, self.shapes[gguf_name(name)], 0.0, 1.0)
