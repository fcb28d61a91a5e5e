"""Files of the wrong kind are named for what they are, with the command that takes them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

import isa
from pimc import cli
from pimc.file_kinds import FileKind, kind_of

MODEL = Path(__file__).parent.parent.parent / "models" / "corpus" / "llama-dynamo.onnx"
TEXT = '; a comment\n.machine "gddr6-aim"\n.text\n.entry decode\n  halt\n'


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / name for name in ("a.pim", "a.pimasm", "text", "a.yaml", "a.npz", "empty", "notes.md")}
    isa.save_program(isa.assemble(TEXT), paths["a.pim"])
    paths["a.pimasm"].write_text("halt\n")
    paths["text"].write_text(TEXT)
    paths["a.yaml"].write_text("name: a\nextends: gddr6-aim\n")
    np.savez(paths["a.npz"], x=np.zeros(1))
    paths["empty"].write_bytes(b"")
    paths["notes.md"].write_text("# Notes\n")
    return paths | {"model": MODEL}


def test_kinds_are_known_by_their_first_bytes(files: dict[str, Path]) -> None:
    assert {name: kind_of(path) for name, path in files.items()} == {
        "model": FileKind.MODEL,
        "a.pim": FileKind.PROGRAM,
        "a.pimasm": FileKind.ASSEMBLY,
        "text": FileKind.ASSEMBLY,
        "a.yaml": FileKind.MACHINE,
        "a.npz": FileKind.ARRAYS,
        "empty": None,
        "notes.md": None,
    }
    assert kind_of(files["a.pim"].with_name("absent.pim")) is None


@pytest.mark.parametrize(
    ("command", "name", "message", "help"),
    [
        ("run", "model", "this is an ONNX model, not a program", "compile it first: pimc compile {}"),
        ("check", "model", "this is an ONNX model, not a program", "compile it first: pimc compile {}"),
        ("disasm", "text", "this is assembly text, not a program", "assemble it first: pimc asm {}"),
        ("run", "a.npz", "this is an npz file of arrays, not a program", ""),
        ("run", "notes.md", "this is not a program", "pimc compile and pimc asm write programs (.pim)"),
        ("trace", "a.pim", "this is a program, not a trace", "pimc disasm --format aim-isr {} writes one"),
        ("trace", "a.npz", "this is an npz file of arrays, not a trace", ""),
        ("compile", "a.pim", "this is a program, not an ONNX model", "pimc run {} runs it"),
        ("verify", "a.pim", "this is a program, not an ONNX model", "pimc run {} runs it"),
        ("generate --prompt x", "a.pim", "this is a program, not an ONNX model", "pimc run {} runs it"),
        ("compile", "text", "this is assembly text, not an ONNX model", "pimc asm {} makes a program of it"),
        ("asm", "a.pim", "this is a program, not assembly text", "pimc disasm {} prints it as text"),
        ("asm", "model", "this is an ONNX model, not assembly text", "pimc compile {} --emit asm prints its program"),
        ("inspect", "a.npz", "expected a model, a program or a machine; this is an npz file of arrays", None),
        ("inspect", "text", "expected a model, a program or a machine; this is assembly text", None),
        ("inspect", "notes.md", "expected a model, a program or a machine; this is nothing of that", None),
    ],
)
def test_a_command_names_the_kind(
    capsys: pytest.CaptureFixture[str], files: dict[str, Path], command: str, name: str, message: str, help: str | None
) -> None:
    name_of_command, *options = command.split()
    assert cli.main([name_of_command, str(files[name]), *options]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"{files[name]}: error: {message}"
    if help is not None:
        assert lines[1:] == ([f"help: {help.format(files[name])}"] if help else [])


def test_inspect_of_a_missing_file_speaks_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "absent"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: there is no file and no machine 'absent'"
    assert lines[1].startswith("note: bundled machines: ")
    assert cli.main(["inspect", "absent.pim"]) == 1
    assert capsys.readouterr().err == "absent.pim: error: cannot read the file: No such file or directory\n"


@pytest.mark.parametrize(("name", "start"), [("model", "  "), ("a.pim", "  machine "), ("a.yaml", "")])
def test_inspect_goes_by_content(
    capsys: pytest.CaptureFixture[str], files: dict[str, Path], tmp_path: Path, name: str, start: str
) -> None:
    path = files[name]
    if name != "a.yaml":
        path = tmp_path / "renamed"
        path.write_bytes(files[name].read_bytes())
    assert cli.main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out.startswith(start)


def test_one_entry_is_printed_but_not_written(
    capsys: pytest.CaptureFixture[str], files: dict[str, Path], tmp_path: Path
) -> None:
    assert cli.main(["disasm", str(files["a.pim"]), "--entry", "decode"]) == 0
    assert "  halt\n" in capsys.readouterr().out
    target = tmp_path / "entry.pimasm"
    assert cli.main(["disasm", str(files["a.pim"]), "--entry", "decode", "-o", str(target)]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: one entry alone is no program, so no text of it is written",
        "help: leave --entry out, or -o: pimc disasm P.pim --entry NAME > FILE writes it for reading",
    ]
    assert not target.exists()


def test_a_folder_is_no_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err == f"{tmp_path}: error: this is a folder, not a program\n"
        "help: give the name of a file in it\n"
    )
    (tmp_path / "encoder.onnx").write_bytes(b"")
    assert cli.main(["check", str(tmp_path)]) == 1
    assert f"help: compile it first: pimc compile {tmp_path}\n" in capsys.readouterr().err


def test_binary_traces_are_refused_unless_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.trace"
    path.write_bytes(b"AiM EOC\0" + bytes(range(256)) * 40)
    assert cli.main(["trace", str(path)]) == 1
    assert capsys.readouterr().err == f"{path}: error: this is a binary file, not a trace\n"
    path.write_bytes(gzip.compress(b"AiM EOC\n"))
    assert cli.main(["trace", str(path), "-q"]) == 0
