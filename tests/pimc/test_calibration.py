"""`pimc calibrate` on the bundled character model: thresholds, shares, the file, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from passes import load_kv, parse_kv
from pimc import cli
from pimc.calibration.model import Elements
from pimc.calibration.pruning import pruned, record_bytes, survivors, threshold
from pimc.calibration.settings import settings_of

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "tiny-shakespeare.onnx"
TEXT = ROOT / "models" / "shakespeare-held-out.txt"


def run(path: Path, *arguments: str) -> int:
    common = ["--text", str(TEXT), "--window", "48", "--limit", "2", "-o", str(path)]
    return cli.main(["calibrate", str(MODEL), *common, *arguments])


def elements(seed: int, tokens: int = 40) -> Elements:
    random = np.random.default_rng(seed)
    return Elements(*(np.abs(random.standard_normal((tokens, width))).astype(np.float32) for width in (24, 17)))


@given(st.integers(0, 100), st.floats(0, 0.99))
def test_a_threshold_prunes_the_wanted_share(seed: int, sparsity: float) -> None:
    magnitudes = np.abs(np.random.default_rng(seed).standard_normal(997)).astype(np.float32)
    found = np.mean(magnitudes < np.float32(threshold(magnitudes, sparsity)))
    assert found == pytest.approx(sparsity, abs=2 / magnitudes.size)


def test_bytes_are_those_of_the_records() -> None:
    layer = elements(0)
    (encoding,) = pruned(settings_of(parse_kv("cpq:bits_k=3,bits_v=5"), 1), {0: layer}, 0.4).layers.values()
    keys, values = survivors(encoding, layer)
    assert keys.mean() == pytest.approx(0.6, abs=0.01)
    counts = zip(keys.sum(1), values.sum(1), strict=True)
    sizes = [sum(-(-bits // 8) for bits in (41, first + second, 3 * first + 5 * second)) for first, second in counts]
    assert record_bytes(keys, values, 3, 5) == pytest.approx(np.mean(sizes))


def test_layers_of_other_policies_keep_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.kv"
    assert run(path, "--kv", "cpq:bits_k=3 ; none @ 1 ; kivi @ 2", "--target", "sparsity=0.5", "--json") == 0
    assert [layer["layer"] for layer in json.loads(capsys.readouterr().out)["layers"]] == [0]
    policies = load_kv(f"@{path}")
    names = [[clause.policies[0].name for clause in policies.clauses if clause.covers(layer)][-1] for layer in range(3)]
    assert names == ["cpq", "none", "kivi"]


def test_the_file_is_a_specification_with_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.kv"
    assert run(path, "--kv", "cpq:warmup=16,bits_v=3", "--target", "sparsity=0.34", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    clauses = load_kv(f"@{path}").clauses
    assert path.read_text().startswith("# pimc calibrate: 34.0 % pruned, over 96 tokens of ")
    assert [clause.layers for clause in clauses] == [((0, 0),), ((1, 1),), ((2, 2),)]
    for clause, layer in zip(clauses, found["layers"], strict=True):
        (policy,) = clause.policies
        assert (policy.warmup, policy.bits_k, policy.bits_v) == (16, 4, 3)  # type: ignore[attr-defined]
        assert (policy.tau_k, policy.tau_v) == (layer["key_threshold"], layer["value_threshold"])  # type: ignore[attr-defined]
        assert policy.survivors == pytest.approx(layer["survivors"], abs=1e-4)  # type: ignore[attr-defined]
        assert layer["key_survivors"] == pytest.approx(0.66, abs=0.02)
        assert layer["value_survivors"] == pytest.approx(0.66, abs=0.02)
    policies = ["--text", str(TEXT), "--window", "40", "--limit", "1", "--kv", f"@{path}", "--json"]
    assert cli.main(["eval", str(MODEL), *policies]) == 0
    pruned = json.loads(capsys.readouterr().out)["policies"][1]
    assert pruned["kv_ratio"] > 1.5


def test_the_perplexity_grows_as_far_as_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = ("--kv", "cpq:warmup=8,bits_k=6,bits_v=6", "--numerics", "fp32")
    assert run(tmp_path / "t.kv", *policy, "--target", "perplexity=+2%", "--window", "32", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["perplexity"] <= 1.02 * found["exact_perplexity"]
    assert 0.05 < found["sparsity"] < 0.9


def test_the_table_names_every_layer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "t.kv", "--kv", "cpq", "--target", "sparsity=0") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["layer", "0", "1", "2", "all"]
    heading = "layer  keys below  values below  keys left  values left  key bits  value bits  bytes/token  ratio"
    assert lines[0] == heading
    assert lines[1].split()[1:3] == ["0", "0"]
    assert lines[-1] == f"use it with --kv @{tmp_path / 't.kv'}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kv", "kivi:bits=4", "--target", "sparsity=0.5"], "no layer prunes keys and values"),
        (
            ["--kv", "cpq:bits_k=2,bits_v=2", "--target", "perplexity=+0%"],
            "without pruning, the codes alone give a perplexity of",
        ),
        (["--kv", "cpq", "--target", "sparsity=0.5", "--bits"], "fewer bits change the perplexity, and --bits needs"),
        (["--kv", "cpq", "--target", "sparsity=0.5", "--target", "sparsity=0.4"], "a target is given twice"),
        (["--kv", "cpq", "--target", "sparsity=0.5", "--target", "perplexity=+1%"], "nothing is left to be found"),
        (["--kv", "window:budget=32", "--target", "perplexity=+1%", "--bits"], "no layer has codes whose bits"),
        (["--kv", "kivi", "--target", "sparsity=0.5", "--target", "perplexity=+1%", "--bits"], "no layer prunes"),
        (["--kv", "kivi", "--target", "perplexity=+1%", "--bits"], "of 48 tokens the policies change nothing"),
        (["--kv", "int:group=16", "--target", "perplexity=+0%", "--bits"], "the widest codes give a perplexity of"),
        (["--kv", "cpq", "--target", "sparsity=0.5", "--window", "100000"], "fewer than a window of 100000"),
    ],
)
def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run(tmp_path / "t.kv", *arguments) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "t.kv").exists()


TARGETS = ("sparsity=1", "sparsity=x", "perplexity=1", "perplexity=+x%", "perplexity=+nan%", "size=3")


@pytest.mark.parametrize("target", TARGETS)
def test_targets_of_another_form_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str) -> None:
    try:
        code = run(tmp_path / "t.kv", "--kv", "cpq", "--target", target)
    except SystemExit as stop:
        code = int(stop.code or 0)
    assert code != 0
    assert "neither sparsity=SHARE" in capsys.readouterr().err
