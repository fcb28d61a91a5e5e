"""`pimc run` with a command log, a trace, and the two accountings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pimc.cli import main

CORPUS = Path(__file__).parents[2] / "models" / "corpus"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("program") / "t.pim"
    assert main(["compile", str(CORPUS / "llama-dynamo.onnx"), "-o", str(path), "--max-context", "48", "-q"]) == 0
    return str(path)


def stats(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["--json", "run", *arguments]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_log_and_trace_of_a_decode_step(program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, trace = tmp_path / "commands.csv", tmp_path / "t.perfetto"
    step = (program, "--entry", "decode", "--set", "kv_length=9")
    recorded = stats(capsys, *step, "--log", str(log), "--trace", str(trace))
    assert recorded == stats(capsys, *step)
    lines = log.read_text().splitlines()
    commands = recorded["commands"]
    assert isinstance(commands, dict)
    assert len(lines) - 1 == sum(commands.values())
    assert lines[0] == "cycle,channel,command,bank_group,bank,row,column,node"
    assert b"gddr6-aim, 1 ns stands for a cycle of 0.5 ns" in trace.read_bytes()


def test_log_and_trace_of_a_run_on_inputs_hold_every_chunk(program: str, tmp_path: Path) -> None:
    log = tmp_path / "commands.csv"
    assert main(["run", program, "--timing-only", "--log", str(log), "-q"]) == 0
    cycles = [int(line.split(",")[0]) for line in log.read_text().splitlines()[1:]]
    assert cycles == sorted(cycles)


def test_accounting_is_named_and_charged(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    step = (program, "--entry", "decode", "--set", "kv_length=9")
    faithful, paper = (stats(capsys, *step, "--accounting", name) for name in ("faithful", "paper"))
    assert faithful["cycles"] == paper["cycles"]
    assert isinstance(faithful["energy_j"], float)
    assert isinstance(paper["energy_j"], float)
    assert faithful["energy_j"] > paper["energy_j"]
    assert main(["run", *step, "--accounting", "paper"]) == 0
    assert "(paper accounting)" in capsys.readouterr().out


def test_a_log_that_cannot_be_written_is_refused_first(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", program, "--log", "/nowhere/c.csv"]) == 1
    assert "/nowhere/c.csv" in capsys.readouterr().err
