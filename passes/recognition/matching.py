"""Predicates and views that the fusion patterns are made of; nothing here changes a graph."""

from __future__ import annotations

from dataclasses import dataclass

from passes.dims import Dim
from passes.ir import Node, Value, constant_scalar


class Refusal(Exception):
    """A subgraph is not the pattern; the message says which condition fails. Passes record it as a fact."""


def producer(value: Value | None, *ops: str) -> Node | None:
    """The node that computes `value` when it is one of `ops`, otherwise `None`."""
    if value is None or value.producer is None or value.producer.op not in ops:
        return None
    return value.producer


def only_user(value: Value) -> Node | None:
    """The node that uses `value` when there is exactly one, with one use."""
    return next(iter(value.uses))[0] if len(value.uses) == 1 else None


def operand_pairs(node: Node) -> tuple[tuple[Value, Value], tuple[Value, Value]]:
    """Both orders of the two operands of a commutative node."""
    a, b = node.operand(0), node.operand(1)
    return (a, b), (b, a)


def with_constant(node: Node) -> tuple[Value, float] | None:
    """(other operand, number) of a commutative node with a one-element constant that does not change the shape."""
    for value, constant in operand_pairs(node):
        number = constant_scalar(constant)
        if number is not None and value.shape == node.output.shape:
            return value, number
    return None


def without_casts(value: Value) -> Value:
    """`value` before conversions between floating-point types."""
    node = producer(value, "cast")
    while node is not None and _is_float(value) and _is_float(node.operand(0)):
        value = node.operand(0)
        node = producer(value, "cast")
    return value


def _is_float(value: Value) -> bool:
    return value.type.dtype in ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Product:
    """A value written as a product.

    Attributes:
        constant: The product of all one-element constants.
        factors: The other factors.
        nodes: The multiplications and divisions that were taken apart.
    """

    constant: float
    factors: tuple[Value, ...]
    nodes: tuple[Node, ...]


def product_of(value: Value) -> Product:
    """Take a product apart, as long as its partial results are used for nothing else."""
    constant, factors, nodes = 1.0, list[Value](), list[Node]()
    stack = [value]
    while stack:
        part = stack.pop()
        number = constant_scalar(part)
        node = producer(part, "mul", "div")
        if number is not None:
            constant *= number
        elif node is None or (part is not value and only_user(part) is None):
            factors.append(part)
        elif node.op == "mul":
            nodes.append(node)
            stack += [node.operand(1), node.operand(0)]
        elif (divisor := constant_scalar(node.operand(1))) is not None:
            nodes.append(node)
            constant /= divisor
            stack.append(node.operand(0))
        else:
            factors.append(part)
    return Product(constant, tuple(factors), tuple(nodes))


def unscaled(value: Value) -> tuple[Value, float, tuple[Node, ...]]:
    """(x, c, nodes) with value = x * c, c the product of the one-element constants that multiply or divide it.

    It ends at a value that is used twice: that one is x, however it is computed.
    """
    scale, nodes = 1.0, list[Node]()
    while (node := producer(value, "mul", "div")) is not None and only_user(value) is not None:
        if node.op == "mul":
            found = with_constant(node)
        else:
            divisor = constant_scalar(node.operand(1))
            found = None if divisor is None or divisor == 0 else (node.operand(0), 1.0 / divisor)
        if found is None or found[0].shape != value.shape:
            break
        nodes.append(node)
        value, scale = found[0], scale * found[1]
    return value, scale, tuple(nodes)


@dataclass(frozen=True)
class Piece:
    """A contiguous part of one axis of another value: positions `start` to `stop`."""

    source: Value
    axis: int
    start: Dim
    stop: Dim
    step: int
    node: Node


def piece_of(value: Value) -> Piece | None:
    """How `value` was cut out, by a slice or by a split."""
    node = producer(value, "slice", "split")
    if node is None:
        return None
    axis: int = node.attributes["axis"]
    if node.op == "slice":
        return Piece(
            node.operand(0), axis, node.attributes["start"], node.attributes["stop"], node.attributes["step"], node
        )
    sizes: tuple[Dim, ...] = node.attributes["sizes"]
    start: Dim = 0
    for size in sizes[: node.outputs.index(value)]:
        start = start + size
    return Piece(node.operand(0), axis, start, start + value.shape[axis], 1, node)


def close(number: float | None, target: float) -> bool:
    """Whether a constant is `target` as rounded to float32; one rounded to a half precision is another number."""
    return number is not None and abs(number - target) <= 1e-5 * abs(target)
