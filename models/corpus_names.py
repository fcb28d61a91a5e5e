"""Names in a corpus graph: without the wrapper's prefix, and short ones where the file would grow too large."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx


def strip_wrapper(model: onnx.ModelProto) -> onnx.ModelProto:
    """Takes the wrapper's scope off all names, so that they are those of the model alone."""
    rename_values(model.graph, _without_prefix)
    for node in _nodes(model.graph):
        node.name = _without_prefix(node.name)
    return model


def number_values(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives inner values numbers for names, as some exporters do; inputs, outputs, weights and nodes keep theirs."""
    kept = {value.name for value in (*model.graph.input, *model.graph.output)}
    kept |= {tensor.name for tensor in model.graph.initializer}
    numbers = {name: name for name in (*kept, "")}
    rename_values(model.graph, lambda name: numbers.setdefault(name, f"v{len(numbers)}"))
    return model


def number_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Gives the nodes numbers for names."""
    for number, node in enumerate(_nodes(model.graph)):
        node.name = f"n{number}"
    return model


def drop_scopes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drops the name spaces that the dynamo exporter notes on nodes."""
    for node in _nodes(model.graph):
        del node.metadata_props[:]
    return model


def rename_values(graph: onnx.GraphProto, rename: Callable[[str], str]) -> None:
    """Renames every value of a graph, its weights and its subgraphs'."""
    for tensor in (*graph.initializer, *graph.value_info, *graph.input, *graph.output):
        tensor.name = rename(tensor.name)
    for node in graph.node:
        node.input[:] = [rename(name) for name in node.input]
        node.output[:] = [rename(name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                rename_values(attribute.g, rename)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _without_prefix(name: str) -> str:
    """Drops the wrapper's attribute `model`; what the wrapper computes itself gets a scope of its own."""
    if name.startswith("/"):
        return name.removeprefix("/model") if name.startswith("/model/") else f"/call{name}"
    return name.removeprefix("model.")
