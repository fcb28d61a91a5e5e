"""What verification says of models that choose by top-k."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from pimc.choices import Choices, margins
from pimc.reference import Reference

MIXTRAL = Path(__file__).parents[2] / "models" / "corpus" / "decoders" / "mixtral-dynamo-plain.onnx"


def model_of(axis: int, largest: int) -> ModelProto:
    """The two chosen ones of four scores."""
    node = helper.make_node("TopK", ["scores", "k"], ["values", "places"], axis=axis, largest=largest)
    dims = ["rows", 4] if axis in (1, -1) else [4, "rows"]
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["scores"]), node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, None)],
        [helper.make_tensor("k", TensorProto.INT64, [1], [2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(("axis", "largest"), [(-1, 1), (0, 1), (1, 0), (0, 0)])
def test_margins_lead_the_best_score_left_out(axis: int, largest: int) -> None:
    choices = Choices.of(Reference(model_of(axis, largest)))
    assert choices is not None
    assert choices.note() is None
    scores = np.array([[1.0, 4.0, 3.0, 2.0], [8.0, 2.0, 8.0, 8.0]], np.float32) * (1 if largest else -1)
    choices.watch({"x": -scores if axis else -scores.T})
    np.testing.assert_allclose(choices.margins, [1 / 3, 0.0])


def test_where_all_are_chosen_there_is_no_margin() -> None:
    assert not margins(np.ones((3, 2)), np.tile([0, 1], (3, 1))).size


def test_a_near_tie_is_explained() -> None:
    choices = Choices.of(Reference(model_of(-1, 1)))
    assert choices is not None
    choices.watch({"x": -np.array([[1.0, 3.0, 2.0, 0.0]], np.float32)})
    assert choices.note() == "the closest of the model's 1 choices by top-k is 50.00 % from a tie"
    choices.watch({"x": -np.array([[1.0, 3.0, 0.999, 0.0]], np.float32)})
    assert choices.note() == (
        "the closest of the model's 2 choices by top-k is 0.10 % from a tie; where rounding turns such a choice, the"
        " outputs of that token differ, as they may in a right program"
    )


def test_files_are_looked_into() -> None:
    choices = Choices.of(Reference(MIXTRAL))
    assert choices is not None
    reference = Reference(MIXTRAL)
    assert Choices.of(Reference(MIXTRAL.with_name("gpt2-dynamo-plain.onnx"))) is None
    choices.watch({name: np.ones((1, 5), np.int64) for name in reference.inputs})
    assert choices.margins.size == 10
    assert (choices.margins >= 0).all()
