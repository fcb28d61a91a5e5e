"""Models are stored whole when small, beside a data file when large, and over a sparse file without weights."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import model_file
import numpy as np
import onnx
import onnxruntime
import pytest
from llama import LlamaConfig, build_llama
from model_weights import AbsentWeights, GivenWeights, RandomWeights

MODELS = Path(__file__).parents[2] / "models"


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script, *rest = arguments
    return subprocess.run([sys.executable, MODELS / script, *rest], capture_output=True, text=True, check=False)


def test_small_model_is_one_file(tmp_path: Path) -> None:
    built = build_llama(LlamaConfig(), RandomWeights(4))
    built.save(tmp_path / "small.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["small.onnx"]
    assert onnx.load(tmp_path / "small.onnx") == built.to_proto()


def test_weights_of_a_large_model_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "INLINE_MODEL_BYTES", 10_000)
    monkeypatch.setattr(model_file, "INLINE_TENSOR_BYTES", 1_000)
    built = build_llama(LlamaConfig(), RandomWeights(4))
    built.save(tmp_path / "large.onnx")
    bare = onnx.load(tmp_path / "large.onnx", load_external_data=False)
    external = {tensor.name for tensor in bare.graph.initializer if tensor.external_data}
    assert external == {weight.name for weight in built.weights if weight.size_bytes > 1_000}
    tensors = {tensor.name: tensor for tensor in onnx.load(tmp_path / "large.onnx").graph.initializer}
    for weight in built.weights:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensors[weight.name]), weight.values)
    onnxruntime.InferenceSession(tmp_path / "large.onnx", providers=["CPUExecutionProvider"])


def test_offsets_of_external_weights_are_aligned(tmp_path: Path) -> None:
    build_llama(LlamaConfig(hidden=48), AbsentWeights()).save(tmp_path / "absent.onnx")
    for tensor in onnx.load(tmp_path / "absent.onnx", load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        assert int(entries.get("offset", 0)) % model_file.ALIGNMENT_BYTES == 0


def test_seven_billion_absent_weights_cost_no_disk(tmp_path: Path) -> None:
    done = run_script("build.py", "llama", "--preset", "llama-2-7b", "--no-weights", "-o", tmp_path / "model.onnx")
    assert done.stdout.endswith(" nodes, 6738.42 M weights\n"), done.stdout + done.stderr
    data = (tmp_path / "model.onnx.data").stat()
    assert data.st_size > 4 * 6_738_000_000
    assert data.st_blocks * 512 < 1_000_000


def test_absent_weights_run_as_zeros(tmp_path: Path) -> None:
    config = LlamaConfig(layers=1, cache=False)
    build_llama(config, AbsentWeights()).save(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.array([[1, 2, 3]])
    (logits,) = session.run(
        None, {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.array([[0, 1, 2]])}
    )
    assert logits.shape == (1, 3, 256)
    assert not logits.any()


def test_absent_weights_cannot_be_serialised() -> None:
    with pytest.raises(ValueError, match=r"^weight 'model.embed_tokens.weight' has no values: save the model instead$"):
        build_llama(LlamaConfig(), AbsentWeights()).to_proto()


def test_given_weights_are_checked() -> None:
    with pytest.raises(KeyError, match=r"no weight named 'model.embed_tokens.weight'; .* shape \[256, 64\]"):
        build_llama(LlamaConfig(), GivenWeights({}))
    with pytest.raises(ValueError, match=r"has shape \[2, 3\], the configuration asks \[256, 64\]$"):
        build_llama(LlamaConfig(), GivenWeights({"model.embed_tokens.weight": np.zeros((2, 3))}))


def test_random_weights_depend_on_seed_and_name() -> None:
    first = RandomWeights(1).read("a", (3, 4), 0.0, 1.0)
    np.testing.assert_array_equal(first, RandomWeights(1).read("a", (3, 4), 0.0, 1.0))
    assert (first != RandomWeights(2).read("a", (3, 4), 0.0, 1.0)).all()
    assert (first != RandomWeights(1).read("b", (3, 4), 0.0, 1.0)).all()


def test_command_line_builds_what_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.onnx"
    shape = ["--layers", "1", "--heads", "4", "--hidden", "32", "--vocabulary", "40", "--no-cache"]
    done = run_script("build.py", "gpt2", *shape, "--spelling", "torchscript", "-o", path)
    assert done.returncode == 0, done.stderr
    model = onnx.load(path)
    assert model.opset_import[0].version == 17
    assert [value.name for value in model.graph.input] == ["input_ids", "attention_mask", "position_ids"]


def test_command_line_refuses_what_does_not_fit(tmp_path: Path) -> None:
    done = run_script("build.py", "llama", "--kv-heads", "3", "-o", tmp_path / "model.onnx")
    assert done.returncode == 2
    assert done.stderr.endswith("build.py: error: 3 key heads do not divide 4 query heads\n")


def test_command_line_explains_every_field() -> None:
    text = run_script("build.py", "llama", "--help").stdout
    assert "key and value heads; divides `heads` (default: 2)" in text


@pytest.mark.skipif(find_spec("torch") is not None, reason="the training packages are installed")
@pytest.mark.parametrize("script", ["export.py", "tiny_shakespeare.py"])
def test_training_scripts_name_the_missing_package(script: str) -> None:
    done = run_script(script)
    assert done.returncode == 5
    assert done.stderr.splitlines()[-1].startswith(f"{script}: the package '")
    assert re.search(r"is missing: pip install 'pimc\[(train|zoo)\]'\n$", done.stderr)
