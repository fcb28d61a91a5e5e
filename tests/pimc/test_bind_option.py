"""The option `--bind`, and how the reference gets the values that it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pimc import cli
from pimc.reference import Reference


@pytest.fixture
def scaled(tmp_path: Path) -> Path:
    """A model that multiplies its input x by its input n."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, "s", 4)) for name in ("x", "y")]
    factor = helper.make_tensor_value_info("n", TensorProto.FLOAT, (1,))
    graph = helper.make_graph([helper.make_node("Mul", ["x", "n"], ["y"])], "net", [infos[0], factor], infos[1:])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.mark.parametrize("text", ["n", "=1", "n=", "n=one", "n=NaN", "n=[1"])
def test_a_bad_value_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compile", "m.onnx", "--bind", text]) == 2
    assert "is not NAME=VALUE with a JSON value, for example use_cache_branch=true" in capsys.readouterr().err


def test_an_input_is_bound_once(scaled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(scaled), "--bind", "n=1", "--bind", "n=2"]) == 1
    assert capsys.readouterr().err == "error: --bind n is 1 and 2\nhelp: give it once\n"


def test_unknown_inputs_are_refused(scaled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(scaled), "--json", "--bind", "m=1"]) == 1
    assert "error: the model has no input 'm' that could be bound\nnote: its inputs: x, n\n" in capsys.readouterr().err


def test_the_reference_gets_bound_values(scaled: Path) -> None:
    pytest.importorskip("onnxruntime")
    reference = Reference(scaled, {"n": 3})
    assert reference.run({"x": np.ones((1, 2, 4), np.float32)})["y"].tolist() == np.full((1, 2, 4), 3).tolist()
