"""Recognition of attention scores: a product of query and keys, scaled and masked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from passes.ir import Node, Value, constant_scalar
from passes.mask_lengths import MASKED_BELOW
from passes.masks import MaskTerm
from passes.matching import Refusal, operand_pairs, with_constant


@dataclass(frozen=True)
class Scores:
    """What softmax is taken of: query times keys, times `scale`, masked by `terms`."""

    product: Node
    scale: float
    terms: tuple[MaskTerm, ...]
    nodes: tuple[Node, ...]


def scores_of(value: Value) -> Scores:
    """Take scaling and masks off the operand of a softmax; raises `Refusal`."""
    node = value.producer
    if node is None:
        raise Refusal("the scores are not a product")
    if node.op == "matmul":
        if node.operand(0).is_constant or node.operand(1).is_constant:
            raise Refusal("the scores are a product with a constant")
        return Scores(node, 1.0, (), (node,))
    if node.op in ("mul", "div"):
        return _scaled_scores(node)
    if node.op == "add":
        return _masked_scores(node)
    if node.op == "where":
        return _chosen_scores(node)
    if node.op == "cast":
        return _with_node(scores_of(node.operand(0)), node)
    if node.op == "tanh":
        raise Refusal("the scores are soft-capped by tanh")
    raise Refusal(f"the scores go through {node.op}")


def _with_node(scores: Scores, node: Node, scale: float = 1.0, term: MaskTerm | None = None) -> Scores:
    terms = scores.terms if term is None else (*scores.terms, term)
    return replace(scores, scale=scores.scale * scale, terms=terms, nodes=(*scores.nodes, node))


def _scaled_scores(node: Node) -> Scores:
    step = scaling(node)
    if step is None or step[1] <= 0:
        raise Refusal("the scores are multiplied by something else than a positive constant")
    return _with_node(scores_of(step[0]), node, step[1])


def scaling(node: Node) -> tuple[Value, float] | None:
    """(x, c) of x * c or x / (1 / c)."""
    if node.op == "mul":
        return with_constant(node)
    divisor = constant_scalar(node.operand(1))
    return (node.operand(0), 1.0 / divisor) if divisor and node.operand(0).shape == node.output.shape else None


def _masked_scores(node: Node) -> Scores:
    reasons: list[str] = []
    for scored, mask in operand_pairs(node):
        try:
            return _with_node(scores_of(scored), node, term=MaskTerm(mask, "additive"))
        except Refusal as refusal:
            reasons.append(str(refusal))
    raise Refusal(reasons[0])


def _chosen_scores(node: Node) -> Scores:
    condition, a, b = node.operand(0), node.operand(1), node.operand(2)
    if (low := constant_scalar(b)) is not None and low <= MASKED_BELOW:
        return _with_node(scores_of(a), node, term=MaskTerm(condition, "allowed"))
    if (low := constant_scalar(a)) is not None and low <= MASKED_BELOW:
        return _with_node(scores_of(b), node, term=MaskTerm(condition, "masked"))
    raise Refusal("the scores are replaced by other numbers than minus infinity")
