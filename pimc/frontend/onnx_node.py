"""One ONNX node as its importer sees it: operands, attributes, operator set version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from isa import InputError, UnsupportedError
from passes import Dim
from pimc.frontend.builder import Array, Builder, Operand

Results = Operand | tuple[Operand, ...]
Importer = Callable[["OnnxNode"], Results]
"""Adds what a node computes to its builder and returns the operands that are its results."""


@dataclass(frozen=True)
class OnnxNode:
    """One ONNX node during the import.

    Attributes:
        name: Name, made up when the model gives none.
        operator: Operator.
        version: Version of the operator set of its domain that the model uses.
        inputs: Operands, `None` where an optional one is absent.
        result_count: Number of results, counting trailing unnamed ones out.
        attributes: Attributes: `int`, `float`, `str`, tuples of these, arrays for tensors.
        builder: The graph under construction.
        model_path: How messages call the model.
    """

    name: str
    operator: str
    version: int
    inputs: tuple[Operand | None, ...]
    result_count: int
    attributes: Mapping[str, Any]
    builder: Builder

    def operand(self, index: int) -> Operand:
        """Operand `index`, which must be present."""
        operand = self.optional(index)
        if operand is None:
            raise InputError(f"operand {index} of {self.operator} is missing")
        return operand

    def optional(self, index: int) -> Operand | None:
        """Operand `index`, or `None`."""
        return self.inputs[index] if index < len(self.inputs) else None

    def integer(self, name: str, default: int | None = None) -> int:
        """An integer attribute."""
        return int(self._attribute(name, default))

    def number(self, name: str, default: float | None = None) -> float:
        """A floating point attribute."""
        return float(self._attribute(name, default))

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return str(self._attribute(name, default))

    def array(self, name: str) -> Array | None:
        """A tensor attribute, or `None`."""
        return self.attributes.get(name)

    def axis(self, rank: int, default: int | None = None, name: str = "axis") -> int:
        """The attribute `axis`, counted from the front."""
        return normal_axis(self.integer(name, default), rank)

    def axes(self, index: int, rank: int) -> tuple[int, ...] | None:
        """Axes from operand `index` or, in older operator sets, from the attribute; `None` when not given."""
        operand = self.optional(index)
        if operand is not None:
            return tuple(normal_axis(axis, rank) for axis in self.fixed(index, "axes"))
        if "axes" in self.attributes:
            return tuple(normal_axis(int(axis), rank) for axis in self.attributes["axes"])
        return None

    def dims(self, index: int, what: str) -> list[Dim]:
        """Contents of an integer operand as dimensions; `what` names it in messages."""
        return self.builder.known_dims(self.operand(index), what)

    def fixed(self, index: int, what: str) -> list[int]:
        """Contents of an integer operand that must be numbers."""
        numbers: list[int] = []
        for dim in self.dims(index, what):
            if not isinstance(dim, int):
                raise UnsupportedError(f"the {what} '{dim}' must be a number", help="bind its dimensions with --dim")
            numbers.append(dim)
        return numbers

    def _attribute(self, name: str, default: Any) -> Any:
        value = self.attributes.get(name, default)
        if value is None:
            raise InputError(f"the attribute '{name}' of {self.operator} is missing")
        return value


def normal_axis(axis: int, rank: int) -> int:
    """An axis counted from the front; raises `InputError` when there is no such axis."""
    if not -rank <= axis < rank:
        raise InputError(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis % rank


def node_attributes(node: onnx.NodeProto, read_tensor: Callable[[onnx.TensorProto], Array]) -> dict[str, Any]:
    """Attributes of a node as plain values."""
    kinds = onnx.AttributeProto
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type == kinds.TENSOR:
            values[attribute.name] = read_tensor(attribute.t)
        elif attribute.type == kinds.STRING:
            values[attribute.name] = attribute.s.decode("utf-8", "replace")
        elif attribute.type in (kinds.INT, kinds.FLOAT):
            values[attribute.name] = attribute.i if attribute.type == kinds.INT else attribute.f
        elif attribute.type in (kinds.INTS, kinds.FLOATS):
            values[attribute.name] = tuple(attribute.ints if attribute.type == kinds.INTS else attribute.floats)
        elif attribute.type == kinds.GRAPH:
            values[attribute.name] = attribute.g
        else:
            raise UnsupportedError(f"the attribute '{attribute.name}' has a type that is not supported")
    return values
