"""Operators that the standard itself defines by simpler ones: their nodes are replaced by those definitions."""

from __future__ import annotations

from dataclasses import replace

import onnx

from isa import InputError, Place
from pimc.frontend.loading import LoadedModel

EXPANDED = frozenset({
    "AffineGrid", "Celu", "CenterCropPad", "DepthToSpace", "Elu", "GroupNormalization", "HardSigmoid", "HardSwish",
    "MeanVarianceNormalization", "Mish", "PRelu", "Selu", "Softsign", "SpaceToDepth", "SwiGLU",
    "ThresholdedRelu",
})  # fmt: skip
"""Operators of the standard domain without an importer, whose definition in the onnx package is taken."""

_NESTING = 3
"""Definitions use others of the list at most so deep: HardSwish uses HardSigmoid, Celu uses Elu."""


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
    for _ in range(_NESTING):
        present = sorted({node.op_type for node in proto.graph.node if node.domain == ""} & EXPANDED)
        if not present:
            break
        proto = _expanded(model.name, proto, present)
    return model if proto is model.proto else replace(model, proto=proto)


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
    version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    for node in changed.graph.node:
        if node.domain != "" or node.op_type not in operators:
            continue
        given = {attribute.name for attribute in node.attribute}
        for name, described in onnx.defs.get_schema(node.op_type, version, "").attributes.items():
            if name not in given and described.default_value.name:
                node.attribute.append(described.default_value)
    return changed
