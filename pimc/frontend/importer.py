"""The import of an ONNX model as a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from isa import InputError, PimcError, Place
from passes import Affine, Graph, TensorType
from pimc.frontend.builder import Array, Builder, Operand
from pimc.frontend.dimensions import input_types
from pimc.frontend.loading import LoadedModel, load_model, standard_domain, wrap_model
from pimc.frontend.onnx_node import OnnxNode, Results, node_attributes
from pimc.frontend.operators import IMPORTERS
from pimc.frontend.support import check_support
from pimc.frontend.symbols import AtLeast, SymbolTable
from pimc.frontend.tensors import tensor_array


@dataclass(frozen=True)
class ImportFacts:
    """What the import found out, kept in `graph.facts["frontend"]`.

    Attributes:
        demands: Inequalities of dimensions that must hold in every run, for instance `1024 >= past + seq` where
            positions are looked up in a table.
    """

    demands: tuple[AtLeast, ...]


def import_model(
    source: str | Path | onnx.ModelProto | LoadedModel, dims: Mapping[str, int] | None = None
) -> Graph:
    """Read an ONNX model as a graph of the operations that exist before fusion.

    Dimensions that `dims` binds become numbers. Others stay affine expressions in the model's own symbols; a symbol
    that stands alone on the first axis of an input and is called `batch...` is 1 by default. Shape arithmetic
    disappears: its results are attributes of the nodes that use them. Where the graph demands that two dimensions are
    equal, as when a mask meets scores, the symbols are unified; a symbol is never guessed from a number.

    Args:
        source: File, parsed model, or loaded model.
        dims: Numbers by name of the dimension.

    Returns:
        The graph, with the model's signature and `ImportFacts` in `facts["frontend"]`.

    Raises:
        InputError: The model is not valid, or `dims` does not fit it.
        UnsupportedError: Operators that are not supported (all of them at once), or shapes that depend on data.
        ResourceLimitError: The model is larger than the limits allow.
    """
    model = _loaded(source)
    place = Place(model.name)
    nodes = _live_nodes(model.proto.graph)
    check_support(model, nodes, place)
    types = input_types(model.proto.graph, dims or {}, place)
    symbols = SymbolTable(dict.fromkeys(name for kind in types.values() for name in sorted(kind.symbols)))
    graph = Graph(model.proto.graph.name or Path(model.name).stem)
    tensors = _Tensors(model, Builder(graph, symbols))
    tensors.add_inputs(types)
    for name, node in nodes:
        tensors.add_node(name, node)
    tensors.add_outputs()
    demands = symbols.settle()
    _settle_types(graph, symbols)
    graph.facts["frontend"] = ImportFacts(demands)
    _drop_dead_nodes(graph)
    return graph


def _loaded(source: str | Path | onnx.ModelProto | LoadedModel) -> LoadedModel:
    model = source
    if isinstance(model, (str, Path)):
        model = load_model(model)
    elif isinstance(model, onnx.ModelProto):
        model = wrap_model(model)
    if not model.proto.functions:
        return model
    from onnx.inliner import inline_local_functions

    return replace(model, proto=inline_local_functions(model.proto))


def _live_nodes(graph: onnx.GraphProto) -> list[tuple[str, onnx.NodeProto]]:
    """Nodes that some output needs, in the order of the file, with names for those that have none."""
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


class _Tensors:
    """ONNX tensors by name, while the nodes are imported one after the other."""

    def __init__(self, model: LoadedModel, builder: Builder) -> None:
        self._model = model
        self._builder = builder
        self._operands: dict[str, Operand] = {}
        self._weights = {tensor.name: tensor for tensor in model.proto.graph.initializer}

    def add_inputs(self, types: Mapping[str, TensorType]) -> None:
        graph = self._builder.graph
        for name, kind in types.items():
            value = graph.add_input(name, kind)
            graph.signature[name] = kind
            self._operands[name] = Operand(kind, value)

    def add_node(self, name: str, node: onnx.NodeProto) -> None:
        place = Place(self._model.name, node=name)
        domain = standard_domain(node.domain)
        self._builder.node_name = name
        try:
            seen = OnnxNode(
                name=name,
                operator=node.op_type,
                version=self._model.opsets.get(domain, 1),
                inputs=tuple(self._operand(tensor) if tensor else None for tensor in node.input),
                result_count=_result_count(node),
                attributes=node_attributes(node, lambda tensor: self._array(tensor, place)),
                builder=self._builder,
            )
            results = IMPORTERS[domain, node.op_type](seen)
        except PimcError as problem:
            _blame(problem, place, f"{node.op_type} reads {_types(self, node)}")
            raise
        self._keep(node, results)

    def add_outputs(self) -> None:
        graph = self._builder.graph
        self._builder.node_name = ""
        for info in self._model.proto.graph.output:
            value = self._builder.value(self._operand(info.name))
            graph.outputs[info.name] = value
            graph.signature[info.name] = value.type

    def type_of(self, name: str) -> TensorType:
        """Type of a tensor that was imported already."""
        return self._builder.symbols.resolve_type(self._operand(name).type)

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


def _types(tensors: _Tensors, node: onnx.NodeProto) -> str:
    """Types of a node's operands for a message; those that cannot be read are left out."""
    written: list[str] = []
    for name in filter(None, node.input):
        try:
            written.append(f"'{name}' {tensors.type_of(name)}")
        except PimcError:
            continue
    return ", ".join(written) or "nothing"


def _blame(problem: PimcError, place: Place, note: str) -> None:
    """Add the ONNX node to an error that has no place yet."""
    if problem.place is None:
        problem.place = place
        problem.notes = (*problem.notes, note)


def _settle_types(graph: Graph, symbols: SymbolTable) -> None:
    """Apply the equalities that later nodes taught to all types and attributes."""
    for value in graph.values():
        value.type = symbols.resolve_type(value.type)
    for value in graph.inputs:
        value.type = symbols.resolve_type(value.type)
    for node in graph.nodes:
        for name, attribute in node.attributes.items():
            node.attributes[name] = _settled(attribute, symbols)
    for name, kind in graph.signature.items():
        graph.signature[name] = symbols.resolve_type(kind)


def _settled(attribute: object, symbols: SymbolTable) -> object:
    if isinstance(attribute, Affine):
        return symbols.resolve(attribute)
    if isinstance(attribute, tuple):
        return tuple(_settled(part, symbols) for part in attribute)
    return attribute


def _drop_dead_nodes(graph: Graph) -> None:
    for node in reversed(graph.nodes):
        if not any(value.uses or graph.is_output(value) for value in node.outputs):
            graph.remove(node)
