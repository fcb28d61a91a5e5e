"""The check of a node against what the standard says of its operator: operands, attributes and element types."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import onnx

from isa import InputError
from pimc.frontend.builder import Operand

_TYPE_NAMES = {"float32": "float", "float64": "double"}
"""Element types whose name in the standard differs from numpy's."""


def check_node(node: onnx.NodeProto, operands: Sequence[Operand | None], opset: int) -> None:
    """Compare a node of the standard domain with its operator's definition, if that is known.

    Args:
        node: The node.
        operands: Its operands, `None` where one is absent.
        opset: Version of the standard operator set.

    Raises:
        InputError: An operand or attribute is missing, superfluous or of a type that the operator does not take.
    """
    schema = _schema(node.op_type, opset)
    if schema is None:
        return
    _check_attributes(node, schema)
    most, least = schema.max_input, schema.min_input
    if not least <= len(operands) <= most:
        expected = str(least) if least == most else f"{least} or more" if most > 1000 else f"{least} to {most}"
        raise InputError(f"{node.op_type} has {len(operands)} operands, but must have {expected}")
    _check_operands(node, schema, operands)


@lru_cache(maxsize=1024)
def _schema(operator: str, opset: int) -> Any:
    try:
        return onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return None


def _check_attributes(node: onnx.NodeProto, schema: Any) -> None:
    given = {attribute.name: attribute.type for attribute in node.attribute}
    described = _attributes(node.op_type, schema.since_version)
    for name, (kind, is_required) in described.items():
        if is_required and name not in given:
            raise InputError(f"the attribute '{name}' of {node.op_type} is missing")
        if name in given and given[name] != kind:
            found, wanted = (onnx.AttributeProto.AttributeType.Name(number) for number in (given[name], kind))
            raise InputError(f"the attribute '{name}' of {node.op_type} is of the type {found}, but must be {wanted}")
    for name in given:
        if name not in described:
            raise InputError(f"{node.op_type} has no attribute '{name}'")


@lru_cache(maxsize=1024)
def _attributes(operator: str, version: int) -> dict[str, tuple[int, bool]]:
    """Type and necessity of each attribute: reading them from the schema copies all of it."""
    schema = _schema(operator, version)
    return {name: (int(each.type.value), bool(each.required)) for name, each in schema.attributes.items()}


@lru_cache(maxsize=1024)
def _parameters(operator: str, version: int) -> list[tuple[str, bool, bool, frozenset[str]]]:
    """For each operand: name of its type variable, whether it is needed, whether it repeats, types that it takes."""
    option = onnx.defs.OpSchema.FormalParameterOption
    return [
        (each.type_str, each.option == option.Single, each.option == option.Variadic, frozenset(each.types))
        for each in _schema(operator, version).inputs
    ]


def _check_operands(node: onnx.NodeProto, schema: Any, operands: Sequence[Operand | None]) -> None:
    """Operands must be there, of a type that is taken, and of one type where the standard says so."""
    parameters = _parameters(node.op_type, schema.since_version)
    bound: dict[str, str] = {}
    for index, operand in enumerate(operands):
        variable, is_needed, repeats, taken = parameters[min(index, len(parameters) - 1)]
        if operand is None:
            if is_needed:
                raise InputError(f"operand {index} of {node.op_type} is missing")
            continue
        dtype = operand.type.dtype
        if f"tensor({_TYPE_NAMES.get(dtype, dtype)})" not in taken:
            raise InputError(f"operand {index} of {node.op_type} is {operand.type}, a type that it does not take")
        is_shared = not repeats or schema.inputs[-1].is_homogeneous
        if is_shared and bound.setdefault(variable, dtype) != dtype:
            raise InputError(f"operands of {node.op_type} are {bound[variable]} and {dtype}, but must be of one type")
