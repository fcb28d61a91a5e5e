"""Names that a program has to change, and lengths below which a model reads what is not there."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from model_maker import FLOAT, MACHINE, ModelMaker, check
from onnx import helper, numpy_helper

import pimc
from isa import ResourceLimitError
from pimc.compiler import compile_model
from pimc.simulator import Session


def test_names_may_look_like_registers_or_like_each_other() -> None:
    """Symbols are letters, digits, points and underscores, but not `r7`: several names of a model may become one."""
    names = ("r1", "a/b", "a_b")
    nodes = [
        helper.make_node("Add", ["r1", "a/b"], ["s"]),
        helper.make_node("Add", ["s", "a_b"], ["x:y"]),
        helper.make_node("MatMul", ["x:y", "r7"], ["x_y"]),
    ]
    inputs = [helper.make_tensor_value_info(name, FLOAT, [2, 3]) for name in names]
    outputs = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("x:y", "x_y")]
    weight = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(3, 4), "r7")
    graph = helper.make_graph(nodes, "names", inputs, outputs, [weight])
    check(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), [{}])


def test_a_run_that_a_slice_would_leave_is_refused() -> None:
    m = ModelMaker()
    x = m.input("x", 2, "seq", 4)
    cut = m.op("Slice", x, *(m.constant(np.array([number])) for number in (0, 3, 1)))
    model = m.model({cut: FLOAT})
    program = compile_model(model, MACHINE, numerics="fp32", max_context=16)
    session = Session(program, MACHINE)
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(session.run({"x": array})[cut], array)
    with pytest.raises(ResourceLimitError, match="the register 'dim_seq' is 2") as caught:
        session.run({"x": array[:, :2]})
    assert caught.value.help == "give at least 3"
    assert pimc.verify(model, MACHINE).ok
