"""`pimc eval --attention-error`: what policies that select keys lose in attention, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pimc import cli

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "models" / "tiny-shakespeare.onnx"
COMMAND = ["eval", str(MODEL), "--text", str(ROOT / "models" / "shakespeare-held-out.txt"), "--window", "24"]
POLICIES = ["--limit", "1", "--contexts", "24", "--kv", "topk:k=8", "cam:k=8", "tova:budget=12"]


def test_signs_lose_more_than_the_best_scores(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Once as JSON and once, from the notes of the first run, as a table."""
    command = [*COMMAND, *POLICIES, "--attention-error", "--resume", str(tmp_path / "notes.json")]
    assert cli.main([*command, "--json"]) == 0
    plain, exact, signs, evicting = json.loads(capsys.readouterr().out)["policies"]
    assert "attention" not in plain
    assert "attention" not in evicting
    assert len(signs["attention"]["layers"]) == 3
    assert signs["attention"]["queries"] == sum(each["queries"] for each in signs["attention"]["layers"].values())
    assert exact["attention"]["recall"] == 1 > signs["attention"]["recall"]
    assert exact["attention"]["weight"] > signs["attention"]["weight"]
    assert exact["attention"]["relative_error"] < signs["attention"]["relative_error"]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    start = next(number for number, line in enumerate(lines) if "best keys found" in line)
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["topk:k=8", "cam:k=8"]
    assert f"{100 * signs['attention']['recall']:.1f} %" in lines[start + 2]


def test_without_the_option_nothing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*COMMAND, "--limit", "1", "--contexts", "24", "--kv", "cam:k=8", "--json"]) == 0
    assert all("attention" not in each for each in json.loads(capsys.readouterr().out)["policies"])
