"""Bad input is refused: one screen that names place and remedy, the documented exit code, nothing written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pimc import cli

CORPUS = Path(__file__).parent.parent.parent / "models" / "corpus"
LLAMA = CORPUS / "llama-dynamo.onnx"
BERT = CORPUS / "bert-dynamo.onnx"
SCREEN_LINES = 24


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Runs a command line that must fail: checks form and that nothing appears; returns the diagnostic."""

    def check(exit_code: int, *arguments: object) -> str:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert (code, captured.out) == (exit_code, "")
        assert "error: " in captured.err
        assert "Traceback" not in captured.err
        assert 0 < len(captured.err.splitlines()) <= SCREEN_LINES
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        return captured.err

    return check


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "t.pim"
    assert cli.main(["compile", str(LLAMA), "-o", str(path), "--max-context", "48", "-q", "--json"]) == 0
    return path


@pytest.fixture(autouse=True)
def _quiet_fixture_output(capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    if "program" in request.fixturenames:
        request.getfixturevalue("program")
    capsys.readouterr()


def model_with_external_weight(folder: Path, location: str) -> Path:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [weight],
    )
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def test_a_missing_model(refused, tmp_path: Path) -> None:
    err = refused(1, "compile", tmp_path / "no.onnx", "-o", tmp_path / "t.pim")
    assert err == f"{tmp_path}/no.onnx: error: cannot read the model: No such file or directory\n"


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_a_truncated_model(refused, tmp_path: Path, keep: float) -> None:
    content = LLAMA.read_bytes()
    path = tmp_path / "m.onnx"
    path.write_bytes(content[: int(len(content) * keep)])
    err = refused(1, "compile", path, "-o", tmp_path / "t.pim")
    assert err.startswith(f"{path}: error: the file is not an ONNX model, or it is cut short\nhelp: ")


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04" + bytes(64), bytes(range(256))])
def test_a_file_that_is_no_model(refused, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    for command in ("compile", "verify", "inspect"):
        assert re.match(f"{path}: error: (the file|this) is .*not an ONNX model", refused(1, command, path))


def test_missing_external_data(refused, tmp_path: Path) -> None:
    path = model_with_external_weight(tmp_path, "weights.bin")
    err = refused(1, "compile", path, "-o", tmp_path / "t.pim")
    assert "weights.bin" in err


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret"])
def test_external_data_outside_the_folder(refused, tmp_path: Path, location: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(64))
    err = refused(1, "compile", model_with_external_weight(folder, location), "-o", tmp_path / "t.pim")
    assert location in err


def test_external_data_behind_a_link(refused, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(bytes(64))
    (folder / "weights.bin").symlink_to(tmp_path / "secret")
    err = refused(1, "compile", model_with_external_weight(folder, "weights.bin"), "-o", tmp_path / "t.pim")
    assert "weights.bin" in err


def test_all_unsupported_operators_are_reported_at_once(refused, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="first"),
        helper.make_node("NonZero", ["x"], ["b"], name="second"),
        helper.make_node("Secret", ["x"], ["c"], name="third", domain="com.example"),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "abc"]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 4])], outputs)
    path = tmp_path / "m.onnx"
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=imports).SerializeToString())
    err = refused(4, "compile", path, "-o", tmp_path / "t.pim")
    for word in ("Det", "NonZero", "Secret", "first", "second", "third"):
        assert word in err


def test_an_unknown_machine(refused, tmp_path: Path) -> None:
    err = refused(1, "compile", LLAMA, "-m", "gddr6-aix", "-o", tmp_path / "t.pim")
    assert err.startswith("error: unknown machine 'gddr6-aix'\nnote: bundled machines: ")
    assert err.endswith("help: did you mean 'gddr6-aim'?\n")


