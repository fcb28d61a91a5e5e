"""`--units` on the command line: what is chosen, why, and what it costs to write weights into arrays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pimc import cli

MODEL = Path(__file__).parents[2] / "models" / "tiny-shakespeare.onnx"


def compiled(tmp_path: Path, *options: str, machine: str = "e2e-pim") -> str:
    path = str(tmp_path / "p.pim")
    assert cli.main(["compile", str(MODEL), "-m", machine, "--dim", "batch=1", "-o", path, *options]) == 0
    return path


def test_the_choice_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compiled(tmp_path, "--units", "products=crossbar,attention=banks", "--explain", "choose_units")
    out = capsys.readouterr().out
    assert "banks: 3 cached_attention" in " ".join(out.split())
    assert "no change" not in out
    assert "as wanted" in out
    assert "groups of arrays" in out
    assert "  arrays  " in out


def test_a_run_tells_units_and_loading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = compiled(tmp_path, "--units", "products=crossbar,attention=banks")
    capsys.readouterr()
    assert cli.main(["run", path, "--timing-only"]) == 0
    out = capsys.readouterr().out
    assert "weights into arrays" in out
    assert "units  " in out
    assert "area  " in out
    assert "dequantise" not in out
    assert cli.main(["run", path, "--timing-only", "--json"]) == 0
    stats = json.loads(capsys.readouterr().out)
    assert stats["loading"]["energy_by_unit_j"]["crossbar_write"] > 0
    assert stats["energy_by_unit_j"]["crossbar_write"] == 0


def test_a_machine_without_a_choice_says_nothing_of_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = compiled(tmp_path, machine="gddr6-aim")
    assert cli.main(["run", path, "--timing-only"]) == 0
    out = capsys.readouterr().out
    assert "weights into arrays" not in out
    assert "  units  " not in out


@pytest.mark.parametrize(
    ("machine", "units", "message"),
    [
        ("gddr6-aim", "crossbar", "the machine 'gddr6-aim' has no unit 'crossbar'"),
        ("e2e-pim", "crosbar", "did you mean 'crossbar'?"),
        ("e2e-pim", "head=banks", "no block with a choice is called 'head'"),
    ],
)
def test_wrong_units_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], machine: str, units: str, message: str
) -> None:
    path = tmp_path / "p.pim"
    command = ["compile", str(MODEL), "-m", machine, "--dim", "batch=1", "-o", str(path), "--units", units]
    assert cli.main(command) == 1
    assert message in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize("command", ["compile", "verify", "generate", "eval"])
def test_every_command_says_what_does_not_run_where_it_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("All the world's a stage, and all the men and women merely players.")
    further = {
        "compile": ["-o", str(tmp_path / "p.pim")],
        "verify": ["--max-context", "40"],
        "generate": ["--prompt", "A", "-n", "1"],
        "eval": ["--text", str(text), "--window", "8", "--limit", "1", "--contexts", "8"],
    }[command]
    assert cli.main([command, str(MODEL), "-m", "e2e-pim", "--units", "attention=cam", *further]) == 0
    note = "--units: 3 blocks are not on cam: its keys are not searched by signs, as --kv cam does"
    assert capsys.readouterr().err.count(note) == 1
