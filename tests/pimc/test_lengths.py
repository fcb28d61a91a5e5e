"""One program for every KV length: against ONNX Runtime, below, at and above every border of the layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gpt2 import Gpt2Config, build_gpt2
from llama import LlamaConfig, build_llama
from model_file import BuiltModel
from model_weights import RandomWeights

from isa import load_machine
from pimc.compiler import compile_model
from pimc.simulator import Session

ort = pytest.importorskip("onnxruntime")

MACHINE = load_machine("gddr6-aim")
LENGTHS = (0, 1, 15, 16, 17, 100, 1000)
BORDERS = (159, 160, 161, 255, 256, 257, 511, 512, 513)
"""Token counts around what a slot holds with ten, sixteen and thirty-two channels a group."""

MODELS: dict[str, Callable[[], BuiltModel]] = {
    "llama": lambda: build_llama(LlamaConfig(kv_heads=1, heads=3), RandomWeights(1)),
    "llama, three key heads": lambda: build_llama(LlamaConfig(heads=9, kv_heads=3, hidden=144), RandomWeights(2)),
    "window of 24": lambda: build_llama(LlamaConfig(window=24), RandomWeights(3)),
    "window of 700": lambda: build_llama(LlamaConfig(window=700), RandomWeights(4), "torchscript"),
    "gpt2": lambda: build_gpt2(Gpt2Config(positions=1100), RandomWeights(5), "torchscript"),
}


class _Pair:
    """A program and its reference."""

    def __init__(self, model: BuiltModel, folder: Path) -> None:
        path = folder / "model.onnx"
        model.save(path)
        self.reference = ort.InferenceSession(str(path))
        self.session = Session(compile_model(path, MACHINE, max_context=1100, numerics="fp32"), MACHINE)
        self.random = np.random.default_rng(0)

    def inputs(self, past: int, tokens: int) -> dict[str, np.ndarray]:
        arrays = {
            "input_ids": self.random.integers(0, 200, (1, tokens)),
            "attention_mask": np.ones((1, past + tokens), np.int64),
            "position_ids": np.arange(past, past + tokens)[None],
        }
        for value in self.reference.get_inputs():
            if value.name.startswith("past"):
                shape = (1, value.shape[1], past, value.shape[3])
                arrays[value.name] = self.random.standard_normal(shape).astype(np.float32)
        return {value.name: arrays[value.name] for value in self.reference.get_inputs()}

    def error(self, inputs: dict[str, np.ndarray]) -> float:
        expected = self.reference.run(None, inputs)
        found = self.session.run(inputs)
        names = [value.name for value in self.reference.get_outputs()]
        return max(
            float(np.abs(found[name] - want).max() / np.abs(want).max())
            for name, want in zip(names, expected, strict=True)
        )


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> _Pair:
    return _Pair(MODELS[request.param](), tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("past", LENGTHS + BORDERS)
def test_one_token_after_any_length(pair: _Pair, past: int) -> None:
    assert pair.error(pair.inputs(past, 1)) < 1e-4


@pytest.mark.parametrize(("past", "tokens"), [(0, 5), (0, 40), (15, 3), (90, 33), (1000, 20)])
def test_several_tokens_after_any_length(pair: _Pair, past: int, tokens: int) -> None:
    assert pair.error(pair.inputs(past, tokens)) < 1e-4


def test_prompt_in_two_chunks_equals_the_prompt_in_one(pair: _Pair) -> None:
    inputs = pair.inputs(0, 45)
    whole = pair.reference.run(["logits"], inputs)[0]
    pair.session.reset()
    ids = inputs["input_ids"]
    parts = [pair.session.run({"input_ids": part}, ["logits"])["logits"] for part in (ids[:, :19], ids[:, 19:])]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize("past", [1, 30, 800])
def test_masked_positions_count_for_nothing(pair: _Pair, past: int) -> None:
    inputs = pair.inputs(past, 3)
    inputs["attention_mask"][0, : past // 2 + 1] = 0
    inputs["attention_mask"][0, past - 1] = 1
    assert pair.error(inputs) < 1e-4
