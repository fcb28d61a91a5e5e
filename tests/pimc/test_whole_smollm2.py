"""SmolLM2-135M through the whole tool."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from isa import check_program, load_machine
from pimc.cli import main
from pimc.compiler import compile_model
from pimc.simulator import Session

pytestmark = [pytest.mark.smollm2, pytest.mark.slow]

MACHINE = load_machine("gddr6-aim")


@pytest.fixture(scope="module")
def four_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from smollm2 import write_model

    return write_model(tmp_path_factory.mktemp("smollm2-4"), layers=4)


def _run(model: Path, divisor: int, numerics: str) -> tuple[np.ndarray, int]:
    size = MACHINE.shared_buffer.capacity_bytes // divisor
    buffer = MACHINE.shared_buffer.model_copy(update={"capacity_bytes": size})
    machine = MACHINE.model_copy(update={"shared_buffer": buffer})
    session = Session(compile_model(model, machine, numerics=numerics), machine)
    logits = session.run({"input_ids": np.arange(100, 132)[None]}, ["logits"])["logits"]
    return logits, session.statistics.cycles


@pytest.mark.parametrize("numerics", ["fp32", "machine"])
def test_a_quarter_of_the_buffer_gives_the_same_outputs_in_more_cycles(four_layers: Path, numerics: str) -> None:
    whole, cycles = _run(four_layers / "model.onnx", 1, numerics)
    spilled, more_cycles = _run(four_layers / "model.onnx", 4, numerics)
    np.testing.assert_array_equal(spilled, whole)
    assert more_cycles > cycles


def test_program_is_proven_safe_and_small(smollm2: Path) -> None:
    program = compile_model(smollm2 / "model.onnx", MACHINE)
    assert check_program(program, MACHINE) == []
    assert len(program.code) < 400  # layers are rolled: thirty of them take the place of three


def test_verify_accepts_four_layers(four_layers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(four_layers / "model.onnx"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"]
    assert max(output["max_rel_error"] for output in report["outputs"]) < 1e-4


def test_generate_answers(smollm2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = "What is the capital of France?"
    assert main(["generate", str(smollm2 / "model.onnx"), "--prompt", question, "-n", "12"]) == 0
    assert "Paris" in capsys.readouterr().out
