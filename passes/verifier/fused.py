"""Type rules of norms and of the operations that fusion makes."""

from __future__ import annotations

from passes.dims import Dim
from passes.ir import Graph, Node, TensorType
from passes.ops import INTEGER_DTYPES
from passes.verifier.attention import attention, cached_attention
from passes.verifier.rules import Rule, floating, per_head, require


def _vector(node: Node, index: int, what: str, size: Dim) -> None:
    """An optional floating point vector of the given size."""
    value = node.optional(index)
    if value is not None:
        require(floating(value, what).shape == (size,), f"{what} is {value.type}, but must have the shape [{size}]")


def _norm(graph: Graph, node: Node) -> list[TensorType]:
    kind = floating(node.operand(0), "x")
    require(kind.rank > 0, "x has rank 0")
    _vector(node, 1, "weight", kind.shape[-1])
    _vector(node, 2, "bias", kind.shape[-1])
    return [kind]


def _matrix(node: Node, index: int, what: str, inputs: Dim) -> Dim:
    """Number of outputs of a weight matrix with the given number of inputs."""
    kind = floating(node.operand(index), what)
    require(kind.rank == 2 and kind.shape[0] == inputs, f"{what} is {kind}, but must have the shape [{inputs}, N]")
    return kind.shape[1]


def _linear(graph: Graph, node: Node) -> list[TensorType]:
    kind = floating(node.operand(0), "x")
    require(kind.rank > 0, "x has rank 0")
    outputs = _matrix(node, 1, "weight", kind.shape[-1])
    _vector(node, 2, "bias", outputs)
    return [TensorType(kind.dtype, (*kind.shape[:-1], outputs))]


def _expert_linear(graph: Graph, node: Node) -> list[TensorType]:
    kind, index, weights = floating(node.operand(0), "x"), node.operand(1).type, floating(node.operand(2), "weights")
    require(kind.rank > 0 and kind.shape[:-1] == index.shape, f"x is {kind}, but index is {index}")
    require(index.dtype in INTEGER_DTYPES, f"index is {index}, but must have integers")
    fits = weights.rank == 3 and weights.shape[1] == kind.shape[-1]
    require(fits, f"weights is {weights}, but must have the shape [E, {kind.shape[-1]}, N]")
    return [TensorType(kind.dtype, (*kind.shape[:-1], weights.shape[2]))]


def _feed_forward(graph: Graph, node: Node) -> list[TensorType]:
    kind = floating(node.operand(0), "x")
    require(kind.rank > 0, "x has rank 0")
    hidden = _matrix(node, 1, "up", kind.shape[-1])
    _vector(node, 2, "up_bias", hidden)
    if node.optional(3) is not None:
        require(_matrix(node, 3, "gate", kind.shape[-1]) == hidden, "gate and up have different numbers of outputs")
    else:
        require(node.optional(4) is None, "gate_bias is given without gate")
    _vector(node, 4, "gate_bias", hidden)
    outputs = _matrix(node, 5, "down", hidden)
    _vector(node, 6, "down_bias", outputs)
    return [TensorType(kind.dtype, (*kind.shape[:-1], outputs))]


def _rotary(graph: Graph, node: Node) -> list[TensorType]:
    kind, cos, sin = (floating(node.operand(i), name) for i, name in enumerate(("x", "cos", "sin")))
    require(kind.rank == 3, f"x is {kind}, but must have rank 3")
    width = per_head(kind.shape[2], node.attributes["heads"], "x")
    require(cos.shape == sin.shape, f"cos is {cos}, but sin is {sin}")
    require(cos.rank == 3 and cos.shape[0] in (1, kind.shape[0]), f"cos is {cos}, but must be [batch, length, half]")
    require(cos.shape[1] == kind.shape[1], f"cos is {cos}, but x has {kind.shape[1]} rows")
    half = cos.shape[2]
    require(isinstance(half, int) and 2 * half <= width, f"cos is {cos}, but a head has {width} elements")
    return [kind]


FUSED_RULES: dict[str, Rule] = {
    "layer_norm": _norm,
    "rms_norm": _norm,
    "linear": _linear,
    "expert_linear": _expert_linear,
    "feed_forward": _feed_forward,
    "rotary": _rotary,
    "attention": attention,
    "cached_attention": cached_attention,
}
