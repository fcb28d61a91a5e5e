"""What makes the corpus small leaves the graphs' meaning alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from corpus_inputs import random_case
from corpus_manifest import load_manifest
from corpus_names import drop_scopes, number_nodes, number_values, strip_wrapper
from onnx import TensorProto, helper, numpy_helper
from weight_only_int8 import store_weights_as_int8

runtime = pytest.importorskip("onnxruntime")


def outputs_of(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.mark.parametrize("name", ["gpt2-dynamo", "llama-torchscript", "t5-optimum/decoder_merged"])
@pytest.mark.parametrize("shorten", [number_values, number_nodes, drop_scopes])
def test_shorter_names_change_nothing(name: str, shorten) -> None:
    graph = next(graph for graph in load_manifest() if graph.name == name)
    model = onnx.load(graph.path)
    inputs = random_case(graph, 2, 1, 3).inputs
    before = outputs_of(model, inputs)
    size = model.ByteSize()
    shorten(model)
    onnx.checker.check_model(model)
    assert model.ByteSize() <= 1.01 * size  # one of them has short names already
    for left, right in zip(before, outputs_of(model, inputs), strict=True):
        np.testing.assert_array_equal(left, right)


def wrapped() -> onnx.ModelProto:
    """What an exporter makes of a wrapper around a model: two scopes, and the same name in both."""
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2])  # noqa: E731
    nodes = [
        helper.make_node("MatMul", ["x", "model.embed.weight"], ["/model/Add_output_0"], "/model/Add"),
        helper.make_node("Relu", ["/model/Add_output_0"], ["/Add_output_0"], "/Add"),
        helper.make_node("Neg", ["/Add_output_0"], ["y"], "/model/layers.0/Neg"),
    ]
    weight = numpy_helper.from_array(np.array([[3, -1], [0.25, 2]], np.float32), "model.embed.weight")
    graph = helper.make_graph(nodes, "g", [value("x")], [value("y")], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_the_wrapper_leaves_no_trace_and_no_name_twice() -> None:
    model = strip_wrapper(wrapped())
    onnx.checker.check_model(model)
    assert [node.name for node in model.graph.node] == ["/Add", "/call/Add", "/layers.0/Neg"]
    assert [node.output[0] for node in model.graph.node] == ["/Add_output_0", "/call/Add_output_0", "y"]
    assert model.graph.initializer[0].name == "embed.weight"


def test_int8_weights_are_within_half_a_step() -> None:
    inputs = {"x": np.eye(2, dtype=np.float32)}
    exact, model = outputs_of(wrapped(), inputs)[0], store_weights_as_int8(wrapped())
    onnx.checker.check_model(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert stored["model.embed.weight.int8"].tolist() == [[127, -64], [11, 127]]
    assert [node.op_type for node in model.graph.node[:2]] == ["Cast", "Mul"]
    assert np.abs(outputs_of(model, inputs)[0] - exact).max() <= 3 / 127 / 2
