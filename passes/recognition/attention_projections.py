"""Keys and values that are linear maps of one value, as a decomposition of attention needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passes.ir import Graph, Node, Value
from passes.recognition.matching import Refusal
from passes.rewriting import add

Array = NDArray[Any]
_SAME_ELEMENTS = ("reshape", "transpose", "identity")
_NORMS = ("rms_norm", "layer_norm")


@dataclass(frozen=True)
class LinearPart:
    """Columns `start` to `stop` of a `linear` node with a constant matrix, all of them unless a joint result is split.

    Attributes:
        node: The `linear`.
        start: First column.
        stop: Behind the last column.
    """

    node: Node
    start: int
    stop: int

    @property
    def matrix(self) -> Array:
        """Its columns of the matrix [K, N]."""
        return np.asarray(self.node.operand(1).constant)[:, self.start : self.stop]

    @property
    def bias(self) -> Array | None:
        """Its elements of the bias [N]."""
        bias = self.node.optional(2)
        return None if bias is None else np.asarray(bias.constant)[self.start : self.stop]

    def alone(self, graph: Graph, value: Value) -> Value:
        """`value`, which is this part, from a `linear` of its own."""
        if self.node.output is value:
            return value
        operands: list[Value | None] = [self.node.operand(0), self.constant(graph, "weight", self.matrix, 1)]
        if self.bias is not None:
            operands.append(self.constant(graph, "bias", self.bias, 2))
        return add(graph, "linear", operands, value.type, self.node.origins)

    def constant(self, graph: Graph, name: str, array: Array, operand: int) -> Value:
        """`array` as a constant with the element type of an operand of the `linear`."""
        return graph.add_constant(array, name, self.node.operand(operand).type.dtype)


@dataclass(frozen=True)
class Projections:
    """Keys X W_K + b_K and values X W_V + b_V of one attention.

    Attributes:
        x: X [B, L, d].
        key: W_K [d, G*D] and b_K, which adds the same to all scores of a query, so that the softmax does not see it.
        value: W_V [d, G*E] and b_V.
    """

    x: Value
    key: LinearPart
    value: LinearPart

    @property
    def width(self) -> int:
        """d, the elements of a token."""
        return int(str(self.x.shape[-1]))


def projections_of(graph: Graph, node: Node, keeps_x: bool = False) -> Projections:
    """The projections behind an `attention` of the graph.

    Args:
        graph: The graph.
        node: The attention.
        keeps_x: Whether X of earlier tokens may take the place of their keys and values, as inputs and outputs.

    Raises:
        Refusal: keys or values are no linear maps of one value, or somebody else needs them.
    """
    if node.optional(1) is None:
        raise Refusal("all keys are of earlier runs")
    key, value = (_projection(node.operand(index), name) for index, name in ((1, "keys"), (2, "values")))
    pasts, results = [node.optional(index) for index in (3, 4)], node.outputs[1:]
    if any(pasts) and not keeps_x:
        raise Refusal(
            "keys and values of earlier tokens are given, which do not tell X: --pipeline attention_on_x keeps X"
        )
    if any(past is not None and (past not in graph.inputs or len(past.uses) > 1) for past in pasts):
        raise Refusal("keys and values of earlier tokens are computed, or used elsewhere too")
    if any(result.uses or (graph.is_output(result) and not keeps_x) for result in results):
        raise Refusal("the keys or values are asked for as such")
    x = key.node.operand(0)
    if x is not value.node.operand(0):
        raise Refusal("keys and values are projections of different values")
    if x.type.rank != 3 or not isinstance(x.shape[-1], int):
        raise Refusal(f"what is projected is {x.type}, not one row for each token")
    if node.attributes["softcap"] and key.bias is not None and key.bias.any():
        raise Refusal("the scores are capped, so that the bias of the keys does not drop out of the softmax")
    return Projections(x, key, value)


def _projection(value: Value, what: str) -> LinearPart:
    part = linear_part(value)
    if part is not None:
        return part
    node = value.producer
    while node is not None and node.op in _SAME_ELEMENTS:
        node = node.operand(0).producer
    if node is None:
        raise Refusal(f"the {what} are given, not projected")
    if node.op == "rotary":
        raise Refusal(f"a rotary embedding stands between the projection of the {what} and the scores")
    if node.op in _NORMS:
        raise Refusal(f"the {what} are normalised behind their projection")
    if node.op == "linear":
        constant = node.operand(1).is_constant
        raise Refusal(f"the {what} are rearranged behind their projection" if constant else f"{what} have no weights")
    raise Refusal(f"the {what} come from {node.op}, not straight from a linear map")


def linear_part(value: Value) -> LinearPart | None:
    """The columns of a `linear` with constant operands that `value` is, `None` when it is none."""
    node, span = value.producer, None
    if node is not None and node.op in ("split", "slice") and node.attributes["axis"] == value.type.rank - 1:
        span, node = _columns(node, value), node.operand(0).producer
        if span is None:
            return None
    if (
        node is None
        or node.op != "linear"
        or any(each is not None and not each.is_constant for each in node.inputs[1:])
    ):
        return None
    return LinearPart(node, *(span or (0, int(str(node.operand(1).shape[1])))))


def _columns(node: Node, value: Value) -> tuple[int, int] | None:
    """First column and the one behind the last of a result of `split` or `slice`."""
    if node.op == "split":
        sizes: tuple[int, ...] = node.attributes["sizes"]
        index = node.outputs.index(value)
        return sum(sizes[:index]), sum(sizes[: index + 1])
    start, stop, step = (node.attributes[name] for name in ("start", "stop", "step"))
    return (start, stop) if step == 1 and isinstance(start, int) and isinstance(stop, int) else None
