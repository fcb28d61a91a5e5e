"""Encoder-decoder models in folders: one program equals the files one after the other; commands; refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pimc
from isa import InputError, Program, ResourceLimitError, check_program, load_machine, load_program
from pimc import cli
from pimc.arrays import write_arrays
from pimc.compiler import compile_model
from pimc.folder_runs import Case, seeded_runs
from pimc.folder_verification import FolderComparison
from pimc.model_folder import input_shapes, load_folder
from pimc.reference import Reference
from pimc.simulator import Session

FOLDERS = Path(__file__).parents[2] / "models" / "corpus" / "encoder-decoders"
T5 = FOLDERS / "t5-dynamo"
MACHINE = load_machine("gddr6-aim")


@pytest.fixture(scope="module")
def t5() -> Program:
    return compile_model(T5, MACHINE, numerics="fp32", max_context=64)


def compiled(path: Path, batch: int) -> Program:
    names = {
        dim for file in load_folder(path).files for shape in input_shapes(file.model.proto).values() for dim in shape
    }
    dims: dict[str, int] = {name: batch for name in ("batch", "batch_size") if name in names}
    return compile_model(path, MACHINE, dims=dims, numerics="fp32", max_context=32)


def worst_error(program: Program, path: Path, case: Case) -> float:
    comparison = FolderComparison.of(program, Session(program, MACHINE), load_folder(path))
    comparison.run(seeded_runs(program, case, np.random.default_rng(3)))
    return max(error.max_rel_error for error in comparison.errors.values())


@pytest.mark.parametrize("path", sorted(path for path in FOLDERS.iterdir()), ids=lambda path: path.name)
def test_a_folder_equals_its_files_in_turn(path: Path) -> None:
    program = compiled(path, 2)
    assert program.stages == ("encode", "prefill", "decode")
    assert worst_error(program, path, Case(9, 3, 2, padding=4)) <= 1e-4
    assert not check_program(program, MACHINE)


@pytest.mark.parametrize("family", ["bart", "t5", "whisper"])
def test_a_merged_decoder_stands_for_both(family: str, tmp_path: Path) -> None:
    for name in ("encoder.onnx", "decoder_merged.onnx"):
        shutil.copy(FOLDERS / f"{family}-optimum" / name, tmp_path)
    assert worst_error(compiled(tmp_path, 1), tmp_path, Case(5, 2, 2)) <= 1e-4


def test_names_of_files_do_not_matter(t5: Program, tmp_path: Path) -> None:
    for name, other in (("encoder", "a"), ("decoder", "c"), ("decoder_with_past", "b")):
        shutil.copy(T5 / f"{name}.onnx", tmp_path / f"{other}.onnx")
    again = compile_model(tmp_path, MACHINE, numerics="fp32", max_context=64)
    assert again.code == t5.code
    assert again.entry_facts("decode")["file"] == "b.onnx"


def test_weights_and_caches_are_held_once(t5: Program) -> None:
    alone = [
        compile_model(T5 / f"{name}.onnx", MACHINE, numerics="fp32", max_context=64)
        for name in ("encoder", "decoder", "decoder_with_past")
    ]
    encoder, decoder, _ = (program.region("weights").size for program in alone)
    assert t5.region("weights").size < encoder + decoder + 64
    assert not any(region.name == "decode.kv_cache" for region in t5.regions)
    constants = [program.region("constants").size for program in alone]
    assert t5.region("constants").size < sum(constants)


def runs_of(program: Program, case: Case) -> list[tuple[str, dict[str, Any]]]:
    return list(seeded_runs(program, case, np.random.default_rng(5)))


def test_what_is_given_counts_instead_of_what_is_left(t5: Program) -> None:
    runs = runs_of(t5, Case(7, 1, 1))
    session = Session(t5, MACHINE)
    outputs = {entry: session.run(inputs, entry=entry) for entry, inputs in runs}
    other = Session(t5, MACHINE)
    hidden = {"encoder_hidden_states": outputs["encode"]["last_hidden_state"]}
    prefill = other.run({**runs[1][1], **hidden}, entry="prefill")
    np.testing.assert_array_equal(prefill["logits"], outputs["prefill"]["logits"])
    alone = Session(t5, MACHINE)
    past = {f"past_key_values{name[7:]}": array for name, array in prefill.items() if name.startswith("present")}
    decode = alone.run({**runs[2][1], **past}, entry="decode")
    np.testing.assert_allclose(decode["logits"], outputs["decode"]["logits"], atol=1e-6)


def test_a_second_text_does_not_see_the_first(t5: Program) -> None:
    session = Session(t5, MACHINE)
    long, short = runs_of(t5, Case(30, 6, 5)), runs_of(t5, Case(3, 1, 2))
    fresh = Session(t5, MACHINE)
    for entry, inputs in long:
        session.run(inputs, entry=entry)
    for entry, inputs in short:
        found, expected = session.run(inputs, entry=entry), fresh.run(inputs, entry=entry)
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)


def test_the_session_says_what_is_missing(t5: Program) -> None:
    session = Session(t5, MACHINE)
    tokens = {"input_ids": np.array([[3]])}
    with pytest.raises(InputError, match="entry for each model"):
        session.run(tokens)
    with pytest.raises(InputError, match="run 'encode' first"):
        session.run(tokens, entry="prefill")
    with pytest.raises(InputError, match="run 'prefill' first"):
        session.step([3])
    session.run({"input_ids": np.array([[3, 4]])}, entry="encode")
    session.run(tokens, entry="prefill")
    session.run({"input_ids": np.array([[3, 4]])}, entry="encode")
    with pytest.raises(InputError, match="run 'prefill' first"):
        session.run(tokens, entry="decode")
    with pytest.raises(ResourceLimitError, match="too long"):
        session.run({"input_ids": np.ones((1, 65), int)}, entry="prefill")


@pytest.mark.parametrize("family", ["bart-dynamo", "marian-torchscript", "t5-optimum", "whisper-dynamo"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_prompt_may_be_longer_than_one_run(family: str, batch: int) -> None:
    program = compiled(FOLDERS / family, batch)
    assert worst_error(program, FOLDERS / family, Case(9, 21, 3, padding=4)) <= 1e-4


def test_a_long_prompt_is_one_step(t5: Program) -> None:
    (_, encoded), (_, prompt), (_, following) = runs_of(t5, Case(7, 40, 1))
    whole, short, timed = Session(t5, MACHINE), Session(t5, MACHINE), Session(t5, MACHINE, timing_only=True)
    for session in (whole, short, timed):
        session.run(encoded, entry="encode")
    every = whole.run(prompt, ["logits"], "prefill")["logits"]
    last = short.run(prompt, ["logits"], "prefill", last_only=True)["logits"]
    assert every.shape == (1, 40, 32)
    np.testing.assert_array_equal(last, every[:, -1:])
    assert timed.run(prompt, entry="prefill") == {}
    assert timed.statistics.cycles == whole.statistics.cycles == whole.statistics.first_cycles
    assert (whole.statistics.tokens, whole.kv_length) == (40, 40)
    assert whole.run(following, entry="decode")["present.0.decoder.key"].shape == (1, 4, 41, 8)


def test_the_command_line_takes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, arrays = tmp_path / "t5.pim", tmp_path / "out.npz"
    assert cli.main(["compile", str(T5), "-o", str(out), "--max-context", "64", "-q"]) == 0
    assert cli.main(["check", str(out)]) == 0
    assert cli.main(["run", str(out), "-o", str(arrays), "-q"]) == 0
    with np.load(arrays) as outputs:
        assert outputs["encode/last_hidden_state"].shape == (1, 16, 32)
        assert outputs["decode/present.0.decoder.key"].shape == (1, 4, 2, 8)
    inputs = tmp_path / "in.npz"
    write_arrays(inputs, {"encode/input_ids": np.array([[1, 2, 3]]), "prefill/input_ids": np.array([[0]])})
    assert cli.main(["run", str(out), "-i", str(inputs), "--entry", "prefill", "-o", str(arrays), "-q"]) == 0
    with np.load(arrays) as outputs:
        assert outputs["present.0.encoder.key"].shape == (1, 4, 3, 8)
    assert cli.main(["inspect", str(out), "--json"]) == 0
    capsys.readouterr()
    assert cli.main(["inspect", str(T5), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decode"]["file"] == "decoder_with_past.onnx"
    assert load_program(out).part("prefill").metadata["file"] == "decoder.onnx"


def test_verify_tells_equal_from_different(capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(FOLDERS / "bart-optimum")
    assert cli.main(["verify", folder, "--json", "--dim", "batch_size=2"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = {output["name"] for output in found["outputs"]}
    assert found["ok"]
    assert {"encode/last_hidden_state", "prefill/logits", "decode/logits"} <= names
    assert cli.main(["verify", folder, "--rtol", "1e-12", "-q"]) == 3


def test_python_verifies_given_inputs() -> None:
    mask = np.array([[1, 1, 1, 0]])
    inputs = {
        "encode/input_ids": np.array([[4, 5, 6, 0]]),
        "encode/attention_mask": mask,
        "prefill/input_ids": np.array([[0, 7]]),
        "prefill/encoder_attention_mask": mask,
        "decode/input_ids": np.array([[8]]),
        "decode/encoder_attention_mask": mask,
    }
    found = pimc.verify(T5, inputs=inputs, max_context=32)
    assert found.ok
    assert found.cases == ("the given inputs",)
    with pytest.raises(InputError, match="'input_ids' is not an input of an entry"):
        pimc.verify(T5, inputs={"input_ids": mask}, max_context=32)


def test_generate_writes_what_the_reference_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(T5, tmp_path, dirs_exist_ok=True)
    (tmp_path / "config.json").write_text('{"decoder_start_token_id": 2, "eos_token_id": 31}', encoding="utf-8")
    command = ["generate", str(tmp_path), "--prompt", "5 6 7", "-n", "4", "--numerics", "fp32", "--json"]
    assert cli.main([*command, "--max-context", "32"]) == 0
    tokens = json.loads(capsys.readouterr().out)["tokens"]
    assert tokens == greedy(tmp_path, [5, 6, 7], 2, 4)


def greedy(path: Path, prompt: list[int], start: int, count: int) -> list[int]:
    """What the decoder without past says when it reads all earlier tokens again and again."""
    files = {file.entry: file.model.name for file in load_folder(path).files}
    mask = {"attention_mask": np.ones((1, len(prompt)), np.int64)}
    hidden = Reference(files["encode"]).run({"input_ids": np.array([prompt]), **mask})
    decoder = Reference(files["prefill"])
    tokens = [start]
    for _ in range(count):
        given = {"encoder_attention_mask": mask["attention_mask"], "input_ids": np.array([tokens])}
        logits = decoder.run({**given, "encoder_hidden_states": hidden["last_hidden_state"]})["logits"]
        tokens.append(int(np.argmax(logits[0, -1])))
    return tokens[1:]


def test_generate_needs_something_to_encode(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", str(T5), "--max-context", "32"]) == 1
    assert "--prompt and -i" in capsys.readouterr().err
    assert cli.main(["generate", str(FOLDERS / "whisper-dynamo"), "--prompt", "1 2"]) == 4
    assert "-i" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "no ONNX files"),
        (("encoder", "decoder"), "no decoder with past"),
        (("decoder", "decoder_with_past"), "no encoder"),
        (("encoder",), "no merged decoder"),
    ],
)
def test_a_missing_file_is_named(names: tuple[str, ...], message: str, tmp_path: Path) -> None:
    for name in names:
        shutil.copy(T5 / f"{name}.onnx", tmp_path)
    with pytest.raises(InputError, match=message) as refusal:
        load_folder(tmp_path)
    listed = "\n".join(refusal.value.notes)
    assert all(f"{name}.onnx" in listed for name in names)


def test_two_files_in_one_role_are_named(tmp_path: Path) -> None:
    shutil.copytree(T5, tmp_path, dirs_exist_ok=True)
    shutil.copy(T5 / "encoder.onnx", tmp_path / "other.onnx")
    with pytest.raises(InputError, match=r"could be the encoder: encoder\.onnx, other\.onnx"):
        load_folder(tmp_path)


def test_files_of_different_models_are_refused(tmp_path: Path) -> None:
    import onnx

    shutil.copytree(T5, tmp_path, dirs_exist_ok=True)
    decoder = onnx.load(str(tmp_path / "decoder.onnx"))
    outputs = [value for value in decoder.graph.output if value.name != "present.1.encoder.key"]
    del decoder.graph.output[:]
    decoder.graph.output.extend(outputs)
    onnx.save(decoder, str(tmp_path / "decoder.onnx"))
    with pytest.raises(InputError, match="returns no keys and values for 1 cache inputs"):
        load_folder(tmp_path)


def test_a_dimension_that_no_file_has_is_refused() -> None:
    with pytest.raises(InputError, match="no file has the dimension 'rows'"):
        compile_model(T5, MACHINE, dims={"rows": 3})
