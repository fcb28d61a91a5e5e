"""`pimc generate --compare`: two texts side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pimc import cli
from pimc.comparison import first_difference

MODELS = Path(__file__).parents[2] / "models"
MODEL = str(MODELS / "tiny-shakespeare.onnx")
POLICY = "window:sink=2,budget=12"


def test_the_plain_side_is_what_generate_writes(capsys: pytest.CaptureFixture[str]) -> None:
    prompt = ["generate", MODEL, "--prompt", "ROMEO: ", "-n", "24", "--json"]
    assert cli.main([*prompt, "--kv", POLICY, "--compare"]) == 0
    plain, compressed = json.loads(capsys.readouterr().out)["sides"]
    for side, kv in ((plain, []), (compressed, ["--kv", POLICY])):
        assert cli.main([*prompt, *kv]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert {name: side[name] for name in alone} == alone
    assert (plain["policy"], compressed["policy"]) == ("none", POLICY)
    assert plain["first_difference"] is None
    assert compressed["first_difference"] == first_difference(plain["tokens"], compressed["tokens"])
    assert compressed["kv_bytes"] == 12 * 1536
    assert plain["kv_bytes"] == (7 + 23) * 1536


def test_texts_stand_in_labelled_lines_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", MODEL, "--prompt", "ROMEO: ", "-n", "8", "--kv", POLICY, "--compare"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("none: ")
    assert lines[1].startswith(f"{POLICY}: ")
    assert lines[3].split() == ["policy", "tokens", "tokens/s", "energy/token", "KV", "cache", "differs", "from"]
    assert lines[5].split()[:2] == [POLICY, "8"]


def test_texts_stand_in_columns_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    arguments = ["generate", MODEL, "--prompt", "ROMEO: ", "-n", "4", "--kv", POLICY, "--compare", "--color", "always"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr().out
    assert any("none" in line and POLICY in line for line in printed.splitlines())


def test_both_texts_are_shown_when_the_context_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "generate",
        MODEL,
        "--prompt",
        "ROMEO: ",
        "-n",
        "20",
        "--kv",
        POLICY,
        "--compare",
        "--max-context",
        "16",
    ]
    assert cli.main(arguments) == 6
    printed = capsys.readouterr()
    assert printed.out.startswith("none: ")
    assert "the context is too long for the program" in printed.err


def test_comparing_needs_a_policy_and_one_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", MODEL, "--prompt", "a", "--compare"]) == 1
    assert capsys.readouterr().err == "error: there is no compression to compare\nhelp: give --kv\n"
    folder = str(MODELS / "corpus" / "encoder-decoders" / "t5-dynamo")
    assert cli.main(["generate", folder, "--prompt", "1", "--kv", POLICY, "--compare"]) == 4
    assert "cannot be compared side by side" in capsys.readouterr().err


def test_the_first_difference_may_be_a_missing_token() -> None:
    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 5, 3]) == 1
    assert first_difference([1, 2, 3], [1, 2]) == 2
    assert first_difference([], []) is None
