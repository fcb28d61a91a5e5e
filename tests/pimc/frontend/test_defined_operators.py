"""Operators that are replaced by their definition in the standard."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx_graphs import agree, model, node, tensor

from isa import UnsupportedError
from pimc.frontend import import_model

RANDOM = np.random.default_rng(19)


def test_a_norm_with_default_attributes() -> None:
    """The definition gets the defaults of attributes that the node leaves out."""
    pytest.importorskip("onnxruntime")
    x = RANDOM.standard_normal((3, 4, 2, 5), np.float32)
    agree([node("MeanVarianceNormalization", ["x"], ["y"])], {"x": x}, {}, "y", tolerance=1e-4)


def test_inside_a_branch_and_with_symbols() -> None:
    norm = node("MeanVarianceNormalization", ["x"], ["a"])
    inner = helper.make_graph([norm], "then", [], [tensor("a", None)])
    other = helper.make_graph([node("Identity", ["x"], ["b"])], "else", [], [tensor("b", None)])
    choice = node("If", ["c"], ["y"], then_branch=inner, else_branch=other)
    made = model([choice], [tensor("x", ("batch", 3, "seq", 4)), tensor("c", (), "bool")], ["y"])
    graph = import_model(made, bind={"c": True})
    assert str(graph.outputs["y"].type) == "float32[1, 3, seq, 4]"
    assert "reduce_mean" in {each.op for each in graph.nodes}


def test_an_operator_set_without_the_operator() -> None:
    made = model([node("GroupNormalization", ["x"], ["y"])], [tensor("x", (2,))], ["y"], opsets={"": 13})
    with pytest.raises(UnsupportedError, match="1 of 1 nodes have operators that are not supported"):
        import_model(made)
