"""Tables on narrow terminals: names of rows are broken behind punctuation, figures stay whole."""

from __future__ import annotations

import pytest

from pimc.report.terminal import Terminal

COLUMNS = ("policy", "perplexity", "KV bytes/token")
ROWS = [("window:sink=4,budget=256 + kivi:bits=4,residual=32", "12.1516", "1,536"), ("none", "11.0", "3,072")]


def printed(capsys: pytest.CaptureFixture[str], right: tuple[str, ...]) -> list[str]:
    Terminal().table("", COLUMNS, ROWS, right=right)
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("width", [52, 60, 72])
def test_names_break_behind_punctuation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    head, *lines = printed(capsys, COLUMNS[1:])
    assert max(map(len, lines)) <= width
    assert head.split() == ["policy", "perplexity", "KV", "bytes/token"]
    name = "".join(line.split("  ")[0] for line in lines[:-1])
    assert name.replace(" ", "") == ROWS[0][0].replace(" ", "")
    assert all(line.split("  ")[0].rstrip().endswith((",", "+", "=32")) for line in lines[:-1])
    assert lines[-1].split() == ["none", "11.0", "3,072"]


def test_wide_terminals_and_tables_with_prose_keep_their_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert len(printed(capsys, COLUMNS[1:])) == 3
    monkeypatch.setenv("COLUMNS", "60")
    assert printed(capsys, COLUMNS[2:])[1].startswith("window:sink=4,budget=256 +  ")


def test_names_beside_prose_break_behind_underscores(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = [("shared_buffer.write_energy_pj_per_word", "1.662125", "a source of some words " * 3)]
    Terminal().table("", ("property", "value", "source"), rows)
    _, first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("shared_buffer.write_energy_pj_  1.662125  ")
    assert second.startswith("per_word ")
