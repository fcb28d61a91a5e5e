"""Recognition of attention scores: a product of query and keys, scaled, capped and masked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from passes.canonical.arithmetic import splat
from passes.ir import Node, Value, constant_scalar
from passes.recognition.mask_lengths import MASKED_BELOW
from passes.recognition.masks import MaskTerm
from passes.recognition.matching import Refusal, operand_pairs, with_constant


@dataclass(frozen=True)
class Scores:
    """What softmax is taken of: query times keys, times `scale`, capped, masked or shifted by `terms`.

    Attributes:
        product: The product of query and keys.
        scale: Factor on the product.
        softcap: As the attribute of `attention`; 0 for none.
        terms: What is added to the capped scores, or masks them.
        nodes: The matched nodes.
    """

    product: Node
    scale: float
    softcap: float
    terms: tuple[MaskTerm, ...]
    nodes: tuple[Node, ...]


def scores_of(value: Value) -> Scores:
    """Take scaling, cap and masks off the operand of a softmax; raises `Refusal`.

    The refusal has no reason when it is a softmax over something else: logits, or the choice among experts.
    """
    node = value.producer
    if node is None:
        raise Refusal("the scores are not a product")
    if node.op == "matmul":
        if node.operand(1).is_constant:
            raise Refusal("")
        return Scores(node, 1.0, 0.0, (), (node,))
    if node.op in ("mul", "div"):
        return _scaled_scores(node)
    if node.op in ("add", "sub"):
        return _shifted_scores(node)
    if node.op == "where":
        return _chosen_scores(node)
    if node.op == "tanh":
        return _capped_scores(node)
    if node.op in ("cast", "reshape"):
        return _with_node(scores_of(node.operand(0)), node)
    if node.op == "max":
        return _clamped_scores(node)
    raise Refusal("" if node.op == "linear" else f"the scores go through {node.op}")


def _with_node(scores: Scores, node: Node, term: MaskTerm | None = None) -> Scores:
    terms = scores.terms if term is None else (*scores.terms, term)
    return replace(scores, terms=terms, nodes=(*scores.nodes, node))


def _scaled_scores(node: Node) -> Scores:
    step = scaling(node)
    if step is None or step[1] <= 0:
        raise Refusal("the scores are multiplied by something else than a positive constant")
    scores, factor = scores_of(step[0]), step[1]
    terms = tuple(replace(term, factor=term.factor * factor, low=term.low * factor) for term in scores.terms)
    if any(term.low > MASKED_BELOW for term in terms):
        raise Refusal("masked scores are scaled so far that they count again")
    scale, cap = scores.scale * factor, scores.softcap
    if cap:
        scale, cap = scores.scale, cap * factor
    return _with_node(replace(scores, scale=scale, softcap=cap, terms=terms), node)


def scaling(node: Node) -> tuple[Value, float] | None:
    """(x, c) of x * c or x / (1 / c)."""
    if node.op == "mul":
        return with_constant(node)
    divisor = constant_scalar(node.operand(1))
    return (node.operand(0), 1.0 / divisor) if divisor and node.operand(0).shape == node.output.shape else None


def _capped_scores(node: Node) -> Scores:
    scores = scores_of(node.operand(0))
    if scores.terms or scores.softcap:
        raise Refusal("the scores are capped by tanh after they are masked")
    return _with_node(replace(scores, softcap=1.0), node)


def rescaled(scores: Scores) -> Scores:
    """The same scores with a scale that stands before the division by the cap.

    tanh(product * c) * cap is cap * tanh(product * (c * cap) / cap).
    """
    return replace(scores, scale=scores.scale * scores.softcap) if scores.softcap else scores


def _shifted_scores(node: Node) -> Scores:
    reasons: list[str] = []
    sign = 1.0 if node.op == "add" else -1.0
    for scored, added in operand_pairs(node)[: 2 if node.op == "add" else 1]:
        if scored.shape != node.output.shape:
            continue
        try:
            scores = scores_of(scored)
        except Refusal as refusal:
            reasons.append(str(refusal))
            continue
        return _with_node(scores, node, MaskTerm(added, "additive", sign, scores=node.output.shape))
    raise Refusal(reasons[0] if reasons else "the scores are broadcast")


def _chosen_scores(node: Node) -> Scores:
    condition, a, b = node.operand(0), node.operand(1), node.operand(2)
    shape = node.output.shape
    for scored, other, kind in ((a, b, "allowed"), (b, a, "masked")):
        low = _low(other)
        if low is not None:
            return _with_node(scores_of(scored), node, MaskTerm(condition, kind, low=low, scores=shape))
    raise Refusal("the scores are replaced by other numbers than minus infinity")


def _clamped_scores(node: Node) -> Scores:
    """max(scores, lowest number), which keeps sums of masks finite."""
    for scored, bound in operand_pairs(node):
        if _low(bound) is not None:
            return _with_node(scores_of(scored), node)
    raise Refusal("the scores go through max")


def _low(value: Value) -> float | None:
    """The number that a value repeats, when it masks a score."""
    low = constant_scalar(splat(value))
    return low if low is not None and low <= MASKED_BELOW else None
