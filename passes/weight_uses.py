"""Which nodes read which constant matrices, and which of these are the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from passes.ir import Node, Value

BUFFER_TABLE_WORDS = 4096
"""Lookup tables of at most this many elements stay in the shared buffer."""


@dataclass(frozen=True)
class WeightUse:
    """A matrix that a node reads.

    Attributes:
        node: The node.
        role: `linear`, `experts`, `table`, `in` or `down`.
        weights: Constants [inputs, outputs_i], side by side along the outputs; a lookup table [outputs, inputs] alone.
    """

    node: Node
    role: str
    weights: tuple[Value, ...]

    @property
    def is_table(self) -> bool:
        """Whether the only weight is stored the other way round, as a lookup table."""
        return self.role == "table"

    @property
    def shape(self) -> tuple[int, int]:
        """(inputs, outputs) of the matrix, or of each expert's."""
        shapes = [tuple(int(str(dim)) for dim in weight.shape[-2:]) for weight in self.weights]
        return (shapes[0][1], shapes[0][0]) if self.is_table else (shapes[0][0], sum(shape[1] for shape in shapes))

    def same_matrix(self, other: WeightUse) -> bool:
        """Whether both read the same numbers, in whatever orientation."""
        if len(self.weights) != len(other.weights):
            return False
        crossed = self.is_table != other.is_table
        return all(_same_weight(a, crossed, b) for a, b in zip(self.weights, other.weights, strict=True))

    def is_among(self, others: Iterable[WeightUse]) -> bool:
        """Whether one of `others` reads the same numbers."""
        return any(self.same_matrix(other) for other in others)


def is_bank_table(node: Node) -> bool:
    """Whether `node` looks rows up in a constant table that is too large for the shared buffer."""
    table = node.inputs[0] if node.op == "gather" else None
    if table is None or table.constant is None or node.attributes["axis"] != 0 or table.type.rank != 2:
        return False
    return table.constant.size > BUFFER_TABLE_WORDS and table.constant.dtype.kind not in "iub"


def weight_uses(node: Node) -> Iterator[WeightUse]:
    """The matrices that a node reads."""
    if node.op == "linear":
        yield WeightUse(node, "linear", (node.operand(1),))
    elif node.op == "expert_linear":
        yield WeightUse(node, "experts", (node.operand(2),))
    elif node.op == "feed_forward":
        up, gate = node.operand(1), node.optional(3)
        yield WeightUse(node, "in", (up,) if gate is None else (gate, up))
        yield WeightUse(node, "down", (node.operand(5),))
    elif is_bank_table(node):
        yield WeightUse(node, "table", (node.operand(0),))


def _same_weight(first: Value, crossed: bool, second: Value) -> bool:
    if first is second:
        return not crossed
    if first.constant is None or second.constant is None:
        return False
    other = second.constant.T if crossed else second.constant
    if first.constant.shape != other.shape:
        return False
    if not np.array_equal(first.constant[:1], other[:1]):
        return False
    return bool(np.array_equal(first.constant, other))
