"""Models whose products with constants run in crossbars, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from isa import Machine, ResourceLimitError, load_machine
from pimc import api
from pimc.compiler import compile_model
from pimc.simulator import Session

MODELS = Path(__file__).parents[3] / "models"
E2E = load_machine("e2e-pim")


def small(groups: int = 1024, array_rows: int = 16) -> Machine:
    """The machine with smaller groups, so that small models take several."""
    assert E2E.crossbar is not None
    sizes = {
        "groups": groups,
        "group_rows": 2,
        "group_columns": 3,
        "array_rows": array_rows,
        "array_columns": array_rows,
    }
    return E2E.model_copy(update={"crossbar": E2E.crossbar.model_copy(update=sizes)})


@pytest.mark.parametrize("units", ["crossbar", "products=crossbar,attention=banks", "cost"])
@pytest.mark.parametrize("name", ["llama-dynamo", "bert-dynamo", "gpt2-torchscript"])
def test_outputs_are_those_of_onnx_runtime(name: str, units: str) -> None:
    result = api.verify(MODELS / "corpus" / f"{name}.onnx", E2E, {"batch": 1}, units=units)
    assert result.ok
    assert max(output.max_rel_error for output in result.outputs) < 5e-6


@pytest.mark.parametrize("array_rows", [8, 16])
def test_matrices_larger_than_a_group_are_cut(array_rows: int) -> None:
    machine = small(array_rows=array_rows)
    result = api.verify(MODELS / "corpus" / "llama-dynamo.onnx", machine, {"batch": 1}, units="products=crossbar")
    assert result.ok
    assert max(output.max_rel_error for output in result.outputs) < 5e-6


def test_a_batch_keeps_attention_in_the_banks() -> None:
    assert api.verify(MODELS / "corpus" / "llama-dynamo.onnx", E2E, {"batch": 2}, units="crossbar").ok


def test_weights_are_loaded_once_and_counted_apart() -> None:
    program = compile_model(MODELS / "tiny-shakespeare.onnx", E2E, {"batch": 1}, units="products=crossbar")
    session = Session(program, E2E)
    assert session.loading is None
    session.step([1, 2, 3])
    loading = session.loading
    assert loading is not None
    assert loading.mnemonics["xprog"].count > 1000
    assert "xprog" not in session.statistics.mnemonics
    session.step([4])
    assert session.loading is loading
    session.reset()
    session.step([1, 2, 3])
    assert session.loading == loading


def test_rounding_of_cells_and_converters_shows() -> None:
    outputs = []
    for numerics in ("fp32", "machine"):
        path = MODELS / "tiny-shakespeare.onnx"
        program = compile_model(path, E2E, {"batch": 1}, numerics=numerics, units="products=crossbar")
        outputs.append(Session(program, E2E).step(np.arange(1, 9))["logits"])
    exact, rounded = (np.asarray(each, np.float64).ravel() for each in outputs)
    cosine = exact @ rounded / np.linalg.norm(exact) / np.linalg.norm(rounded)
    assert 0.99 < cosine < 0.999999


def test_too_few_groups_leave_blocks_in_the_banks() -> None:
    machine = small(groups=40)
    program = compile_model(MODELS / "tiny-shakespeare.onnx", machine, {"batch": 1}, units="products=crossbar")
    groups = {each["group"] for each in program.code if each.mnemonic == "xmvm"}
    assert 0 < len(groups) <= 40
    assert any(each.mnemonic == "mac" for each in program.code)


def test_a_named_block_without_room_says_what_is_allowed() -> None:
    path, wanted = MODELS / "tiny-shakespeare.onnx", "banks,feed_forward*=crossbar"
    with pytest.raises(ResourceLimitError, match="no groups of arrays left") as caught:
        compile_model(path, small(groups=4), {"batch": 1}, units=wanted)
    assert any("bound: 4 groups" in note for note in caught.value.notes)
