"""Comparison with ONNX Runtime: agreement of real exports, detection of errors, masks, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pimc
from isa import MissingPackageError, Port, Segment, load_machine
from pimc import cli
from pimc.model_inputs import Step, attended, step_inputs, with_defaults
from pimc.reference import Reference
from pimc.simulator import Session
from pimc.verification import OutputError, Verification, describe, output_error, seeded_cases, verify_program

ROOT = Path(__file__).parent.parent.parent
CORPUS = ROOT / "models" / "corpus"
LLAMA = CORPUS / "llama-dynamo.onnx"


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.onnx")), ids=lambda path: path.stem)
def test_exports_equal_onnx_runtime(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", str(path), "--max-context", "48", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"ok", "outputs"}
    assert found["ok"] is True
    assert [output["name"] for output in found["outputs"]] == list(Reference(path).outputs)
    for output in found["outputs"]:
        assert set(output) == {"name", "max_rel_error", "max_abs_error", "cosine"}
        assert output["max_rel_error"] < 1e-5
        assert output["cosine"] > 0.99999


def test_without_optional_passes_they_are_equal_too() -> None:
    assert cli.main(["verify", str(LLAMA), "--max-context", "48", "-O0", "-q"]) == 0


def test_the_hardwares_rounding_is_judged_by_the_cosine(capsys: pytest.CaptureFixture[str]) -> None:
    rounded = ["verify", str(LLAMA), "--max-context", "48", "--numerics", "machine"]
    assert cli.main(rounded) == 0
    out = capsys.readouterr().out
    assert "differs" not in out
    assert "outputs follow ONNX Runtime's (cosine at least 0.999)" in out
    assert cli.main([*rounded, "--rtol", "0.05"]) == 0
    assert cli.main([*rounded, "--rtol", "1e-4"]) == 3
    out = capsys.readouterr().out
    assert "differs" in out
    assert "outputs differ from ONNX Runtime's (tolerance 0.0001 of the largest magnitude)" in out


@pytest.mark.parametrize("cosine", [0.9989, float("nan")])
def test_a_cosine_below_the_bar_fails(cosine: float) -> None:
    found = Verification((OutputError("x"), OutputError("y", 1e-5, 1e-5, cosine)), None, ())
    assert not found.ok
    assert Verification(found.outputs, 1e-4, ()).ok


def test_dimensions_that_vary_independently_get_sizes_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    quantised = LLAMA.parent / "variants" / "llama-dynamo-qdq.onnx"
    assert cli.main(["verify", str(quantised), "--max-context", "48"]) == 0
    assert "ran 17 tokens (seq 18)\n" in capsys.readouterr().out


def test_a_wrong_weight_is_found() -> None:
    machine = load_machine("gddr6-aim")
    program = pimc.compile(LLAMA, machine, max_context=48, numerics="fp32")
    (weights,) = [segment for segment in program.segments if segment.region == "weights"]
    data = weights.data.copy()
    place = tuple(int(axis[0]) for axis in np.nonzero(data))
    data[place] += 1
    segments = tuple(Segment(s.region, data) if s is weights else s for s in program.segments)
    broken = replace(program, segments=segments)
    found = verify_program(broken, Session(broken, machine), Reference(LLAMA))
    assert not found.ok
    assert max(output.max_rel_error for output in found.outputs) > 1e-3


def test_given_inputs_are_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", input_ids=np.arange(6)[None], attention_mask=np.ones((1, 6), np.int64),
             position_ids=np.arange(6)[None])  # fmt: skip
    assert cli.main(["verify", str(LLAMA), "-i", str(tmp_path / "in.npz"), "-q"]) == 0


@pytest.mark.parametrize("given", [("input_ids",), ("input_ids", "attention_mask"), ("input_ids", "position_ids")])
def test_inputs_that_follow_may_be_left_out_as_in_run(tmp_path: Path, given: tuple[str, ...]) -> None:
    arrays = {
        "input_ids": np.arange(6)[None],
        "attention_mask": np.array([[0, 1, 1, 1, 1, 1]]),
        "position_ids": np.arange(3, 9)[None],
    }
    np.savez(tmp_path / "in.npz", **{name: arrays[name] for name in given})
    assert cli.main(["verify", str(LLAMA), "-i", str(tmp_path / "in.npz"), "-q", "--max-context", "48"]) == 0


def test_token_numbers_may_not_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "in.npz", attention_mask=np.ones((1, 6), np.int64))
    assert cli.main(["verify", str(LLAMA), "-i", str(tmp_path / "in.npz"), "-q", "--max-context", "48"]) == 1
    assert "'input_ids' is missing" in capsys.readouterr().err


def test_defaults_are_full_masks_running_positions_zero_types_and_an_empty_cache() -> None:
    ports = (
        Port("ids", "input", "int64", (1, "seq"), "tokens", "ids"),
        Port("mask", "input", "int64", (1, "all"), "keys", "mask"),
        Port("position_ids", "input", "int64", (1, "seq"), "tokens", "positions"),
        Port("token_type_ids", "input", "int64", (1, "seq"), "tokens", "types"),
        Port("k", "input", "float32", (1, 2, "past", 4), "past", "k"),
        Port("v", "input", "float32", (1, 2, "past", 4), "past", "v"),
        Port("features", "input", "float32", (1, 3), "once", "features"),
    )
    found = with_defaults(ports, {"ids": np.array([[7, 8]]), "k": np.ones((1, 2, 3, 4), np.float32)})
    assert {name: array.tolist() for name, array in found.items() if name not in ("k", "v")} == {
        "ids": [[7, 8]],
        "mask": [[1] * 5],
        "position_ids": [[3, 4]],
        "token_type_ids": [[0, 0]],
    }
    assert found["v"].shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("dims", "runs"),
    [
        (["past=4"], ["1 token after 4", "17 tokens after 4", "12 tokens after 4, positions 7 to 11 masked out"]),
        (["seq=3"], ["3 tokens, then 3 tokens after 3, then 3 tokens after 6"]),
        (["seq=3", "past=5"], ["3 tokens after 5"]),
    ],
)
def test_bound_lengths_are_kept_to(capsys: pytest.CaptureFixture[str], dims: list[str], runs: list[str]) -> None:
    options = [word for dim in dims for word in ("--dim", dim)]
    assert cli.main(["verify", str(LLAMA), "--max-context", "48", *options]) == 0
    out = capsys.readouterr().out
    assert all(f"  ran {line}\n" in out for line in runs)


def test_output_errors_are_relative_to_the_largest_magnitude() -> None:
    error = output_error("y", np.array([1.0, 2.0, -8.0]), np.array([1.0, 2.5, -10.0]))
    assert (error.max_abs_error, error.max_rel_error) == (2.0, 0.2)
    assert error.cosine == pytest.approx(86 / np.sqrt(69 * 107.25))
    assert output_error("y", np.zeros((0, 3)), np.zeros((0, 3))).max_abs_error == 0
    assert output_error("y", np.zeros(3), np.zeros(3)).cosine == 1.0
    broken = output_error("y", np.array([np.nan]), np.array([1.0]))
    assert not broken.max_rel_error <= 1e9
    assert not broken.worst(error).max_rel_error <= 1e9


def test_seeded_cases_stay_inside_the_context() -> None:
    for longest in (1, 7, 48):
        program = pimc.compile(LLAMA, max_context=longest)
        cases = list(seeded_cases(program))
        assert cases
        assert all(step.past + step.tokens <= longest and step.tokens > 0 for case in cases for step in case)


def test_cases_are_described() -> None:
    assert describe((Step(16), Step(1, 16))) == "16 tokens, then 1 token after 16"
    assert describe((Step(12, masked=(7, 12)),)) == "12 tokens, positions 7 to 11 masked out"


def test_masked_positions_are_left_out() -> None:
    program = pimc.compile(CORPUS / "bert-dynamo.onnx", max_context=16)
    inputs = step_inputs(program.ports, Step(6, masked=(4, 6)), np.random.default_rng(0), {})
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0]]
    (output,) = [port for port in program.ports if port.direction == "output"]
    array = np.arange(12).reshape(1, 6, 2)
    kept = array[attended(output, program.ports, inputs, array)]
    np.testing.assert_array_equal(kept, array[0, :4])


def test_onnx_runtime_is_optional(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    assert cli.main(["verify", str(LLAMA)]) == 5
    assert capsys.readouterr().err == (
        'error: comparing with ONNX Runtime needs the package onnxruntime\nhelp: pip install "pimc[verify]"\n'
    )
    with pytest.raises(MissingPackageError):
        pimc.verify(LLAMA)


def test_a_cache_of_x_is_verified_by_the_other_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    steps = "attention_on_x"
    model = str(ROOT / "models" / "tiny-shakespeare.onnx")
    assert cli.main(["verify", model, "--dim", "batch=1", "--max-context", "48", "--pipeline", steps, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [output["name"] for output in found["outputs"]] == ["logits"]
    assert found["outputs"][0]["max_rel_error"] < 1e-5
    assert cli.main(["verify", model, "--dim", "batch=1", "--max-context", "48", "--pipeline", steps]) == 0
    assert "the cache holds X" in capsys.readouterr().out
