"""Emits ONNX nodes one by one, named like those of torch: `/model/layers.0/self_attn/q_proj/MatMul`."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from model_file import BuiltModel, Weight
from model_weights import WeightSource
from onnx import TensorProto, helper, numpy_helper

Value = str
"""A value of the graph, by its name."""
Dimension = int | str
Scalar = bool | int | float

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
_TYPES = {bool: np.bool_, int: np.int64, float: np.float32}


class GraphBuilder:
    """Collects the nodes, constants and weights of one graph.

    Constants are either `Constant` nodes, as the TorchScript exporter writes them, or initialisers that are shared
    when equal, as the dynamo exporter does.
    """

    def __init__(self, weights: WeightSource, opset: int, constant_nodes: bool) -> None:
        """Starts an empty graph.

        Args:
            weights: where `weight` reads from.
            opset: version of the default operator set.
            constant_nodes: whether constants are nodes rather than initialisers.
        """
        self.opset = opset
        self._weights = weights
        self._constant_nodes = constant_nodes
        self._scope: list[str] = []
        self._names: Counter[str] = Counter()
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}
        self._stored: dict[Value, Weight] = {}

    @contextlib.contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Puts `name` into the path of the nodes that are emitted inside."""
        self._scope.append(name)
        try:
            yield
        finally:
            self._scope.pop()

    def node(self, operator: str, *inputs: Value, output: Value | None = None, **attributes: object) -> Value:
        """Emits a node with one output and returns that output, which is named `output` if that is given."""
        return self.nodes(operator, *inputs, outputs=1, names=[output] if output else None, **attributes)[0]

    def nodes(
        self, operator: str, *inputs: Value, outputs: int, names: list[str] | None = None, **attributes: object
    ) -> list[Value]:
        """Emits a node with several outputs and returns them."""
        name = self._unique(operator)
        results = names or [f"{name}_output_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), results, name=name, **attributes))
        return results

    def constant(self, value: Scalar | Sequence[Scalar] | npt.NDArray[np.generic]) -> Value:
        """Returns a constant: int64 from int, float32 from float, bool from bool; a list makes a vector."""
        if not isinstance(value, np.ndarray):
            first = value if isinstance(value, bool | int | float) else next(iter(value), 0)
            value = np.array(value, dtype=_TYPES[type(first)])
        if self._constant_nodes:
            return self.node("Constant", value=numpy_helper.from_array(value))
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(value, f"val_{len(self._constants)}")
        return self._constants[key].name

    def weight(
        self,
        name: str,
        shape: tuple[int, ...],
        mean: float = 0.0,
        deviation: float = 1.0,
        transposed: bool = False,
    ) -> Value:
        """Returns the weight `name` as an initialiser.

        Args:
            name: name in the checkpoint.
            shape: shape in the checkpoint.
            mean: of a random weight.
            deviation: standard deviation of a random weight.
            transposed: whether the graph uses the weight as `[in, out]`, as MatMul wants it; the initialiser is then
                named `<name>.T`.
        """
        stored = f"{name}.T" if transposed else name
        if stored not in self._stored:
            values = self._weights.read(name, shape, mean, deviation)
            if transposed:
                shape, values = shape[::-1], None if values is None else values.T
            self._stored[stored] = Weight(stored, shape, values)
        return stored

    def input(self, name: str, element_type: int, shape: Sequence[Dimension]) -> Value:
        """Declares a graph input."""
        self._inputs.append(helper.make_tensor_value_info(name, element_type, shape))
        return name

    def output(self, name: str, element_type: int, shape: Sequence[Dimension]) -> None:
        """Declares the value `name` to be a graph output."""
        self._outputs.append(helper.make_tensor_value_info(name, element_type, shape))

    def build(self, metadata: Mapping[str, str]) -> BuiltModel:
        """Returns the model of what was emitted, with `metadata` as its properties."""
        graph = helper.make_graph(
            self._nodes, "main_graph", self._inputs, self._outputs, list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(
            graph,
            producer_name="pimc-models",
            opset_imports=opsets,
            ir_version=helper.find_min_ir_version_for(opsets, True),
        )
        helper.set_model_props(model, dict(metadata))
        return BuiltModel(model, list(self._stored.values()))

    def _unique(self, operator: str) -> str:
        """Names a node by its scope and operator, with a number from the second one on."""
        path = "/" + "/".join([*self._scope, operator])
        count = self._names[path]
        self._names[path] += 1
        return f"{path}_{count}" if count else path
