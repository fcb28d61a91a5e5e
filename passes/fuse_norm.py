"""Recognition of layer_norm and rms_norm that an exporter spelled out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from passes.explain import record
from passes.ir import Graph, Node, TensorType, Value, constant_scalar
from passes.recognition.matching import Refusal, only_user, operand_pairs, producer, with_constant, without_casts
from passes.rewriting import add, cast, origins_of, replace, reshape


@dataclass(frozen=True)
class FuseNorm:
    """Replace x / sqrt(mean(x * x) + epsilon) [* weight] by `rms_norm`, and with x = y - mean(y) by `layer_norm`.

    Precondition: canonical form (squares are x * x, constants stand right).
    Effect: conversions between floating-point types around the norm may be passed; the weight is then applied before
    the conversion instead of after it.
    Postcondition: no norm of the last axis is spelled out, but for those listed in the facts.
    """

    name: ClassVar[str] = "fuse_norm"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    def run(self, graph: Graph) -> bool:
        """Fuse every norm; returns whether there was one."""
        counts = {"layer_norm": 0, "rms_norm": 0}
        unfused: list[tuple[str, str]] = []
        for node in graph.nodes:
            if node not in graph or node.op != "reduce_mean" or _squared(node.operand(0)) is None:
                continue
            try:
                counts[_rewrite(graph, match_norm(node))] += 1
            except Refusal as refusal:
                unfused.append((node.name, str(refusal)))
        record(graph, self.name, counts, unfused)
        return any(counts.values())


@dataclass(frozen=True)
class Norm:
    """A recognised norm.

    Attributes:
        x: What is normalised, before subtraction of its mean when `centred`.
        centred: Whether the mean is subtracted.
        epsilon: Added to the mean square.
        weight: Constant factor [D], or `None`.
        bias: Constant addend [D], or `None`.
        result: The value that the norm replaces.
        nodes: The matched nodes.
    """

    x: Value
    centred: bool
    epsilon: float
    weight: Value | None
    bias: Value | None
    result: Value
    nodes: tuple[Node, ...]


def match_norm(mean: Node) -> Norm:
    """The norm around a `reduce_mean` of squares; raises `Refusal`."""
    x = _squared(mean.operand(0))
    if x is None or not _over_last_axis(mean):
        raise Refusal("the mean is not over the last axis alone")
    plus = _follow(mean, "add", "nothing adds an epsilon")
    found = with_constant(plus)
    if found is None:
        raise Refusal("the epsilon is not a constant")
    *roots, quotient = _division_by_root(plus)
    if not _is_normalised(quotient, x, roots[-1].output):
        raise Refusal("another value than the squared one is divided by the root")
    nodes = [mean, *_producers(mean.operand(0)), plus, *roots, quotient]
    source, centred = _centred(x)
    if centred:
        nodes += _producers(x)
    weight, nodes_after, result = _constant_operand(quotient.output, "mul", x)
    bias = None
    if centred:
        bias, more, result = _constant_operand(result, "add", x)
        nodes_after += more
    return Norm(source, centred, found[1], weight, bias, result, tuple(dict.fromkeys([*nodes, *nodes_after])))


def _squared(value: Value) -> Value | None:
    node = producer(value, "mul")
    return node.operand(0) if node is not None and node.operand(0) is node.operand(1) else None


def _over_last_axis(node: Node) -> bool:
    rank = node.operand(0).type.rank
    return bool(node.attributes["keepdims"]) and tuple(node.attributes["axes"]) in ((rank - 1,), (-1,))


def _division_by_root(plus: Node) -> list[Node]:
    """The nodes from the root of the mean square to the quotient: `sqrt, div`, or `sqrt, reciprocal, mul`.

    A power of 0.5 counts as a root, one of -0.5 as a root and its reciprocal.
    """
    root = only_user(plus.output)
    exponent = constant_scalar(root.operand(1)) if root is not None and root.op == "pow" else None
    if root is None or (root.op != "sqrt" and exponent not in (0.5, -0.5)):
        raise Refusal("the mean square goes not only into a square root")
    if exponent == -0.5:
        return [root, _follow(root, "mul", "nothing is multiplied by the inverse root")]
    user = only_user(root.output)
    if user is not None and user.op == "reciprocal":
        return [root, user, _follow(user, "mul", "nothing is multiplied by the inverse root")]
    return [root, _follow(root, "div", "nothing is divided by the root")]


def _follow(node: Node, op: str, reason: str) -> Node:
    user = only_user(node.output)
    if user is None or user.op != op:
        raise Refusal(reason)
    return user


def _is_normalised(quotient: Node, x: Value, denominator: Value) -> bool:
    if quotient.op == "div":
        return quotient.operand(0) is x and quotient.operand(1) is denominator
    return any(a is x and b is denominator for a, b in operand_pairs(quotient))


def _centred(x: Value) -> tuple[Value, bool]:
    """(y, true) when x is y - mean(y) over the last axis, otherwise (x, false)."""
    difference = producer(x, "sub")
    if difference is None:
        return x, False
    mean = producer(difference.operand(1), "reduce_mean")
    if mean is None or not _over_last_axis(mean) or mean.operand(0) is not difference.operand(0):
        return x, False
    return difference.operand(0), True


def _producers(value: Value) -> list[Node]:
    return [] if value.producer is None else [value.producer]


def _constant_operand(value: Value, op: str, x: Value) -> tuple[Value | None, list[Node], Value]:
    """The constant [D] that multiplies or is added to `value`, the nodes in between, and the result."""
    nodes: list[Node] = []
    result, user = value, only_user(value)
    while user is not None and user.op == "cast" and without_casts(user.output) is not user.output:
        nodes.append(user)
        user = only_user(user.output)
    if user is None or user.op != op:
        return None, [], value
    for other, constant in operand_pairs(user):
        is_vector = constant.is_constant and constant.shape[-1:] == x.shape[-1:] and constant.type.rank <= x.type.rank
        if is_vector and all(size == 1 for size in constant.shape[:-1]) and other.shape == user.output.shape:
            result = user.output
            return constant, [*nodes, user], result
    return None, [], value


def _rewrite(graph: Graph, norm: Norm) -> str:
    origins = origins_of(norm.nodes)
    dtype = norm.x.type.dtype
    width = norm.x.shape[-1]
    if norm.weight is not None:
        weight = norm.weight
    elif isinstance(width, int):
        weight = graph.add_constant(np.ones(width, dtype), "ones")
    else:
        raise Refusal("the last axis has no fixed size")
    inputs = [norm.x, cast(graph, reshape(graph, weight, (width,), origins), dtype, origins)]
    if norm.bias is not None:
        inputs.append(cast(graph, reshape(graph, norm.bias, (width,), origins), dtype, origins))
    op = "layer_norm" if norm.centred else "rms_norm"
    kind = TensorType(dtype, norm.x.shape)
    new = add(graph, op, inputs, kind, origins, {"epsilon": norm.epsilon})
    replace(graph, norm.result, cast(graph, new, norm.result.type.dtype, origins))
    return op
