"""The walk over the nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from isa import GraphError, InputError, PimcError, Place, UnsupportedError
from passes import Dim, TensorType
from pimc.frontend.builder import Array, Builder, Operand
from pimc.frontend.folding import fold
from pimc.frontend.loading import LoadedModel, standard_domain
from pimc.frontend.node_check import check_node
from pimc.frontend.onnx_node import OnnxNode, Results, node_attributes
from pimc.frontend.operators import IMPORTERS
from pimc.frontend.symbols import dimensions_help
from pimc.frontend.tensors import PACKED_BITS, tensor_array

_WIDENING = ("Cast", "DequantizeLinear", "Shape", "Size")
"""Operators that may read weights of 2 and 4 bits."""
_VIEWS = (
    "Concat",
    "Constant",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""Operators that may read them and whose results hold such elements."""


def live_nodes(graph: onnx.GraphProto) -> list[tuple[str, onnx.NodeProto]]:
    """Nodes that some output of the graph needs, in the order of the file, with names for those that have none."""
    wanted = {info.name for info in graph.output}
    live: list[tuple[str, onnx.NodeProto]] = []
    for index in range(len(graph.node) - 1, -1, -1):
        node = graph.node[index]
        if wanted.intersection(name for name in node.output if name):
            wanted.update(name for name in _inputs(node))
            live.append((node.name or f"{node.op_type}_{index}", node))
    return live[::-1]


