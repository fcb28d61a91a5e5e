"""Bits of codes that `pimc calibrate --bits` finds: the search on perplexities that are known, and on a model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passes import load_kv, parse_kv
from pimc import cli
from pimc.calibration.settings import Settings, settings_of
from pimc.calibration.widths import Part, narrowest, parts_of, search_runs, widest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models" / "tiny-shakespeare.onnx"
TEXT, OTHER = ROOT / "models" / "shakespeare-held-out.txt", ROOT / "models" / "jargon-file.txt"


class KnownPerplexity:
    """Grows by d 4^(2 - bits) with the codes of every part, as the search takes it to."""

    def __init__(self, costs: list[float]) -> None:
        self.costs, self.runs = costs, 0

    def __call__(self, settings: Settings) -> float:
        self.runs += 1
        bits = [number for each in settings.layers.values() for number in (each.key_bits, each.value_bits)]
        return 10 * math.exp(sum(cost * 4.0 ** (2 - number) for cost, number in zip(self.costs, bits, strict=True)))


def size(settings: Settings, codes: dict[int, tuple[float, float]]) -> float:
    return sum(
        keys * settings.layers[layer].key_bits + values * settings.layers[layer].value_bits
        for layer, (keys, values) in codes.items()
    )


def width(settings: Settings, part: Part) -> int:
    encoding = settings.layers[part.layer]
    return encoding.key_bits if part.parameter == "bits_k" else encoding.value_bits


@given(
    st.lists(st.floats(1e-4, 0.5), min_size=6, max_size=6),
    st.lists(st.floats(16, 64), min_size=6, max_size=6),
    st.floats(1e-3, 0.3),
)
def test_no_single_change_saves_more(costs: list[float], counts: list[float], growth: float) -> None:
    """The bound holds, and the cheapest step that is left would break it; evaluations are as few as announced."""
    evaluate = KnownPerplexity(costs)
    codes = {layer: (counts[2 * layer], counts[2 * layer + 1]) for layer in range(3)}
    start = widest(settings_of(parse_kv("cpq:bits_k=3"), 3))
    parts, perplexity = parts_of(start, codes), evaluate(start)
    evaluate.runs, highest = 0, max(perplexity, 10 * (1 + growth))
    found, reached = narrowest(start, parts, evaluate, perplexity, highest)
    assert evaluate.runs <= search_runs(parts)
    assert reached == evaluate(found) <= highest
    narrower = [
        found.with_values(part.layer, {part.parameter: bits - 1}) for part in parts if (bits := width(found, part)) > 2
    ]
    rates = [(evaluate(each) / reached - 1) / (size(found, codes) - size(each, codes)) for each in narrower]
    if narrower:
        assert evaluate(narrower[rates.index(min(rates))]) > highest * (1 - 1e-9)


def test_dear_parts_keep_more_bits() -> None:
    evaluate = KnownPerplexity([0.4, 0.001, 0.005, 0.005])
    start = widest(settings_of(parse_kv("cpq"), 2))
    parts = parts_of(start, {0: (64, 64), 1: (64, 64)})
    found, _ = narrowest(start, parts, evaluate, evaluate(start), 10.2)
    assert [(each.key_bits, each.value_bits) for each in found.layers.values()] == [(5, 2), (2, 2)]


def calibrated(path: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    common = ["--text", str(TEXT), "--window", "48", "--limit", "1", "-o", str(path), "--json", "--bits"]
    assert cli.main(["calibrate", str(MODEL), *common, *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    growth = float(next(word for word in arguments if word.startswith("perplexity=+"))[len("perplexity=+") : -1]) / 100
    assert found["perplexity"] <= (1 + growth) * found["exact_perplexity"]
    return found


@pytest.mark.parametrize("targets", [["perplexity=+2%"], ["perplexity=+8%", "sparsity=0.3"]])
def test_keys_and_values_have_bits_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], targets: list[str]
) -> None:
    """What is found stands in the file, stores less than four bits do, and holds on another text."""
    path = tmp_path / "t.kv"
    words = [word for target in targets for word in ("--target", target)]
    found = calibrated(path, capsys, "--kv", "cpq:warmup=8", *words)
    assert found["sparsity"] == 0.3 or len(targets) == 1
    bits = [(layer["key_bits"], layer["value_bits"]) for layer in found["layers"]]
    policies = [clause.policies[0] for clause in load_kv(f"@{path}").clauses]
    assert [(policy.bits_k, policy.bits_v) for policy in policies] == bits  # type: ignore[attr-defined]
    assert len(set(bits)) > 1
    assert all(2 <= number <= 8 for pair in bits for number in pair)
    assert sum(map(sum, bits)) / 6 < 4
    common = ["eval", str(MODEL), "--text", str(OTHER), "--window", "48", "--limit", "1", "--json", "--kv"]
    assert cli.main([*common, "cpq:warmup=8", f"@{path}"]) == 0
    _, four_bits, calibrated_bits = json.loads(capsys.readouterr().out)["policies"]
    assert calibrated_bits["kv_bytes_per_token"] < four_bits["kv_bytes_per_token"]
    assert calibrated_bits["perplexity_change"] < 0.2


@pytest.mark.parametrize("policy", ["kivi:group=16,residual=16", "window:sink=4,budget=40 + int:group=16"])
def test_codes_of_other_policies_have_bits_too(tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str) -> None:
    path = tmp_path / "t.kv"
    found = calibrated(path, capsys, "--kv", policy, "--target", "perplexity=+2%")
    assert found["sparsity"] is None
    clauses = load_kv(f"@{path}").clauses
    names = [each.partition(":")[0] for each in policy.split(" + ")]
    assert all([each.name for each in clause.policies] == names for clause in clauses)
    bits = [layer["key_bits"] for layer in found["layers"]]
    assert set(bits) <= {2, 4, 8}
    assert min(bits) < 8
    assert [clause.policies[-1].bits for clause in clauses] == bits  # type: ignore[attr-defined]
    assert all(clause.policies[-1].value_bits in (2, 4, 8) for clause in clauses)  # type: ignore[attr-defined]
