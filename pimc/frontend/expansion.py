"""Operators that the standard itself defines by simpler ones: their nodes are replaced by those definitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from isa import InputError, Place
from pimc.frontend.loading import LoadedModel

EXPANDED = frozenset({"AffineGrid", "CenterCropPad", "GroupNormalization", "MeanVarianceNormalization"})
"""Operators of the standard domain without an importer, whose definition in the onnx package is taken."""


def expand(model: LoadedModel) -> LoadedModel:
    """The model with its own functions, and the operators of `EXPANDED`, replaced by their definitions.

    Operators whose definition the model's operator set does not have yet stay.

    Raises:
        InputError: A definition does not fit the node that it replaces.
    """
    proto = model.proto
    if proto.functions:
        from onnx.inliner import inline_local_functions

        proto = inline_local_functions(proto)
    present = [operator for operator in sorted(EXPANDED) if _is_defined(proto, operator)]
    if present:
        proto = _expanded(model.name, proto, present)
    return model if proto is model.proto else replace(model, proto=proto)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, also those inside branches."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def _is_defined(proto: onnx.ModelProto, operator: str) -> bool:
    """Whether a model has an operator that its operator set knows, too."""
    if not any(node.op_type == operator and node.domain == "" for node in _nodes(proto.graph)):
        return False
    try:
        onnx.defs.get_schema(operator, _version(proto), "")
    except onnx.defs.SchemaError:
        return False
    return True


def _version(proto: onnx.ModelProto) -> int:
    newest = onnx.defs.onnx_opset_version()
    return next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), newest)


def _expanded(name: str, proto: onnx.ModelProto, operators: list[str]) -> onnx.ModelProto:
    from onnx.inliner import inline_selected_functions

    proto = _with_defaults(proto, operators)
    identifiers = [("", operator) for operator in operators]
    try:
        return inline_selected_functions(proto, identifiers, inline_schema_functions=True)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as problem:
        message = f"cannot replace {', '.join(operators)} by what the standard defines: {problem}"
        raise InputError(message, Place(name)) from None


def _with_defaults(proto: onnx.ModelProto, operators: list[str]) -> onnx.ModelProto:
    """The model with the attributes of the operators spelled out: the inliner leaves out those that are not given."""
    version = _version(proto)
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    for node in _nodes(changed.graph):
        if node.domain != "" or node.op_type not in operators:
            continue
        given = {attribute.name for attribute in node.attribute}
        for name, described in onnx.defs.get_schema(node.op_type, version, "").attributes.items():
            if name not in given and described.default_value.name:
                node.attribute.append(described.default_value)
    return changed
