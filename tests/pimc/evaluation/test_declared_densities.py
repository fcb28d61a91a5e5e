"""Costs without data against costs with data on another text than the densities come from, at most 5 % apart.

`python -m benchmarks.declared_densities` prints the differences of all policies on SmolLM2.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.declared_densities import POLICIES, Differences, differences, first_tokens, specification
from isa import load_machine
from passes import KvSpecification, parse_kv
from pimc.compiler import compile_model
from pimc.simulator import Session

MODELS = Path(__file__).parents[3] / "models"
CHARACTERS = MODELS / "tiny-shakespeare.onnx"
JARGON, SHAKESPEARE = MODELS / "jargon-file.txt", MODELS / "shakespeare-held-out.txt"
MACHINE = load_machine("gddr6-aim")
BOUND = 0.05


@pytest.fixture(scope="module")
def four_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from smollm2 import write_model

    return write_model(tmp_path_factory.mktemp("smollm2-4-densities"), layers=4) / "model.onnx"


def measured(model: Path, kv: KvSpecification, text: Path, tokens: int) -> Differences:
    program = compile_model(model, MACHINE, max_context=tokens, kv=kv)
    return differences(program, MACHINE, first_tokens(model, text, tokens))


def compared(model: Path, policy: str, tokens: int) -> Differences:
    """With densities of Shakespeare's plays on the Jargon File."""
    found = measured(model, specification(model, policy, SHAKESPEARE, tokens), JARGON, tokens)
    print(f"{policy}: " + ", ".join(f"{name} {100 * value:+.2f} %" for name, value in vars(found).items()))
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_densities_of_plays_hold_for_the_jargon_file(policy: str) -> None:
    found = compared(CHARACTERS, policy.replace("64", "16").replace("kivi:bits=4", "kivi:bits=4,residual=32"), 128)
    assert found.largest <= BOUND
    if not policy.startswith("cpq"):
        assert (found.bytes_moved, found.bytes_held) == (0, 0)


def test_a_wrong_density_shows() -> None:
    """What the bound is worth: half of the survivors are declared."""
    right = specification(CHARACTERS, "cpq", JARGON, 128).text
    wrong = re.sub(r"survivors=[0-9.]+", "survivors=0.33", right)
    assert wrong.count("survivors=0.33") == 3
    found = measured(CHARACTERS, parse_kv(wrong), SHAKESPEARE, 128)
    assert min(abs(found.bytes_moved), abs(found.bytes_held)) > 2 * BOUND


@pytest.mark.parametrize("policy", ["kivi:bits=4,residual=32", "h2o:budget=24", "snapkv:budget=24,window=8", "topk"])
def test_the_same_tokens_take_the_same_time(policy: str) -> None:
    """What differs above is which rows of the embedding are read, so these policies need no densities."""
    program = compile_model(CHARACTERS, MACHINE, max_context=72, kv=parse_kv(policy))
    real, without_data = Session(program, MACHINE), Session(program, MACHINE, timing_only=True)
    for token in first_tokens(CHARACTERS, SHAKESPEARE, 72):
        for session in (real, without_data):
            session.step([int(token)])
    assert without_data.total.cycles == real.total.cycles
    assert without_data.total.energy_j == pytest.approx(real.total.energy_j, rel=1e-4)


@pytest.mark.smollm2
@pytest.mark.slow
@pytest.mark.parametrize("policy", ["cpq", "kivi:bits=4,residual=32"])
def test_densities_hold_on_four_layers_of_smollm2(four_layers: Path, policy: str) -> None:
    assert compared(four_layers, policy, 160).largest <= BOUND


@pytest.mark.smollm2
@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("policy", ["cpq", "kivi:bits=4", "h2o:budget=256", "topk:k=64"])
def test_densities_hold_on_the_whole_model(smollm2: Path, policy: str) -> None:
    assert compared(smollm2 / "model.onnx", policy, 512).largest <= BOUND
