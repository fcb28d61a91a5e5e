"""Construction of a graph during the import: folds what is known, infers types, adds nodes for the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import InputError, UnsupportedError
from passes import Affine, Dim, Graph, TensorType, Value, apply_operation, evaluate
from pimc.frontend import shape_values
from pimc.frontend.binding_help import binding_help
from pimc.frontend.inference import infer
from pimc.frontend.shape_values import Elements
from pimc.frontend.symbols import SymbolTable, dimensions_help

Array = NDArray[Any]

FOLDED_INTEGERS = 4096
"""Integer and bool tensors of up to so many elements are computed during the import when their operands are known."""
FOLDED_FLOATS = 64
"""The same for floating point tensors; larger ones are left to the pass `constant_folding`."""
_SHAPE_DTYPES = ("int64", "int32", "bool")


@dataclass(frozen=True, eq=False)
class Operand:
    """An ONNX tensor during the import: a value of the graph, a constant, or dimensions known as expressions.

    Attributes:
        type: Element type and shape.
        value: Value of the graph, when there is one already.
        constant: Contents, when they are numbers.
        elements: Contents, when some are affine expressions.
    """

    type: TensorType
    value: Value | None = None
    constant: Array | None = None
    elements: Elements | None = None


class Builder:
    """The graph under construction together with what is known of its symbols.

    Attributes:
        graph: Receives the nodes.
        symbols: Equalities of dimensions.
        node_name: Name of the ONNX node that is being imported.
    """

    def __init__(self, graph: Graph, symbols: SymbolTable) -> None:
        self.graph = graph
        self.symbols = symbols
        self.node_name = ""
        self._values: dict[Operand, Value] = {}
        self._undecided: dict[Operand, tuple[str, tuple[Operand, ...], Mapping[str, Any]]] = {}

    def shape(self, operand: Operand) -> tuple[Dim, ...]:
        """Shape with all equalities that are known by now."""
        return self.symbols.resolve_all(operand.type.shape)

    def shape_of_rank(self, operand: Operand, rank: int) -> tuple[Dim, ...]:
        """The shape of an operand that must have the given rank; `InputError` otherwise."""
        if operand.type.rank != rank:
            raise InputError(f"an operand is {operand.type}, but must have rank {rank}")
        return self.shape(operand)

    def rank(self, operand: Operand) -> int:
        """Number of dimensions."""
        return operand.type.rank

    def constant(self, array: Array) -> Operand:
        """An operand with known contents."""
        kind = TensorType(array.dtype.name, tuple(int(size) for size in array.shape))
        return Operand(kind, constant=array)

    def scalar(self, number: float, dtype: str) -> Operand:
        """A constant of rank 0; `InputError` when the number does not fit into the dtype."""
        try:
            return self.constant(np.array(number, dtype=dtype))
        except OverflowError:
            raise InputError(f"{number} does not fit into {dtype}") from None

    def dims(self, dims: Sequence[Dim]) -> Operand:
        """A 1-d int64 operand that holds dimensions."""
        elements = np.empty(len(dims), dtype=np.object_)
        elements[:] = list(dims)
        return self._known(elements, "int64")

    def elements(self, operand: Operand) -> Elements | None:
        """Contents of a small integer or bool operand as numbers and expressions, `None` when they are not known."""
        if operand.elements is not None:
            resolved = np.frompyfunc(lambda e: e if isinstance(e, bool) else self.symbols.resolve(e), 1, 1)
            return np.asarray(resolved(operand.elements), dtype=np.object_)
        if operand.constant is None or operand.type.dtype not in _SHAPE_DTYPES:
            return None
        return operand.constant.astype(np.object_) if operand.constant.size <= FOLDED_INTEGERS else None

    def known_dims(self, operand: Operand, what: str) -> list[Dim]:
        """Contents of a 0-d or 1-d integer operand.

        Args:
            operand: The operand.
            what: Its role, for the message.

        Raises:
            UnsupportedError: The contents depend on data.
        """
        elements = self._assumed(operand)
        if elements is None:
            raise UnsupportedError(
                f"cannot find the {what} at compile time: computed from data, or not affine in the dimensions",
                help=self.binding_help(operand),
            )
        return list(elements.reshape(-1))

    def known_array(self, operand: Operand) -> Array | None:
        """Contents of an operand whose value follows from constants alone, `None` when it depends on anything else."""
        if operand.constant is not None:
            return operand.constant
        if operand.value is None or operand.type.symbols or not _is_computable(operand.value):
            return None
        return evaluate(self.graph, [operand.value], {})[0]

    def binding_help(self, operand: Operand) -> str:
        """What the user can bind so that the contents of an operand are known."""
        if operand.elements is not None:
            return dimensions_help(operand.elements.reshape(-1))
        return binding_help(self.symbols, self.value(operand))

    def value(self, operand: Operand) -> Value:
        """The graph value of an operand; it is made when the operand was only known as contents."""
        if operand.value is not None:
            return operand.value
        if operand not in self._values:
            self._values[operand] = self._materialised(operand)
        return self._values[operand]

    def emit(self, op: str, operands: Sequence[Operand | None], attributes: Mapping[str, Any] | None = None) -> Operand:
        """Apply an operation with one result: fold it if its operands are known, else add a node."""
        return self.emit_many(op, operands, attributes or {})[0]

    def emit_many(
        self, op: str, operands: Sequence[Operand | None], attributes: Mapping[str, Any]
    ) -> tuple[Operand, ...]:
        """Apply an operation: fold it if its operands are known, else add a node.

        Args:
            op: Operation of `passes.OPS`, one that exists before fusion.
            operands: Operands; `None` where an optional one is absent.
            attributes: Attributes; dimensions may be symbolic.
        """
        attributes = {name: self._resolved(attribute) for name, attribute in attributes.items()}
        present = [operand for operand in operands if operand is not None]
        kinds = [self.symbols.resolve_type(operand.type) for operand in present]
        results = infer(self.symbols, op, kinds, attributes)
        folded = self._folded(op, present, attributes, results)
        if folded is not None:
            return folded
        values = [None if operand is None else self.value(operand) for operand in operands]
        origins = [self.node_name] if self.node_name else []
        node = self.graph.add_node(op, values, results, attributes, name=self.node_name or op, origins=origins)
        made = tuple(Operand(value.type, value) for value in node.outputs)
        if len(made) == 1 and _is_small(made[0].type) and made[0].type.dtype in _SHAPE_DTYPES:
            self._undecided[made[0]] = (op, tuple(present), attributes)
        return made

    def _assumed(self, operand: Operand) -> Elements | None:
        """Contents of an operand that a shape needs: a length is taken to be within what it is held to by `min`."""
        elements = self.elements(operand)
        if elements is not None or operand not in self._undecided:
            return elements
        op, operands, attributes = self._undecided[operand]
        known = [contents for each in operands if (contents := self._assumed(each)) is not None]
        if len(known) < len(operands):
            return None
        if op == "min":
            return shape_values.evaluate_minimum(known[0], known[1], self._demand_at_least)
        return shape_values.evaluate(op, known, attributes)

    def _demand_at_least(self, larger: Dim, smaller: Dim) -> None:
        self.symbols.demand_at_least(larger, smaller, self.node_name)

    def _folded(
        self, op: str, operands: list[Operand], attributes: Mapping[str, Any], results: list[TensorType]
    ) -> tuple[Operand, ...] | None:
        if not all(_is_small(kind) for kind in results) or any(_mentions_symbols(a) for a in attributes.values()):
            return None
        constants = [operand.constant for operand in operands]
        try:
            if all(constant is not None for constant in constants):
                arrays = apply_operation(op, constants, attributes)
                pairs = zip(arrays, results, strict=True)
                return tuple(self.constant(np.asarray(array).astype(kind.dtype)) for array, kind in pairs)
            return self._folded_dims(op, operands, attributes, results)
        except (ValueError, IndexError) as problem:
            raise InputError(f"{op} of constants cannot be computed: {problem}") from problem

    def _folded_dims(
        self, op: str, operands: list[Operand], attributes: Mapping[str, Any], results: list[TensorType]
    ) -> tuple[Operand, ...] | None:
        known = [self.elements(operand) for operand in operands]
        elements = [contents for contents in known if contents is not None]
        if len(elements) < len(known) or len(results) != 1 or results[0].dtype not in _SHAPE_DTYPES:
            return None
        contents = shape_values.evaluate(op, elements, attributes)
        return None if contents is None else (self._known(contents, results[0].dtype),)

    def _known(self, elements: Elements, dtype: str) -> Operand:
        if any(isinstance(element, Affine) for element in elements.reshape(-1)):
            return Operand(TensorType(dtype, elements.shape), elements=elements)
        if any(abs(element) >= 1 << 63 for element in elements.reshape(-1)):
            raise InputError("the shape arithmetic leaves the range of int64")
        return self.constant(elements.astype(dtype))

    def _materialised(self, operand: Operand) -> Value:
        if operand.constant is not None:
            name = f"{self.node_name or 'model'}.constant"
            return self.graph.add_constant(operand.constant, name)
        elements = self.elements(operand)
        assert elements is not None
        flat = self._column(list(elements.reshape(-1)), operand.type.dtype)
        if operand.type.rank == 1:
            return flat
        return self._plain_node("reshape", [flat], operand.type, {"shape": operand.type.shape})

    def _column(self, dims: list[Dim], dtype: str) -> Value:
        """A 1-d value that holds dimensions: a range of one element for each, joined."""
        single = TensorType(dtype, (1,))
        spans = [{"start": dim, "stop": dim + 1, "step": 1, "to": dtype} for dim in dims]
        parts = [self._plain_node("range", [], single, span) for span in spans]
        if len(parts) == 1:
            return parts[0]
        return self._plain_node("concat", parts, TensorType(dtype, (len(dims),)), {"axis": 0})

    def _plain_node(self, op: str, inputs: Sequence[Value], kind: TensorType, attributes: Mapping[str, Any]) -> Value:
        name = f"{self.node_name or 'model'}.{op}"
        return self.graph.add_node(op, inputs, [kind], attributes, name=name, origins=[self.node_name]).output

    def _resolved(self, attribute: Any) -> Any:
        if isinstance(attribute, Affine):
            return self.symbols.resolve(attribute)
        if isinstance(attribute, tuple):
            parts: tuple[Any, ...] = attribute
            return tuple(map(self._resolved, parts))
        return attribute


def _is_computable(value: Value) -> bool:
    """Whether a value is computed from constants alone, without symbols."""
    seen, waiting = {value}, [value]
    while waiting:
        node = waiting.pop().producer
        if node is None or any(_mentions_symbols(attribute) for attribute in node.attributes.values()):
            return False
        fresh = [each for each in node.inputs if each is not None and not each.is_constant and each not in seen]
        seen.update(fresh)
        waiting += fresh
    return True


def _is_small(kind: TensorType) -> bool:
    sizes = [dim for dim in kind.shape if isinstance(dim, int)]
    bound = FOLDED_INTEGERS if kind.dtype in _SHAPE_DTYPES else FOLDED_FLOATS
    return len(sizes) == kind.rank and math.prod(sizes) <= bound


def _mentions_symbols(attribute: Any) -> bool:
    if isinstance(attribute, tuple):
        parts: tuple[Any, ...] = attribute
        return any(map(_mentions_symbols, parts))
    return isinstance(attribute, Affine)
