"""Rules that give arithmetic, logic and conversions one form; none of them changes a result.

A rule takes the graph and a node, and returns the value that replaces the node's result, or `None`.
"""

from __future__ import annotations

import numpy as np

from passes.ir import Graph, Node, Value, constant_scalar
from passes.recognition.matching import operand_pairs, producer
from passes.rewriting import add, cast

COMMUTATIVE = ("add", "mul", "max", "min", "equal", "and", "or", "xor")
BROADCASTING = (*COMMUTATIVE, "sub", "div", "mod", "pow", "less", "less_equal", "greater", "greater_equal", "where")
_NEUTRAL_RIGHT = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0, "pow": 1.0}
_FLOATS = ("float16", "bfloat16", "float32", "float64")


def binary(graph: Graph, node: Node, op: str, a: Value, b: Value) -> Value:
    """`op` of a and b with the type and origins of the node that it replaces."""
    return add(graph, op, [a, b], node.output.type, node.origins)


def unary(graph: Graph, node: Node, op: str, x: Value) -> Value:
    """`op` of x with the type and origins of the node that it replaces."""
    return add(graph, op, [x], node.output.type, node.origins)


def constant_right(graph: Graph, node: Node) -> Value | None:
    """The constant operand of a commutative operation stands on the right."""
    a, b = node.operand(0), node.operand(1)
    if a.is_constant and not b.is_constant:
        return binary(graph, node, node.op, b, a)
    return None


def neutral(graph: Graph, node: Node) -> Value | None:
    """x + 0, x - 0, x * 1, x / 1, x ^ 1 -> x."""
    x = node.operand(0)
    if constant_scalar(node.operand(1)) == _NEUTRAL_RIGHT[node.op] and x.type == node.output.type:
        return x
    return None


def square(graph: Graph, node: Node) -> Value | None:
    """x^2 -> x * x."""
    x = node.operand(0)
    if constant_scalar(node.operand(1)) == 2.0 and x.type == node.output.type:
        return binary(graph, node, "mul", x, x)
    return None


def division(graph: Graph, node: Node) -> Value | None:
    """1 / x -> reciprocal(x); x / c -> x * (1 / c) where c is a power of two in every element, which is exact."""
    a, b = node.operand(0), node.operand(1)
    if a.type.dtype not in _FLOATS:
        return None
    if constant_scalar(a) == 1.0 and b.type == node.output.type:
        return unary(graph, node, "reciprocal", b)
    if b.constant is None or b.constant.size > 4096:
        return None
    divisors = np.asarray(b.constant, np.float64)
    mantissas, exponents = np.frexp(np.abs(divisors))
    if not np.all((mantissas == 0.5) & (np.abs(exponents) < 14)):
        return None
    return binary(graph, node, "mul", a, graph.add_constant((1.0 / divisors).astype(b.type.dtype), b.name))


def negation(graph: Graph, node: Node) -> Value | None:
    """x * -1 -> -x."""
    x = node.operand(0)
    if constant_scalar(node.operand(1)) == -1.0 and x.type == node.output.type:
        return unary(graph, node, "neg", x)
    return None


def involution(graph: Graph, node: Node) -> Value | None:
    """-(-x) -> x, not not x -> x."""
    inner = producer(node.operand(0), node.op)
    return None if inner is None else inner.operand(0)


def identity(graph: Graph, node: Node) -> Value | None:
    """The identity disappears."""
    return node.operand(0)


def conversion(graph: Graph, node: Node) -> Value | None:
    """A conversion to the own type disappears, and one of two in a row where the first loses nothing."""
    x = node.operand(0)
    if x.type == node.output.type:
        return x
    inner = producer(x, "cast")
    if inner is None:
        return None
    source = inner.operand(0)
    if np.can_cast(source.type.dtype, x.type.dtype, "safe"):
        return cast(graph, source, node.output.type.dtype, node.origins)
    return None


def choice(graph: Graph, node: Node) -> Value | None:
    """where(c, x, x) -> x, where(true, x, y) -> x, where(not c, x, y) -> where(c, y, x)."""
    condition, a, b = node.operand(0), node.operand(1), node.operand(2)
    known = constant_scalar(condition)
    chosen = a if a is b or known == 1.0 else b if known == 0.0 else None
    if chosen is not None:
        return chosen if chosen.type == node.output.type else None
    inverse = producer(condition, "not")
    if inverse is None:
        return None
    return add(graph, "where", [inverse.operand(0), b, a], node.output.type, node.origins)


def conjunction(graph: Graph, node: Node) -> Value | None:
    """X and x -> x, x and true -> x, x or false -> x; a true (false) constant may have any shape that keeps x's."""
    neutral_element = node.op == "and"
    for x, y in operand_pairs(node):
        if x.type != node.output.type:
            continue
        if x is y or (y.constant is not None and bool(np.all(np.asarray(y.constant) == neutral_element))):
            return x
    return None


def outer_product(graph: Graph, node: Node) -> Value | None:
    """A matrix product with constants over an axis of length 1 is an elementwise product, which is exact.

    Products of two computed values are left: they may be attention over a single key.
    """
    a, b = node.operand(0), node.operand(1)
    if not (2 <= a.type.rank <= 3 and 2 <= b.type.rank <= 3) or a.shape[-1] != 1 or b.shape[-2] != 1:
        return None
    if not any(value.is_constant or _repeats_a_constant(value) for value in (a, b)):
        return None
    return binary(graph, node, "mul", a, b)


def _repeats_a_constant(value: Value) -> bool:
    node = producer(value, "expand")
    return node is not None and node.operand(0).is_constant


def without_expand(graph: Graph, node: Node) -> Value | None:
    """An operand that is broadcast anyway needs no `expand`."""
    for position, value in enumerate(node.inputs):
        source = producer(value, "expand")
        if source is None:
            continue
        operands = [v for v in node.inputs if v is not None]
        operands[position] = source.operand(0)
        if broadcast_shape(operands) == node.output.type.shape:
            return add(graph, node.op, operands, node.output.type, node.origins)
    return None


def broadcast_shape(operands: list[Value]) -> tuple[object, ...] | None:
    """Shape of an elementwise result, or `None` when symbols hide it."""
    rank = max(value.type.rank for value in operands)
    padded = [(1,) * (rank - value.type.rank) + value.shape for value in operands]
    shape: list[object] = []
    for sizes in zip(*padded, strict=True):
        long = {size for size in sizes if size != 1}
        if len(long) > 1:
            return None
        shape.append(long.pop() if long else 1)
    return tuple(shape)


def splat(value: Value) -> Value | None:
    """The one-element constant that a value repeats everywhere, or `None`."""
    node = producer(value, "expand")
    if node is not None and constant_scalar(node.operand(0)) is not None:
        return node.operand(0)
    return value if constant_scalar(value) is not None else None
