"""The committed language model is what its metadata says: a real GPT-2 that beats trigrams on unseen text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from gpt2 import Gpt2Config, build_gpt2
from model_weights import GivenWeights

tokenizers = pytest.importorskip("tokenizers")

from shakespeare_text import build_tokenizer, clean, encode_works, load_corpus  # noqa: E402

MODELS = Path(__file__).parents[2] / "models"
PATH = MODELS / "tiny-shakespeare.onnx"
CONFIG = Gpt2Config(vocabulary=86, positions=512, hidden=128, layers=3, heads=4)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(PATH, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def tokenizer() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(MODELS / "tokenizer.json"))


@pytest.fixture(scope="module")
def held_out() -> str:
    return (MODELS / "shakespeare-held-out.txt").read_text(encoding="ascii")


def run(session: onnxruntime.InferenceSession, ids: np.ndarray, past: list[np.ndarray] | None = None) -> list:
    """Runs ids `[b, s]` after the past, or at the start."""
    batch, length = ids.shape
    past = past or [np.zeros((batch, 4, 0, 32), np.float32)] * 6
    before = past[0].shape[2]
    names = [value.name for value in session.get_inputs() if value.name.startswith("past")]
    feeds = {
        "input_ids": ids,
        "attention_mask": np.ones((batch, before + length), np.int64),
        "position_ids": np.tile(np.arange(before, before + length), (batch, 1)),
    }
    return session.run(None, feeds | dict(zip(names, past, strict=True)))


def test_model_is_one_small_file_of_the_dynamo_exporter() -> None:
    model = onnx.load(PATH, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert PATH.stat().st_size <= 3_000_000
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert (model.producer_name, model.opset_import[0].version) == ("pytorch", 20)


def test_interface(session: onnxruntime.InferenceSession) -> None:
    inputs = {value.name: value.shape for value in session.get_inputs()}
    assert inputs.pop("input_ids") == ["batch", "seq"]
    assert inputs.pop("position_ids") == ["batch", "seq"]
    assert inputs.pop("attention_mask")[0] == "batch"
    assert list(inputs) == [f"past_key_values.{layer}.{kind}" for layer in range(3) for kind in ("key", "value")]
    assert all(shape == ["batch", 4, "past", 32] for shape in inputs.values())
    outputs = {value.name: value.shape for value in session.get_outputs()}
    assert outputs.pop("logits") == ["batch", "seq", 86]
    assert list(outputs) == [f"present.{layer}.{kind}" for layer in range(3) for kind in ("key", "value")]


def test_metadata_tells_origin_and_losses(session: onnxruntime.InferenceSession) -> None:
    facts = session.get_modelmeta().custom_metadata_map
    assert "shakespeare==0.6" in facts["source"]
    assert "public domain" in facts["licence"]
    assert facts["seed"] == "1"
    model, trigram = (float(facts[f"held_out_{kind}loss_nats_per_character"]) for kind in ("", "trigram_"))
    assert model <= trigram - 0.2


def test_unseen_text_is_predicted_better_than_by_trigrams(
    session: onnxruntime.InferenceSession, tokenizer: tokenizers.Tokenizer, held_out: str
) -> None:
    windows = 16
    ids = np.array(tokenizer.encode(held_out).ids[: windows * 512 + 1])
    inputs, targets = ids[:-1].reshape(windows, 512), ids[1:].reshape(windows, 512)
    logits = run(session, inputs)[0].astype(np.float64)
    normaliser = np.log(np.exp(logits).sum(axis=-1))
    loss = (normaliser - np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]).mean()
    facts = session.get_modelmeta().custom_metadata_map
    assert loss <= float(facts["held_out_trigram_loss_nats_per_character"]) - 0.2
    assert loss == pytest.approx(float(facts["held_out_loss_nats_per_character"]), abs=0.15)


def test_steps_over_the_cache_equal_one_prefill(session: onnxruntime.InferenceSession) -> None:
    ids = np.random.default_rng(0).integers(2, 86, (2, 8))
    whole = run(session, ids)[0]
    logits, *past = run(session, ids[:, :5])
    np.testing.assert_allclose(logits, whole[:, :5], atol=1e-4)
    for place in range(5, 8):
        logits, *past = run(session, ids[:, place : place + 1], past)
        np.testing.assert_allclose(logits[:, 0], whole[:, place], atol=1e-4)


@pytest.mark.parametrize("spelling", ["dynamo", "torchscript"])
def test_gpt2_builder_rebuilds_the_export(session: onnxruntime.InferenceSession, spelling: str) -> None:
    tensors = {
        tensor.name.removeprefix("model."): onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(PATH).graph.initializer
    }
    tensors["transformer.wte.weight"] = tensors["lm_head.weight"]
    built = build_gpt2(CONFIG, GivenWeights(tensors), spelling).to_proto()
    rebuilt = onnxruntime.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(1).integers(2, 86, (2, 6))
    for left, right in zip(run(session, ids), run(rebuilt, ids), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)


def test_tokenizer_round_trips_the_text(tokenizer: tokenizers.Tokenizer, held_out: str) -> None:
    ids = tokenizer.encode(held_out).ids
    assert len(ids) == len(held_out)
    assert tokenizer.decode(ids) == held_out
    assert tokenizer.get_vocab_size() == 86


def test_characters_outside_the_text_become_unknown(tokenizer: tokenizers.Tokenizer) -> None:
    assert tokenizer.encode("a~b").tokens == ["a", "<unk>", "b"]
    assert tokenizer.encode("<|endoftext|>ACT I.").ids[0] == 0


def test_text_is_cleaned_split_and_joined(tmp_path: Path) -> None:
    assert clean("\r\nOne  \r\n\n\n\n\tTwo") == "One\n\n        Two\n"
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    corpus = load_corpus(path)
    assert corpus.training["lines"] + corpus.held_out["lines"] == path.read_text()
    assert corpus.held_out["lines"].count("\n") == 4
    tokenizer = build_tokenizer(corpus)
    ids = encode_works(tokenizer, {"b": "1\n", "a": "2"})
    assert [tokenizer.id_to_token(index) for index in ids] == [
        "<|endoftext|>", "2", "<|endoftext|>", "1", "\n", "<|endoftext|>"
    ]  # fmt: skip