def test_an_invalid_machine_description(refused, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("name: mine\nextends: gddr6-aim\nnear_bank:\n  chanels: 4\n  rows: many\n")
    err = refused(1, "compile", LLAMA, "-m", path, "-o", tmp_path / "t.pim")
    assert f"{path}:4: near_bank.chanels" in err
    assert f"{path}:5: near_bank.rows" in err


def test_an_unknown_dimension(refused, tmp_path: Path) -> None:
    err = refused(1, "compile", LLAMA, "--dim", "bach=1", "-o", tmp_path / "t.pim")
    assert "error: the model has no dimension 'bach'" in err
    assert err.endswith("help: did you mean 'batch'?\n")


def test_two_values_for_one_dimension(refused, tmp_path: Path) -> None:
    err = refused(1, "compile", LLAMA, "--dim", "batch=1", "--dim", "batch=2", "-o", tmp_path / "t.pim")
    assert err == "error: --dim batch is 1 and 2\nhelp: give it once\n"


def test_a_machine_that_is_too_small(refused, tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("name: tiny\nextends: gddr6-aim\nnear_bank:\n  channels: 1\n  rows: 4\n")
    err = refused(6, "compile", LLAMA, "-m", path, "-o", tmp_path / "t.pim")
    assert "note: " in err


def test_an_output_that_is_a_folder(refused, tmp_path: Path) -> None:
    err = refused(1, "compile", LLAMA, "-o", tmp_path)
    assert err == f"{tmp_path}: error: is a folder\nhelp: give the name of a file in it\n"


def test_an_output_in_a_folder_that_does_not_exist(refused, tmp_path: Path) -> None:
    err = refused(1, "compile", LLAMA, "-o", tmp_path / "no" / "t.pim")
    assert "does not exist" in err


def test_inputs_that_do_not_fit(refused, tmp_path: Path, program: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, input_ids=np.zeros((2, 3), np.int64))
    err = refused(1, "run", program, "-i", path)
    assert "note: 'input_ids' has the shape [2, 3], allowed: [1, seq]" in err
    np.savez(path, input_ids=np.zeros((1, 3), np.float32))
    assert "note: 'input_ids' is float32, allowed: int64" in refused(1, "run", program, "-i", path)
    np.savez(path, tokens=np.zeros((1, 3), np.int64))
    err = refused(1, "run", program, "-i", path, "-o", tmp_path / "o.npz")
    assert "the model has no input 'tokens'" in err
    np.savez(path, input_ids=np.zeros((1, 49), np.int64))
    assert "compile with a larger --max-context" in refused(6, "run", program, "-i", path)


def test_inputs_that_are_no_npz(refused, tmp_path: Path, program: Path) -> None:
    path = tmp_path / "in.npz"
    path.write_bytes(b"nothing")
    assert refused(1, "run", program, "-i", path).startswith(f"{path}: error: not an npz file of plain arrays\n")


def test_dimensions_from_arrays_that_do_not_fit(refused, tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, input_ids=np.zeros(3, np.int64))
    err = refused(1, "compile", LLAMA, "-i", path, "-o", tmp_path / "t.pim")
    assert err == f"{path}: error: input 'input_ids' has 1 axes, the model expects 2\n"


def test_a_program_for_another_machine(refused, tmp_path: Path, program: Path) -> None:
    machine = tmp_path / "half.yaml"
    machine.write_text("name: half\nextends: gddr6-aim\nnear_bank:\n  channels: 16\n")
    err = refused(1, "run", program, "-m", machine, "-o", tmp_path / "o.npz")
    assert err.startswith("error: the program was compiled for the machine 'gddr6-aim', not for this 'half'\n")
    assert "help: " in err


@pytest.mark.parametrize("place", [0, 40, 0.5, -1])
def test_a_corrupted_program(refused, tmp_path: Path, program: Path, place: float) -> None:
    content = bytearray(program.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 0x5A
    path = tmp_path / "bad.pim"
    path.write_bytes(content)
    for command in ("run", "check", "disasm", "inspect"):
        assert refused(1, command, path).startswith(f"{path}: error: ")


def test_a_truncated_program(refused, tmp_path: Path, program: Path) -> None:
    path = tmp_path / "bad.pim"
    path.write_bytes(program.read_bytes()[:-100])
    assert refused(1, "run", path).startswith(f"{path}: error: ")


def test_a_syntax_error_in_assembly(refused, tmp_path: Path) -> None:
    path = tmp_path / "a.pimasm"
    path.write_text('.machine "gddr6-aim"\n.text\n.entry decode\n  vadd dst=0, a=, b=3\n  hlt\n')
    err = refused(1, "asm", path, "-o", tmp_path / "a.pim")
    assert f"{path}:4:" in err
    assert "^" in err
    assert f"{path}:5:" in err
    assert "did you mean 'halt'?" in err


def test_a_program_that_breaks_rules(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text, path = tmp_path / "a.pimasm", tmp_path / "a.pim"
    text.write_text('.machine "gddr6-aim"\n.text\n.entry decode\n  vadd 0, 1048576, 8, len=4\n  halt\n')
    assert cli.main(["asm", str(text), "-o", str(path)]) == 0
    capsys.readouterr()
    assert cli.main(["check", str(path)]) == 1
    assert "instruction 0: vadd" in capsys.readouterr().out


def test_a_hostile_name_does_not_drive_the_terminal(refused, tmp_path: Path) -> None:
    model = onnx.load(LLAMA)
    model.graph.node[0].op_type = "Evil\x1b[2J"
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    assert "\x1b" not in refused(4, "compile", path, "-o", tmp_path / "t.pim")


def test_refused_arrays_are_blamed_on_their_file(refused, program: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, input_ids=np.zeros((1, 3), np.float32))
    expected = f"{path}: error: 1 of the inputs cannot be used\nnote: 'input_ids' is float32, allowed: int64\n"
    assert refused(1, "run", program, "-i", path) == expected
    assert refused(1, "verify", LLAMA, "-i", path) == expected
    np.savez(path, ids=np.zeros((1, 3), np.int64))
    assert refused(1, "compile", LLAMA, "-i", path).startswith(f"{path}: error: the model has no input 'ids'\n")
    missing = "error: the program has no entry 'encode'\nnote: its entries are decode, prefill\n"
    assert refused(1, "run", program, "-i", path, "--entry", "encode") == missing
    assert refused(1, "run", program, "--entry", "encode") == missing


def test_a_batch_of_none_is_refused(refused) -> None:
    assert refused(1, "compile", LLAMA, "--dim", "batch=0").startswith(
        f"{LLAMA}: error: the first axis of 'input_ids' cannot be 0"
    )


def test_long_lines_of_diagnostics_are_clipped(refused, tmp_path: Path) -> None:
    path = tmp_path / "t.trace"
    path.write_text("Z" * 50_000)
    err = refused(1, "trace", path)
    assert max(map(len, err.splitlines())) < 2100
    assert "... (50,002 characters; -v: all)" in err
    assert len(refused(1, "trace", path, "-v")) > 50_000


def test_a_context_beyond_the_position_table_names_the_file(refused) -> None:
    assert refused(4, "compile", BERT, "--max-context", "10000") == (
        f"{BERT}: error: a context of 10000 tokens is longer than the model's position table"
        " with 64 rows\nhelp: give --max-context 64 or less; an evaluation asks for them by --contexts and --window\n"
    )


@pytest.mark.parametrize("name", [LLAMA, "README.md"])
def test_another_file_than_a_machine(refused, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    assert refused(1, "machines", name).startswith(
        f"{name}: error: this is not a machine description: the name of such a file ends in .yaml\n"
    )


def test_a_register_with_one_value_only(refused, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "b.pim"
    assert cli.main(["-q", "compile", str(BERT), "-o", str(path)]) == 0
    capsys.readouterr()
    assert refused(6, "run", path, "--timing-only", "--set", "kv_length=3") == (
        "error: the register 'kv_length' is 3\nnote: tokens in the KV cache: 0 to 0\n"
        "help: give 0: the program is made for no other value\n"
    )