def _inputs(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, also inside its subgraphs."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield from (info.name for info in attribute.g.output)
            for inner in attribute.g.node:
                yield from _inputs(inner)


class GraphWalk:
    """ONNX tensors by name, while the nodes are imported one after the other.

    The weights and nodes of a branch of `If` join those of the graph around it; ONNX demands that their names differ.
    """

    def __init__(self, model: LoadedModel, builder: Builder) -> None:
        self._model = model
        self._builder = builder
        self._operands: dict[str, Operand] = {}
        self._opset = model.opsets.get("", onnx.defs.onnx_opset_version())
        self._weights: dict[str, onnx.TensorProto] = {}
        self._narrow: dict[str, int] = {}
        self._add_weights(model.proto.graph)

    def _add_weights(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            self._weights[tensor.name] = tensor
            if tensor.data_type in PACKED_BITS:
                self._narrow[tensor.name] = tensor.data_type

    def add_inputs(self, types: Mapping[str, TensorType], constants: Mapping[str, Array]) -> None:
        """Add the inputs of the model, and those that are constants by their contents."""
        for name, array in constants.items():
            self._operands[name] = self._builder.constant(array)
        graph = self._builder.graph
        for name, kind in types.items():
            value = graph.add_input(name, kind)
            graph.signature[name] = kind
            self._operands[name] = Operand(kind, value)

    def add_nodes(self, graph: onnx.GraphProto) -> None:
        """Import the nodes that the outputs of the graph need."""
        for name, node in live_nodes(graph):
            place = Place(self._model.name, node=name)
            self._builder.node_name = name
            try:
                self._keep(node, self._results(name, node, place))
            except GraphError as problem:  # an expression that is not affine
                note = f"{node.op_type} reads {_types(self, node)}"
                raise UnsupportedError(problem.message, place, [note], dimensions_help(self._dims(node))) from None
            except PimcError as problem:
                _blame(problem, place, f"{node.op_type} reads {_types(self, node)}")
                raise

    def _results(self, name: str, node: onnx.NodeProto, place: Place) -> Results:
        if node.op_type == "If" and standard_domain(node.domain) == "":
            return self._branch(node)
        self._check_narrow(node, place)
        inputs = tuple(self._operand(tensor) if tensor else None for tensor in node.input)
        key = (standard_domain(node.domain), node.op_type)
        if key[0] == "":
            check_node(node, inputs, self._opset)
        if key not in IMPORTERS:
            return fold(self._builder, node, inputs, self._opset)
        seen = OnnxNode(
            name=name,
            operator=node.op_type,
            inputs=inputs,
            result_count=_result_count(node),
            attributes=node_attributes(node, lambda tensor: self._array(tensor, place)),
            builder=self._builder,
        )
        return IMPORTERS[key](seen)

    def _check_narrow(self, node: onnx.NodeProto, place: Place) -> None:
        """Weights of 2 and 4 bits are held in bytes: only operators for which that is the same may read them."""
        types = {self._narrow[name] for name in node.input if name in self._narrow}
        types |= {each.t.data_type for each in node.attribute if each.t.data_type in PACKED_BITS}
        if not types or node.op_type in _WIDENING:
            return
        kind = min(types)
        if node.op_type not in _VIEWS:
            name = onnx.TensorProto.DataType.Name(kind)
            raise UnsupportedError(f"the element type {name} is not supported in {node.op_type}", place)
        self._narrow.update(dict.fromkeys(filter(None, node.output), kind))

    def _branch(self, node: onnx.NodeProto) -> Results:
        """The results of the branch of an `If` that is taken, whose condition must be known."""
        if not node.input:
            raise InputError("the condition of If is missing")
        condition = self._operand(node.input[0]).constant
        if condition is None or condition.size != 1:
            raise UnsupportedError(
                "the condition of If is not known at compile time",
                help=f"{self._builder.binding_help(self._operand(node.input[0]))}; or export one model for each case",
            )
        wanted = "then_branch" if condition.reshape(-1)[0] else "else_branch"
        branch = next((attribute.g for attribute in node.attribute if attribute.name == wanted), None)
        if branch is None:
            raise InputError(f"the attribute '{wanted}' of If is missing")
        self._add_weights(branch)
        self.add_nodes(branch)
        return tuple(self._operand(info.name) for info in branch.output)

    def add_outputs(self) -> None:
        """Make the outputs of the model the outputs of the graph."""
        graph = self._builder.graph
        self._builder.node_name = ""
        for info in self._model.proto.graph.output:
            value = self._builder.value(self._operand(info.name))
            graph.outputs[info.name] = value
            graph.signature[info.name] = value.type

    def type_of(self, name: str) -> TensorType:
        """Type of a tensor that was imported already."""
        return self._builder.symbols.resolve_type(self._operand(name).type)

    def _dims(self, node: onnx.NodeProto) -> list[Dim]:
        """All dimensions of a node's operands."""
        return [dim for name in node.input if name in self._operands for dim in self.type_of(name).shape]

    def _keep(self, node: onnx.NodeProto, results: Results) -> None:
        operands = results if isinstance(results, tuple) else (results,)
        for name, operand in zip(node.output, operands, strict=False):
            if name:
                self._operands[name] = operand

    def _operand(self, name: str) -> Operand:
        if name not in self._operands:
            if name not in self._weights:
                raise InputError(f"the tensor '{name}' is read before anything computes it", Place(self._model.name))
            self._operands[name] = self._weight(self._weights[name])
        return self._operands[name]

    def _weight(self, tensor: onnx.TensorProto) -> Operand:
        array = self._array(tensor, Place(self._model.name))
        value = self._builder.graph.add_constant(array, tensor.name)
        return Operand(value.type, value, constant=array)

    def _array(self, tensor: onnx.TensorProto, place: Place) -> Array:
        return tensor_array(tensor, self._model.files, self._model.limits, place)


def _result_count(node: onnx.NodeProto) -> int:
    named = [index for index, name in enumerate(node.output) if name]
    return named[-1] + 1 if named else 0


def _types(walk: GraphWalk, node: onnx.NodeProto) -> str:
    """Types of a node's operands for a message; those that cannot be read are left out."""
    written: list[str] = []
    for name in filter(None, node.input):
        try:
            written.append(f"'{name}' {walk.type_of(name)}")
        except PimcError:
            continue
    return ", ".join(written) or "nothing"


def _blame(problem: PimcError, place: Place, note: str) -> None:
    """Add the ONNX node to an error that has no place yet, or the file to one that only names the node."""
    if problem.place is not None and problem.place.file is None:
        problem.place = place
    if problem.place is None:
        problem.place = place
        problem.notes = (*problem.notes, note)
