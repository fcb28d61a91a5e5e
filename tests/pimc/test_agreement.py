"""Machine numerics against ONNX Runtime: the token that each position predicts, over real text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isa import load_machine
from pimc.compiler import compile_model
from pimc.simulator import Session

ort = pytest.importorskip("onnxruntime")
tokenizers = pytest.importorskip("tokenizers")

MACHINE = load_machine("gddr6-aim")
MODELS = Path(__file__).parents[2] / "models"
TOKENS = 256


def _agreement(model: Path, text: str, context: int) -> tuple[float, np.ndarray, np.ndarray]:
    """(share of equal predictions, top-2 gaps where they differ, logit errors there)."""
    ids = np.array(tokenizers.Tokenizer.from_file(str(model.parent / "tokenizer.json")).encode(text).ids[:TOKENS])
    assert ids.size == TOKENS
    reference = ort.InferenceSession(str(model))
    feeds = {"input_ids": ids[None], "attention_mask": np.ones_like(ids)[None], "position_ids": np.arange(TOKENS)[None]}
    feeds = {value.name: feeds[value.name] for value in reference.get_inputs() if value.name in feeds}
    for value in reference.get_inputs():
        if value.name.startswith("past"):
            feeds[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
    expected = reference.run(["logits"], feeds)[0][0]
    session = Session(compile_model(model, MACHINE, max_context=context), MACHINE)
    found = session.run({"input_ids": ids[None]}, ["logits"])["logits"][0]
    differs = found.argmax(-1) != expected.argmax(-1)
    top = np.sort(expected, axis=-1)
    gaps, errors = top[:, -1] - top[:, -2], np.abs(found - expected).max(axis=-1)
    return 1 - float(differs.mean()), gaps[differs], errors[differs]


def test_tiny_shakespeare_predicts_the_same_tokens() -> None:
    text = (MODELS / "shakespeare-held-out.txt").read_text()[2000:4000]
    share, gaps, errors = _agreement(MODELS / "tiny-shakespeare.onnx", text, 256)
    assert share >= 0.97
    assert (gaps < errors).all()


@pytest.mark.smollm2
@pytest.mark.slow
def test_smollm2_predicts_the_same_tokens(smollm2: Path) -> None:
    text = (MODELS / "shakespeare-held-out.txt").read_text()[2000:4000]
    share, gaps, errors = _agreement(smollm2 / "model.onnx", text, 512)
    assert share >= 0.97
    assert (gaps < errors).all()


@pytest.mark.minilm
def test_minilm_embeds_the_same(tmp_path: Path) -> None:
    from minilm import write_model

    folder = write_model(tmp_path)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference = ort.InferenceSession(str(folder / "model.onnx"))
    session = Session(compile_model(folder / "model.onnx", MACHINE, max_context=64), MACHINE)
    for text in ("A cat sleeps on the sofa.", "Rows are opened, swept and closed before the next ones."):
        ids = np.array([tokenizer.encode(text).ids])
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        expected = reference.run(["last_hidden_state"], feeds)[0][0].mean(axis=0)
        found = session.run(feeds)["last_hidden_state"][0].mean(axis=0)
        cosine = found @ expected / (np.linalg.norm(found) * np.linalg.norm(expected))
        assert cosine >= 0.999
