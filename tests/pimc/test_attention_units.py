"""A real model whose attention runs in crossbars, on keys and values and on X: the same up to what cells round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from isa import load_machine
from pimc import cli
from pimc.compiler import compile_model
from pimc.simulator import Session, Statistics

Array = NDArray[np.float64]
MODEL = Path(__file__).parents[2] / "models" / "tiny-shakespeare.onnx"
IN_ARRAYS = ["-m", "e2e-pim", "--units", "products=banks,attention=crossbar"]
TOKENS = np.random.default_rng(0).integers(0, 80, (1, 150))


@pytest.mark.parametrize("pipeline", ["default", "attention_on_x"])
@pytest.mark.parametrize("machine", [IN_ARRAYS, ["-m", "reram-retransformer"]], ids=["e2e-pim", "reram-retransformer"])
def test_outputs_equal_onnx_runtime(machine: list[str], pipeline: str) -> None:
    options = ["--dim", "batch=1", "--max-context", "48", "--pipeline", pipeline, "-q"]
    assert cli.main(["verify", str(MODEL), *machine, *options]) == 0


def test_a_whole_model_searches_its_keys_in_the_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through the commands: equal to the policy in numpy, and to the same search emulated in the banks."""
    logits = {}
    options = ["--dim", "batch=1", "--max-context", "200", "--kv", "cam:k=16", "--numerics", "fp32", "-m", "e2e-pim"]
    given = tmp_path / "in.npz"
    np.savez(given, input_ids=TOKENS)
    for unit in ("cam", "banks"):
        units = ["--units", f"products=banks,attention={unit}"]
        assert cli.main(["verify", str(MODEL), *options, *units]) == 0
        assert "outputs equal those of the policies' meaning in numpy" in capsys.readouterr().out
        program, out = str(tmp_path / f"{unit}.pim"), tmp_path / f"{unit}.npz"
        assert cli.main(["compile", str(MODEL), *options, *units, "-o", program]) == 0
        assert cli.main(["disasm", program]) == 0
        assert ("csearch" in capsys.readouterr().out) == (unit == "cam")
        assert cli.main(["run", program, "-i", str(given), "-o", str(out)]) == 0
        capsys.readouterr()
        logits[unit] = np.load(out)["logits"]
    np.testing.assert_allclose(logits["cam"], logits["banks"], rtol=0, atol=1e-4 * np.abs(logits["banks"]).max())


def _run(units: str, pipeline: str) -> tuple[Array, Statistics]:
    machine = load_machine("e2e-pim")
    program = compile_model(
        MODEL, machine, {"batch": 1}, 160, "machine", pipeline_text=pipeline, units=f"products=banks,attention={units}"
    )
    session = Session(program, machine)
    logits = session.run({"input_ids": TOKENS}, ["logits"])["logits"][0]
    return logits.astype(np.float64), session.statistics


@pytest.fixture(scope="module")
def in_banks() -> Array:
    return _run("banks", "default")[0]


@pytest.mark.parametrize(("pipeline", "numbers"), [("default", 2), ("attention_on_x", 1)])
def test_eight_bits_follow_the_banks_and_take_less_room(in_banks: Array, pipeline: str, numbers: int) -> None:
    """Three layers of 128 elements a token, keys and values or X, a byte each; every column is written once."""
    found, statistics = _run("crossbar", pipeline)
    assert np.abs(found - in_banks).max() < 0.1 * np.abs(in_banks).max()
    cosine = float((found * in_banks).sum() / np.linalg.norm(found) / np.linalg.norm(in_banks))
    assert 0.9995 < cosine < 1 - 1e-9
    assert statistics.cache.bytes == 150 * 3 * 128 * numbers == statistics.cache.bytes_written
    assert statistics.wear is not None
    heads = 8 if numbers == 2 else 1
    assert (statistics.wear.most_writes, statistics.wear.columns_written) == (1, 150 * 3 * heads)


def test_statistics_of_the_command_say_how_often_cells_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "x.pim")
    options = ["--dim", "batch=1", "--max-context", "48", "--pipeline", "attention_on_x", "-o", path]
    assert cli.main(["compile", str(MODEL), *IN_ARRAYS, *options]) == 0
    capsys.readouterr()
    assert cli.main(["run", path]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "columns written, none more than 1 times; they bear 100,000,000 such runs" in text


@pytest.mark.parametrize(
    ("model", "decision"),
    [
        ("corpus/llama-dynamo.onnx", "not legal: a rotary embedding stands between"),
        ("corpus/bert-dynamo.onnx", "legal, left as it is: by time; at 128 tokens keys and values take 205,607 ns"),
        ("tiny-shakespeare.onnx", "not legal: keys and values of earlier tokens are given, which"),
    ],
)
def test_machines_with_crossbars_explain_why_attention_is_not_on_x(
    model: str, decision: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["-m", "reram-retransformer", "--explain", "decompose_attention", "-o", str(tmp_path / "x.pim")]
    assert cli.main(["compile", str(MODEL.parent / model), *options]) == 0
    assert decision in " ".join(capsys.readouterr().out.split())


def test_the_times_of_the_machine_decide(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice as long a vector, twice as long an attention: 128 vectors, 129 more and a column."""
    file = tmp_path / "slow.yaml"
    file.write_text("name: slow\nextends: reram-retransformer\ncrossbar:\n  vector_cycles: 16000\n")
    model = str(MODEL.parent / "corpus" / "bert-dynamo.onnx")
    options = ["-m", str(file), "--explain", "decompose_attention", "-o", str(tmp_path / "x.pim")]
    assert cli.main(["compile", model, *options]) == 0
    assert "keys and values take 411,207 ns" in " ".join(capsys.readouterr().out.split())
