"""Recognition of scaled dot-product attention in the forms that exporters write."""

from __future__ import annotations

from dataclasses import dataclass

from passes.dims import Dim
from passes.ir import Node, Value
from passes.layout import reshape_groups
from passes.recognition.attention_operands import Heads, Operand, stripped, without_past
from passes.recognition.attention_scores import Scores, rescaled, scores_of
from passes.recognition.attention_weights import Mixing, mixing_of
from passes.recognition.masks import MaskTerm
from passes.recognition.matching import Refusal, only_user, producer


@dataclass(frozen=True)
class AttentionMatch:
    """A recognised attention.

    Attributes:
        query: [B, H, S, D].
        key: [B, G, L, D], without the past; `None` when all keys are past.
        value: [B, G, L, Dv], without the past; `None` when all values are past.
        joined_key: All keys [B, G, T, D], as they are returned to the host.
        joined_value: All values [B, G, T, Dv].
        past_key: [B, G, P, D] or `None`.
        past_value: [B, G, P, Dv] or `None`.
        scale: Factor on the scores.
        softcap: As the attribute of `attention`.
        terms: Masks and biases.
        result: The value [B, H, S, Dv], in some shape, that the attention replaces.
        nodes: The matched nodes.
    """

    query: Operand
    key: Operand | None
    value: Operand | None
    joined_key: Operand
    joined_value: Operand
    past_key: Value | None
    past_value: Value | None
    scale: float
    softcap: float
    terms: tuple[MaskTerm, ...]
    result: Value
    nodes: tuple[Node, ...]

    @property
    def scores(self) -> Heads:
        """[B, H, S, T]."""
        batch, heads, queries, _ = self.query.shape
        return batch, heads, queries, self.joined_key.shape[2]

    @property
    def shares_positions(self) -> bool:
        """Whether the queries are the last of the positions that the keys have."""
        return self.key is not None and self.key.shape[2] == self.query.shape[2]


def match_attention(softmax: Node) -> AttentionMatch:
    """The attention around a softmax; raises `Refusal`."""
    mixing = mixing_of(softmax)
    scores = rescaled(scores_of(softmax.operand(0)))
    heads = _head_axes(scores.product, mixing)
    query = stripped(_operand(scores.product.operand(0), heads))
    key = stripped(_operand(scores.product.operand(1), heads, swapped=True))
    value = stripped(_operand(mixing.product.operand(1), heads), scaled=False)
    _check_heads(query, key, value)
    _check_masked_weights(mixing, scores)
    nodes = (softmax, *mixing.nodes, *scores.nodes)
    return joined(query, key, value, scores, mixing.product.output, nodes)


def joined(
    query: Operand, key: Operand, value: Operand, scores: Scores, result: Value, nodes: tuple[Node, ...]
) -> AttentionMatch:
    """The match of operands that are taken apart into past and new."""
    new_key, past_key = without_past(key, query.shape[2])
    new_value, past_value = without_past(value, query.shape[2])
    if (past_key is None) != (past_value is None):
        new_key, past_key, new_value, past_value = key, None, value, None
    parts: tuple[Operand | None, ...] = (new_key, new_value)
    if past_key is None and is_input(key) and is_input(value) and key.shape[2] != query.shape[2]:
        past_key, past_value, parts = key.value, value.value, (None, None)
    return AttentionMatch(
        query=query,
        key=parts[0],
        value=parts[1],
        joined_key=key,
        joined_value=value,
        past_key=past_key,
        past_value=past_value,
        scale=scores.scale * query.scale * new_key.scale,
        softcap=scores.softcap,
        terms=scores.terms,
        result=result,
        nodes=tuple(dict.fromkeys((*nodes, *query.nodes, *new_key.nodes, *new_value.nodes))),
    )


def is_input(operand: Operand) -> bool:
    """Whether keys or values are an input of the model as it stands: what an encoder left for cross-attention."""
    value = operand.value
    is_plain = value.producer is None and not value.is_constant and not operand.swapped
    return is_plain and value.shape == operand.shape


def _head_axes(product: Node, mixing: Mixing) -> tuple[Dim, Dim]:
    """B and H of scores of any rank."""
    shape = product.output.shape
    if len(shape) == 4:
        return shape[0], shape[1]
    if len(shape) == 5 and product.operand(1).shape[2] == 1 and isinstance(shape[1], int) and isinstance(shape[2], int):
        return shape[0], shape[1] * shape[2]
    if len(shape) == 3:
        views = (mixing.weights, *_views_before(product.operand(0)), *_views_after(mixing.product.output))
        found = (view.shape[:2] for view in views if _divides(view, shape))
        batch, heads = next(found, (shape[0], 1))
        return batch, heads
    raise Refusal(f"the scores have {len(shape)} axes")


def _divides(view: Value, shape: tuple[Dim, ...]) -> bool:
    """Whether a value [B, H, ...] tells how B * H of scores [B*H, S, T] is divided."""
    if view.type.rank != 4 or view.shape[2] != shape[1]:
        return False
    return reshape_groups(view.shape[:2], shape[:1]) is not None and isinstance(view.shape[1], int)


def _views_before(value: Value) -> tuple[Value, ...]:
    node = producer(value, "reshape", "mul", "div")
    return () if node is None else (node.operand(0), *_views_before(node.operand(0)))


def _views_after(value: Value) -> tuple[Value, ...]:
    user = only_user(value)
    return (user.output,) if user is not None and user.op == "reshape" else ()


def _operand(value: Value, heads: tuple[Dim, Dim], swapped: bool = False) -> Operand:
    """The operand of a product as [B, H, T, D]; broadcast heads are one head."""
    first, last = value.shape[-2:] if value.type.rank >= 2 else (1, 1)
    length, width = (last, first) if swapped else (first, last)
    batch, count = heads
    if value.type.rank == 4:
        if value.shape[0] != batch:
            raise Refusal("an operand is broadcast over the batch")
        return Operand(value, (batch, value.shape[1], length, width), swapped)
    if value.type.rank == 5 and value.shape[2] == 1:
        return Operand(value, (batch, value.shape[1], length, width), swapped)
    if value.type.rank in (3, 5):
        return Operand(value, (batch, count, length, width), swapped)
    raise Refusal("an operand of the attention does not have three to five axes")


def _check_heads(query: Operand, key: Operand, value: Operand) -> None:
    heads, groups = query.shape[1], key.shape[1]
    if not isinstance(heads, int) or not isinstance(groups, int) or heads % groups:
        raise Refusal("the number of query heads is not a multiple of the number of key heads")
    if value.shape[1] != groups or value.shape[2] != key.shape[2]:
        raise Refusal("keys and values differ in heads or length")
    if not all(isinstance(operand.shape[3], int) for operand in (query, key, value)):
        raise Refusal("the head size is not known")


def _check_masked_weights(mixing: Mixing, scores: Scores) -> None:
    """Weights that are set to 0 behind the softmax must be those that a mask made 0 already."""
    if mixing.zeroed is not None and mixing.zeroed not in [(term.value, term.kind) for term in scores.terms]:
        raise Refusal("the softmax is masked by something else than the scores")
