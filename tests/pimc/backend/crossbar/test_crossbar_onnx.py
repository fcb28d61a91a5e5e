"""An encoder block from ONNX to crossbars: outputs of ONNX Runtime, with and without decomposition."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from isa import load_machine
from passes import Graph, PassManager, parse_pipeline
from pimc.backend import CrossbarOptions, build_crossbar_program
from pimc.frontend import import_model, load_model
from pimc.simulator import Simulator

TOKENS, WIDTH, HEADS, WIDE = 16, 48, 4, 96
FUSION = (
    "constant_folding,canonicalize,constant_folding,canonicalize,dead_code,fuse_norm,fuse_activation,fuse_linear,"
    "fuse_attention,canonicalize,dead_code,{}canonicalize,fuse_feed_forward,dead_code"
)


class Model:
    """A BERT-like block, operation by operation."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(3)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array, dtype), f"c{len(self.constants)}"))
        return str(self.constants[-1].name)

    def weights(self, *shape: int) -> str:
        return self.constant(self.random.standard_normal(shape) / np.sqrt(shape[0]))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        return self.op("Add", self.op("MatMul", x, self.weights(inputs, outputs)), self.weights(outputs))

    def normed(self, x: str) -> str:
        return self.op("LayerNormalization", x, self.weights(WIDTH), self.weights(WIDTH), epsilon=1e-12)

    def heads(self, x: str, order: list[int]) -> str:
        shape = self.constant([1, TOKENS, HEADS, WIDTH // HEADS], np.int64)
        return self.op("Transpose", self.op("Reshape", self.linear(x, WIDTH, WIDTH), shape), perm=order)

    def attention(self, x: str) -> str:
        query, keys, values = (self.heads(x, order) for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
        scores = self.op("Div", self.op("MatMul", query, keys), self.constant(np.sqrt(WIDTH // HEADS)))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), values)
        flat = self.constant([1, TOKENS, WIDTH], np.int64)
        together = self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), flat)
        return self.linear(together, WIDTH, WIDTH)

    def feed_forward(self, x: str) -> str:
        up = self.linear(x, WIDTH, WIDE)
        bent = self.op("Erf", self.op("Div", up, self.constant(np.sqrt(2))))
        shifted = self.op("Mul", up, self.op("Add", bent, self.constant(1.0)))
        return self.linear(self.op("Mul", shifted, self.constant(0.5)), WIDE, WIDTH)


@cache
def block() -> onnx.ModelProto:
    model = Model()
    first = model.normed(model.op("Add", "x", model.attention("x")))
    last = model.normed(model.op("Add", first, model.feed_forward(first)))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, TOKENS, WIDTH]) for name in ("x", last)]
    graph = helper.make_graph(model.nodes, "block", ends[:1], ends[1:], model.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def fused(folder: Path, step: str) -> Graph:
    path = folder / "block.onnx"
    onnx.save(block(), str(path))
    graph = import_model(load_model(str(path)), {})
    PassManager(parse_pipeline(FUSION.format(step)), check_claims=True).run(graph)
    return graph


@pytest.mark.parametrize("step", ["", "decompose_attention{choose=all},"])
@pytest.mark.parametrize(("numerics", "bound"), [("fp32", 1e-5), ("machine", 0.03)])
def test_outputs_are_those_of_onnx_runtime(tmp_path: Path, step: str, numerics: str, bound: float) -> None:
    given = np.random.default_rng(4).standard_normal((1, TOKENS, WIDTH)).astype(np.float32)
    session = onnxruntime.InferenceSession(block().SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": given})
    target = load_machine("reram-retransformer")
    program = build_crossbar_program(fused(tmp_path, step), target, CrossbarOptions(numerics, copies=8))
    simulator = Simulator(target)
    simulator.load(program)
    simulator.run("load")
    source, result = (slice(each.address, each.address + each.size) for each in program.symbols)
    simulator.state.shared[source] = given.reshape(-1)
    simulator.run("encode")
    found = simulator.state.shared[result].reshape(expected.shape)
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()
