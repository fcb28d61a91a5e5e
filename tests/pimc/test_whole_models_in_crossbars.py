"""Whole models on a machine whose banks only store: products and attention in crossbars, with keys and values or X."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

from isa import MachineError, UnsupportedError, load_machine
from pimc.compiler import compile_model
from pimc.reference import Reference
from pimc.simulator import Session
from pimc.verification import verify_program

MODELS = Path(__file__).parents[2] / "models"
RERAM = load_machine("reram-retransformer")


@pytest.mark.parametrize("pipeline", [None, "attention_on_x"])
@pytest.mark.parametrize("name", ["tiny-shakespeare", "corpus/bert-dynamo", "corpus/gpt2-torchscript"])
def test_outputs_are_those_of_onnx_runtime(name: str, pipeline: str | None) -> None:
    path = MODELS / f"{name}.onnx"
    program = compile_model(path, RERAM, {"batch": 1}, 64, "fp32", pipeline)
    used = {each.mnemonic for each in program.code}
    assert "xmvm" in used
    assert not {"mac", "kmac"} & used
    result = verify_program(program, Session(program, RERAM), Reference(path))
    assert result.ok
    assert max(output.max_rel_error for output in result.outputs) < 5e-6


def test_attention_that_arrays_cannot_hold_is_refused_with_reasons() -> None:
    with pytest.raises(UnsupportedError, match="can run on no unit of the machine") as caught:
        compile_model(MODELS / "tiny-shakespeare.onnx", RERAM, {"batch": 2})
    assert any("give --dim batch=1" in note for note in caught.value.notes)


def test_chosen_experts_are_refused() -> None:
    path = next((MODELS / "corpus").rglob("mixtral*.onnx"))
    with pytest.raises(UnsupportedError, match="products with chosen experts"):
        compile_model(path, RERAM, {"batch": 1})


def test_banks_that_only_store_run_no_products() -> None:
    aim = load_machine("gddr6-aim")
    assert aim.near_bank is not None
    stores = aim.model_copy(update={"near_bank": aim.near_bank.model_copy(update={"computes": False})})
    program = compile_model(MODELS / "tiny-shakespeare.onnx", aim, {"batch": 1})
    with pytest.raises(MachineError, match="only store: they have no mac"):
        Session(replace(program, machine_sha256=stores.sha256), stores)


@pytest.mark.parametrize("machine", ["dcim-titanus", "hbm3-attacc"])
def test_machines_without_banks_name_those_that_run_whole_models(machine: str) -> None:
    with pytest.raises(UnsupportedError, match=f"the machine '{machine}' has no near-bank memory") as caught:
        compile_model(MODELS / "tiny-shakespeare.onnx", load_machine(machine))
    assert "gddr6-aim, gddr6-aim-acc16, reram-retransformer;" in str(caught.value.help)
