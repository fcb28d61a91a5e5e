"""The import of an ONNX model as a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import onnx

from isa import Place
from passes import Affine, Graph
from pimc.frontend.bound_inputs import bound_inputs
from pimc.frontend.builder import Array, Builder
from pimc.frontend.dimensions import input_types
from pimc.frontend.graph_walk import GraphWalk, live_nodes
from pimc.frontend.loading import LoadedModel, load_model, wrap_model
from pimc.frontend.support import check_support
from pimc.frontend.symbols import AtLeast, SymbolTable


@dataclass(frozen=True)
class ImportFacts:
    """What the import found out, kept in `graph.facts["frontend"]`.

    Attributes:
        demands: Inequalities of dimensions that must hold in every run, for instance `1024 >= past + seq` where
            positions are looked up in a table.
        bound: Inputs of the model that became constants.
    """

    demands: tuple[AtLeast, ...]
    bound: Mapping[str, Array]


def import_model(
    source: str | Path | onnx.ModelProto | LoadedModel,
    dims: Mapping[str, int] | None = None,
    bind: Mapping[str, Any] | None = None,
) -> Graph:
    """Read an ONNX model as a graph of the operations that exist before fusion.

    Dimensions that `dims` binds become numbers. Others stay affine expressions in the model's own symbols; a symbol
    that stands alone on the first axis of an input and is called `batch...` is 1 by default. Shape arithmetic
    disappears: its results are attributes of the nodes that use them. Where the graph demands that two dimensions are
    equal, as when a mask meets scores, the symbols are unified; a symbol is never guessed from a number.

    Args:
        source: File, parsed model, or loaded model.
        dims: Numbers by name of the dimension.
        bind: Values by name of the input: these inputs become constants. Bools, numbers, nested lists or arrays; one
            number fills the whole input.

    Returns:
        The graph, with the model's signature and `ImportFacts` in `facts["frontend"]`.

    Raises:
        InputError: The model is not valid, or `dims` or `bind` does not fit it.
        UnsupportedError: Operators that are not supported (all of them at once), or shapes that depend on data.
        ResourceLimitError: The model is larger than the limits allow.
    """
    model = _loaded(source)
    place = Place(model.name)
    check_support(model, live_nodes(model.proto.graph), place, frozenset(bind or ()))
    types = input_types(model.proto.graph, dims or {}, place)
    symbols = SymbolTable(dict.fromkeys(name for kind in types.values() for name in sorted(kind.symbols)))
    graph = Graph(model.proto.graph.name or Path(model.name).stem)
    constants = bound_inputs(types, bind or {}, place)
    walk = GraphWalk(model, Builder(graph, symbols))
    walk.add_inputs({name: kind for name, kind in types.items() if name not in constants}, constants)
    walk.add_nodes(model.proto.graph)
    walk.add_outputs()
    demands = symbols.settle()
    _settle_types(graph, symbols)
    graph.facts["frontend"] = ImportFacts(demands, constants)
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
        return tuple(_settled(part, symbols) for part in cast(tuple[object, ...], attribute))
    return attribute


def _drop_dead_nodes(graph: Graph) -> None:
    for node in reversed(graph.nodes):
        if not any(value.uses or graph.is_output(value) for value in node.outputs):
            graph.remove(node)
