"""Small ONNX models for the tests of the frontend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from passes import interpret, verify
from pimc.frontend import import_model

Shape = Sequence[int | str | None]
ELEMENT_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def tensor(name: str, shape: Shape | None, dtype: str = "float32") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], shape)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(values, np.int64), name)


def scalar(name: str, value: int) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.array(value, np.int64), name)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], name: str | None = None, **attributes: Any):
    return helper.make_node(op, inputs, outputs, name or f"/{outputs[0]}", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[str],
    weights: Sequence[onnx.TensorProto] = (),
    opsets: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "net", inputs, [tensor(name, None) for name in outputs], weights)
    entries = [helper.make_opsetid(domain, version) for domain, version in (opsets or {"": 20}).items()]
    return helper.make_model(graph, opset_imports=entries, ir_version=10)


def agree(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, np.ndarray],
    weights: Mapping[str, np.ndarray],
    *outputs: str,
    opsets: Mapping[str, int] | None = None,
    tolerance: float = 2e-5,
) -> None:
    """Import a model of the nodes, interpret its graph, and compare all outputs with ONNX Runtime."""
    import onnxruntime

    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in inputs.items()}
    infos = [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in inputs.items()]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    made = model(nodes, infos, outputs, stored, opsets or {"": 20, "com.microsoft": 1})
    imported = import_model(made)
    verify(imported, "imported")
    results = interpret(imported, inputs)
    for info in made.graph.output:
        info.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(results[info.name].dtype)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for name, expected in zip(outputs, session.run(list(outputs), dict(inputs)), strict=True):
        found = results[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance / 10, err_msg=name)
