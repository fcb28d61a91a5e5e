"""Builds small ONNX models, compiles each once, and compares runs of several lengths with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isa import check_program, load_machine
from pimc.compiler import compile_model
from pimc.simulator import Session

MACHINE = load_machine("gddr6-aim")
CONTEXT = 32
FLOAT, INTEGER, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


class ModelMaker:
    """Collects nodes; every method gives the name of a value."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: dict[str, onnx.ValueInfoProto] = {}

    def input(self, name: str, *shape: int | str, kind: int = FLOAT) -> str:
        self.inputs[name] = helper.make_tensor_value_info(name, kind, shape)
        return name

    def constant(self, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def real(self, number: float) -> str:
        return self.constant(np.float32(number))

    def weight(self, *shape: int) -> str:
        return self.constant((self.random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, *inputs, count=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        results = [f"{kind}_{len(self.nodes)}_{number}" for number in range(count)]
        self.nodes.append(helper.make_node(kind, inputs, results, name=f"n{len(self.nodes)}", **attributes))
        return results

    def reshape(self, value: str, *shape: int) -> str:
        return self.op("Reshape", value, self.constant(np.array(shape, np.int64)))

    def slice(self, value: str, axis: int, start: int, end: int, step: int = 1) -> str:
        parts = (self.constant(np.array([number], np.int64)) for number in (start, end, axis, step))
        return self.op("Slice", value, *parts)

    def model(self, outputs: Mapping[str, int] | Sequence[str]) -> onnx.ModelProto:
        """The model with these outputs: names, with their types where not all are float."""
        kinds = outputs if isinstance(outputs, Mapping) else dict.fromkeys(outputs, FLOAT)
        ends = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
        graph = helper.make_graph(self.nodes, "model", list(self.inputs.values()), ends, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def random_feeds(model: onnx.ModelProto, sizes: Mapping[str, int], seed: int = 1) -> dict[str, NDArray[Any]]:
    """Inputs with normal floats, integers of 0 to 7, and booleans; names with `mask` are ragged, 1 in their front."""
    random = np.random.default_rng(seed)
    feeds: dict[str, NDArray[Any]] = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = [dim.dim_value or sizes[dim.dim_param] for dim in tensor.shape.dim]
        if "mask" in value.name:
            lengths = random.integers(1, shape[-1] + 1, shape[:-1])
            feeds[value.name] = (np.arange(shape[-1]) < lengths[..., None]).astype(np.int64)
        elif tensor.elem_type == FLOAT:
            feeds[value.name] = random.standard_normal(shape).astype(np.float32)
        else:
            feeds[value.name] = random.integers(0, 8, shape).astype(bool if tensor.elem_type == BOOL else np.int64)
    return feeds


def check(
    model: onnx.ModelProto,
    runs: Sequence[Mapping[str, int]],
    dims: Mapping[str, int] | None = None,
) -> None:
    """Compile once, prove the program safe, run with each set of sizes, and compare all outputs with ONNX Runtime.

    Args:
        model: The model.
        runs: Sizes of the dynamic dimensions, by name, for each run.
        dims: Dimensions to bind.
    """
    options = ort.SessionOptions()  # optimised, it would round operands of products with dequantised weights
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    reference = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    program = compile_model(model, MACHINE, dims=dims, max_context=CONTEXT, numerics="fp32")
    assert check_program(program, MACHINE) == []
    session = Session(program, MACHINE)
    for seed, sizes in enumerate(runs):
        feeds = random_feeds(model, sizes, seed)
        expected = reference.run(None, feeds)
        found = session.run(feeds)
        for value, array in zip(model.graph.output, expected, strict=True):
            _compare(found[value.name], array, f"'{value.name}' at {dict(sizes)}")


def _compare(found: NDArray[Any], expected: NDArray[Any], where: str) -> None:
    assert found.shape == expected.shape, where
    assert found.dtype == expected.dtype, where
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, where)
        return
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-4, err_msg=where)
