"""Perplexity of SmolLM2 on the simulator against ONNX Runtime: a few tokens always, the whole text in the soak run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pimc import cli

pytestmark = [pytest.mark.smollm2, pytest.mark.slow, pytest.mark.soak]

TEXT = Path(__file__).parents[3] / "models" / "jargon-file.txt"
TOLERANCE = {"fp32": 1e-3, "machine": 5e-3}
"""Of the perplexity, relative to ONNX Runtime's."""


@pytest.fixture(scope="module")
def four_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from smollm2 import write_model

    return write_model(tmp_path_factory.mktemp("smollm2-4"), layers=4)


def _compare(capsys: pytest.CaptureFixture[str], folder: Path, numerics: str, *arguments: str) -> int:
    """Check the perplexity and return the number of scored tokens."""
    given = ["--text", str(TEXT), "--numerics", numerics, "--reference", "--json", *arguments]
    assert cli.main(["eval", str(folder / "model.onnx"), *given]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = pytest.approx(found["reference_perplexity"], rel=TOLERANCE[numerics])
    assert found["policies"][0]["perplexity"] == expected
    return int(found["text"]["scored_tokens"])


def test_four_layers_in_binary32_give_the_perplexity_of_onnx_runtime(
    capsys: pytest.CaptureFixture[str], four_layers: Path
) -> None:
    assert _compare(capsys, four_layers, "fp32", "--window", "64", "--limit", "1") == 63


def test_rounding_as_the_machine_does_keeps_the_perplexity(capsys: pytest.CaptureFixture[str], smollm2: Path) -> None:
    """On all layers: the loss of the first four alone is so large that its exponential shows nothing."""
    assert _compare(capsys, smollm2, "machine", "--window", "64", "--limit", "1") == 63


@pytest.mark.parametrize("numerics", ["fp32", "machine"])
def test_the_whole_model_gives_the_perplexity_of_onnx_runtime(
    request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], smollm2: Path, numerics: str
) -> None:
    """2,044 tokens: some minutes of processor time, so only `make soak` takes them."""
    if request.config.getoption("--hypothesis-profile") != "soak":
        pytest.skip("the whole text takes minutes: make soak")
    assert _compare(capsys, smollm2, numerics) == 2044
