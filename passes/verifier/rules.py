"""The vocabulary of type rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from passes.dims import Affine, Dim
from passes.ir import Graph, Node, TensorType, Value
from passes.ops import FLOAT_DTYPES
from passes.verifier.findings import RuleBroken

Rule = Callable[[Graph, Node], list[TensorType]]
"""Checks the operands of a node and says what its results must be; raises `RuleBroken`."""


def require(holds: bool, message: str) -> None:
    """Raise `RuleBroken` with the message unless the condition holds."""
    if not holds:
        raise RuleBroken(message)


def broadcast(shapes: Sequence[Sequence[Dim]]) -> tuple[Dim, ...]:
    """The shape that numpy's broadcasting gives; dimensions must be equal or 1."""
    rank = max(len(shape) for shape in shapes)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        for axis, dim in enumerate(shape, rank - len(shape)):
            if dim != 1:
                fits = result[axis] in (1, dim)
                require(fits, f"the dimensions {result[axis]} and {dim} of axis {axis} do not broadcast")
                result[axis] = dim
    return tuple(result)


def normal_axis(node: Node, kind: TensorType) -> int:
    """The attribute `axis` counted from the front."""
    axis: int = node.attributes["axis"]
    require(-kind.rank <= axis < kind.rank, f"axis {axis} does not exist in {kind}")
    return axis % kind.rank


def floating(value: Value, what: str) -> TensorType:
    """The type of a value that must be floating point."""
    require(value.type.dtype in FLOAT_DTYPES, f"{what} is {value.type}, but must be floating point")
    return value.type


def per_head(width: Dim, heads: int, what: str) -> int:
    """Elements of each head in a row of `width` elements."""
    require(not isinstance(width, Affine) and width % heads == 0, f"{what} of width {width} has no {heads} equal heads")
    assert isinstance(width, int)
    return width // heads
