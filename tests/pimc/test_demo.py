"""The demonstration of `make demo`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pimc import demo


def test_the_demonstration_says_all_it_should(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "TOKENS", 40)
    assert demo.main() == 0
    out = capsys.readouterr().out
    text = out.split("\n\n")[1]
    assert text.startswith(demo.PROMPT)
    assert len(text) == len(demo.PROMPT) + 40
    for word in ("tokens/s", "cycles", "energy", "utilisation", "peak floor", "row-cycled floor", " of 40 positions"):
        assert word in out
    assert out.endswith("the output equals ONNX Runtime's (tolerance 0.0001 in binary32)\n")


def test_the_hardwares_rounding_keeps_the_likeliest_token(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "TOKENS", 100)
    assert demo.main() == 0
    out = capsys.readouterr().out
    agreeing = int(out.split("the same at ")[1].split()[0])
    assert agreeing >= 97


def test_a_missing_model_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "MODEL", tmp_path / "no.onnx")
    assert demo.main() == 1
    assert "no.onnx is missing\nhelp: run the demonstration from a checkout" in capsys.readouterr().err
