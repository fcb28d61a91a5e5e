"""Inputs that the user makes constants."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import ints, model, node, scalar, tensor

from isa import InputError, UnsupportedError
from passes import interpret, verify
from pimc.frontend import import_model


def merged() -> onnx.ModelProto:
    """A decoder of two branches, as exporters merge them, chosen by the input `use_cache_branch`."""
    first = helper.make_graph([node("Neg", ["x"], ["a"], "/then/Neg")], "then", [], [tensor("a", None)])
    second = helper.make_graph([node("Abs", ["x"], ["b"], "/else/Abs")], "else", [], [tensor("b", None)])
    choice = node("If", ["use_cache_branch"], ["y"], "/If", then_branch=first, else_branch=second)
    return model([choice], [tensor("x", ("seq",)), tensor("use_cache_branch", (1,), "bool")], ["y"])


@pytest.mark.parametrize(("value", "op"), [(True, "neg"), (False, "abs"), ([True], "neg"), (np.array([False]), "abs")])
def test_a_bound_condition_chooses_a_branch(value: Any, op: str) -> None:
    graph = import_model(merged(), bind={"use_cache_branch": value})
    verify(graph, "imported")
    assert [each.op for each in graph.nodes] == [op]
    assert [each.name for each in graph.inputs] == ["x"]
    assert list(graph.signature) == ["x", "y"]
    assert graph.facts["frontend"].bound["use_cache_branch"].tolist() == [np.asarray(value).reshape(-1)[0]]


def test_a_bound_input_may_be_an_output_or_an_operand() -> None:
    made = model([node("Add", ["x", "n"], ["y"])], [tensor("x", (2,)), tensor("n", (2,))], ["y", "n"])
    graph = import_model(made, bind={"n": [1, 2.5]})
    results = interpret(graph, {"x": np.ones(2, np.float32)})
    assert results["y"].tolist() == [2, 3.5]
    assert results["n"].tolist() == [1, 2.5]


def test_a_bound_shape() -> None:
    made = model([node("Reshape", ["x", "s"], ["y"])], [tensor("x", (6,)), tensor("s", (2,), "int64")], ["y"])
    assert str(import_model(made, bind={"s": [2, -1]}).outputs["y"].type) == "float32[2, 3]"


def test_half_precision_takes_numbers() -> None:
    info = helper.make_tensor_value_info("n", TensorProto.BFLOAT16, (2,))
    made = model([node("Neg", ["n"], ["y"])], [info], ["y"])
    result = interpret(import_model(made, bind={"n": 1.5}), {})["y"]
    assert result.dtype == ml_dtypes.bfloat16
    assert result.tolist() == [-1.5, -1.5]


@pytest.mark.parametrize(
    ("bind", "message"),
    [
        (
            {"use_cash_branch": True},
            "net: error: the model has no input 'use_cash_branch' that could be bound\n"
            "note: its inputs: x, use_cache_branch\nhelp: did you mean 'use_cache_branch'?",
        ),
        (
            {"use_cache_branch": 1},
            "net: error: the input 'use_cache_branch' is bool[1], so that its value must be true or false",
        ),
        (
            {"use_cache_branch": [True, False]},
            "net: error: the input 'use_cache_branch' is bool[1], but its value has the shape [2]",
        ),
        ({"use_cache_branch": [[True], []]}, "net: error: the value of 'use_cache_branch' is not an array: its rows"),
        (
            {"x": 1.0},
            "net: error: the input 'x' is float32[seq]: its dimensions must be numbers to bind it\n"
            "help: bind the dimensions that it depends on: --dim seq=N",
        ),
    ],
)
def test_wrong_values(bind: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        import_model(merged(), bind=bind)
    assert str(caught.value).startswith(message)


def test_integers_must_fit() -> None:
    info = helper.make_tensor_value_info("n", TensorProto.INT8, ())
    made = model([node("Neg", ["n"], ["y"])], [info], ["y"])
    with pytest.raises(InputError, match="the value of 'n' does not fit into int8"):
        import_model(made, bind={"n": 128})
    with pytest.raises(InputError, match="its value must be integers"):
        import_model(made, bind={"n": 1.5})


def test_contents_that_are_needed_name_inputs_and_dimensions() -> None:
    """A shape from an input and from an axis: both are named."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "axis"], ["size"]),
        node("Mul", ["size", "n"], ["product"]),
        node("Range", ["zero", "product", "one"], ["y"]),
    ]
    weights = [scalar("axis", 0), scalar("zero", 0), scalar("one", 1)]
    made = model(nodes, [tensor("x", ("seq",)), tensor("n", (), "int64")], ["y"], weights)
    with pytest.raises(UnsupportedError) as caught:
        import_model(made)
    assert caught.value.help == "bind what it depends on: --dim seq=N --bind n=VALUE"
    assert str(import_model(made, {"seq": 4}, {"n": 3}).outputs["y"].type) == "int64[12]"


@pytest.mark.parametrize("relation", ["min", "sub"])
def test_a_length_is_taken_to_be_within_its_bound(relation: str) -> None:
    """rows[16 - min(seq, 16) : 16], as relative positions are cut: longer sequences than 16 are not taken."""
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Min", ["shape", "bound"], ["length"]) if relation == "min" else node("Identity", ["shape"], ["length"]),
        node("Sub", ["bound", "length"], ["start"]),
        node("Slice", ["rows", "start", "bound"], ["y"]),
    ]
    weights = [ints("bound", 16), onnx.numpy_helper.from_array(np.arange(16, dtype=np.float32), "rows")]
    graph = import_model(model(nodes, [tensor("x", ("seq",))], ["y"], weights))
    demands = graph.facts["frontend"].demands
    assert [(demand.larger, str(demand.smaller)) for demand in demands] == [(16, "seq")]
    assert interpret(graph, {"x": np.zeros(3, np.float32)})["y"].tolist() == [13, 14, 15]


def test_indices_that_meet_many_times_are_bounded_once() -> None:
    """i + i, doubled thirty times: without memory a search would take a billion steps."""
    names = [f"i{step}" for step in range(31)]
    doubling = [node("Add", [a, a], [b]) for a, b in pairwise(names)]
    nodes = [*doubling, node("Range", ["zero", "n", "one"], ["r"]), node("Mul", ["r", "i30"], ["at"])]
    nodes.append(node("Gather", ["rows", "at"], ["y"]))
    weights = [scalar("zero", 0), scalar("one", 1), onnx.numpy_helper.from_array(np.ones(4, np.float32), "rows")]
    made = model(nodes, [tensor("i0", (), "int64"), tensor("x", ("n",))], ["y"], weights)
    made.graph.node.insert(0, node("Shape", ["x"], ["shape"]))
    made.graph.node.insert(1, node("Squeeze", ["shape"], ["n"]))
    assert len(import_model(made).nodes) > 30
