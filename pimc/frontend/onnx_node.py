"""One ONNX node as its importer sees it: operands and attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import onnx

from isa import InputError, UnsupportedError
from passes import Dim
from pimc.frontend.builder import Array, Builder, Operand
from pimc.frontend.symbols import dimensions_help

Results = Operand | tuple[Operand, ...]
Importer = Callable[["OnnxNode"], Results]
"""Adds what a node computes to its builder and returns the operands that are its results."""


@dataclass(frozen=True)
class OnnxNode:
    """One ONNX node during the import.

    Attributes:
        name: Name, made up when the model gives none.
        operator: Operator.
        inputs: Operands, `None` where an optional one is absent.
        result_count: Number of results, counting trailing unnamed ones out.
        attributes: Attributes: `int`, `float`, `str`, tuples of these, arrays for tensors.
        builder: The graph under construction.
    """

    name: str
    operator: str
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
        return cast(int, self._attribute(name, default, "an integer", (int,)))

    def number(self, name: str, default: float | None = None) -> float:
        """A floating point attribute."""
        return float(cast(float, self._attribute(name, default, "a number", (int, float))))

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        return str(self._attribute(name, default, "a string", (str,)))

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute of several integers, `None` when it is not given."""
        if name not in self.attributes:
            return None
        values = self._attribute(name, None, "a list of integers", (tuple,))
        return tuple(map(int, cast(tuple[int, ...], values)))

    def numbers(self, name: str) -> tuple[float, ...] | None:
        """An attribute of several floating point numbers, `None` when it is not given."""
        if name not in self.attributes:
            return None
        values = self._attribute(name, None, "a list of numbers", (tuple,))
        return tuple(map(float, cast(tuple[float, ...], values)))

    def single(self, index: int) -> Operand:
        """Operand `index`, which must have one element."""
        operand = self.operand(index)
        if any(dim != 1 for dim in self.builder.shape(operand)):
            raise InputError(f"operand {index} of {self.operator} is {operand.type}, but must have one element")
        return operand

    def array(self, name: str) -> Array | None:
        """A tensor attribute, or `None`."""
        if name not in self.attributes:
            return None
        return cast(Array, self._attribute(name, None, "a tensor", (np.ndarray,)))

    def axis(self, rank: int, default: int | None = None, name: str = "axis") -> int:
        """The attribute `axis`, counted from the front."""
        return normal_axis(self.integer(name, default), rank)

    def axes(self, index: int, rank: int) -> tuple[int, ...] | None:
        """Axes from operand `index` or, in older operator sets, from the attribute; `None` when not given."""
        operand = self.optional(index)
        if operand is not None:
            return distinct([normal_axis(axis, rank) for axis in self.fixed(index, "axes")])
        axes = self.integers("axes")
        return None if axes is None else distinct([normal_axis(axis, rank) for axis in axes])

    def dims(self, index: int, what: str) -> list[Dim]:
        """Contents of an integer operand as dimensions; `what` names it in messages."""
        return self.builder.known_dims(self.operand(index), what)

    def dim(self, index: int, what: str) -> Dim:
        """The only element of an integer operand as a dimension."""
        dims = self.dims(index, what)
        if len(dims) != 1:
            raise InputError(f"the {what} has {len(dims)} elements, but must have one")
        return dims[0]

    def fixed(self, index: int, what: str) -> list[int]:
        """Contents of an integer operand that must be numbers."""
        numbers: list[int] = []
        for dim in self.dims(index, what):
            if not isinstance(dim, int):
                raise UnsupportedError(f"the {what} '{dim}' must be a number", help=dimensions_help([dim]))
            numbers.append(dim)
        return numbers

    def _attribute(self, name: str, default: object, kind: str, types: tuple[type, ...]) -> object:
        value = self.attributes.get(name, default)
        if value is None:
            raise InputError(f"the attribute '{name}' of {self.operator} is missing")
        if not isinstance(value, types):
            raise InputError(f"the attribute '{name}' of {self.operator} is not {kind}")
        return value


def normal_axis(axis: int, rank: int) -> int:
    """An axis counted from the front; raises `InputError` when there is no such axis."""
    if not -rank <= axis < rank:
        raise InputError(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis % rank


def distinct(axes: Sequence[int]) -> tuple[int, ...]:
    """Axes counted from the front, of which none may come twice."""
    if len(set(axes)) < len(axes):
        raise InputError(f"the axes {list(axes)} name an axis twice")
    return tuple(axes)


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
        else:
            raise UnsupportedError(f"the attribute '{attribute.name}' has a type that is not supported")
    return values
