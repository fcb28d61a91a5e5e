"""`pimc verify --kv` of folders: encoders stay exact, decoders keep what their policies say, prompt and steps alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pimc
from isa import load_machine
from pimc import cli
from pimc.folder_policies import verify_folder_policies
from pimc.model_folder import load_folder
from pimc.observing import Record
from pimc.simulator import Session

FOLDERS = Path(__file__).parents[2] / "models" / "corpus" / "encoder-decoders"
BART = FOLDERS / "bart-dynamo"


@pytest.mark.parametrize(
    ("folder", "kv", "numerics"),
    [
        ("bart-dynamo", "window:sink=2,budget=12", "fp32"),
        ("bart-optimum", "h2o:budget=12,interval=3 ; none @ 1", "fp32"),
        ("whisper-torchscript", "cpq:warmup=8,tau_k=0.1", "fp32"),
        ("marian-dynamo", "topk:k=4", "machine"),
    ],
)
def test_folders_equal_the_meaning_of_their_policies(
    folder: str, kv: str, numerics: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--kv", kv, "--max-context", "48", "--numerics", numerics]
    assert cli.main(["verify", str(FOLDERS / folder), *given]) == 0
    out = capsys.readouterr().out
    assert "those of the policies' meaning in numpy" in out
    layers = "1 of 1" if "none" in kv else "2 of 2"
    assert f"the policies of {layers} layers act within these" in out
    names = {line.split()[0] for line in out.splitlines() if "/" in line.split(" ")[0]}
    assert {"prefill/logits", "decode/logits"} <= names


def test_another_policy_is_not_accepted() -> None:
    machine, record = load_machine("gddr6-aim"), Record()
    program = pimc.compile(BART, machine, max_context=48, numerics="fp32", kv="window:sink=0,budget=9")
    pimc.compiler.compile_model(BART, machine, max_context=48, observers=[record], kv="window:sink=0,budget=8")
    found = verify_folder_policies(program, Session(program, machine), load_folder(str(BART)), record.graphs)
    wrong = {each.name for each in found.outputs if not found.accepts(each)}
    assert wrong == {"prefill/logits", "decode/logits"}


def test_given_inputs_are_used() -> None:
    tokens = {"encode/input_ids": [[5, 4, 3]], "prefill/input_ids": [[2, *range(3, 14)]]}
    masks = {"encode/attention_mask": [[1, 1, 1]], "prefill/encoder_attention_mask": [[1, 1, 1]]}
    inputs = {name: np.array(rows, np.int64) for name, rows in (tokens | masks).items()}
    found = pimc.verify(BART, inputs=inputs, max_context=48, kv="window:sink=0,budget=8")
    assert found.ok
    assert found.cases == ("the given inputs",)
    assert found.notes == ("the policies of 2 of 2 layers act within these 12 tokens, from token 9 on",)
