"""Recognition of scaled dot-product attention in the forms that exporters write."""

from __future__ import annotations

from dataclasses import dataclass

from passes.attention_scores import scaling, scores_of
from passes.dims import Dim
from passes.ir import Node, Value, constant_scalar
from passes.masks import MaskTerm
from passes.matching import Refusal, only_user, producer


@dataclass(frozen=True)
class Operand:
    """Query, keys or values of an attention before scaling, repetition of heads and transposition.

    Attributes:
        value: As many elements as `shape`; keys may have their last two axes swapped.
        shape: [B, G, T, D].
        swapped: Whether `value` is [B, G, D, T].
        scale: Constant factor that was taken off.
        nodes: Nodes that were taken off.
    """

    value: Value
    shape: tuple[Dim, ...]
    swapped: bool
    scale: float
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class AttentionMatch:
    """A recognised attention.

    Attributes:
        query: [B, H, S, D].
        key: [B, G, S, D], without the past.
        value: [B, G, S, Dv], without the past.
        joined_key: All keys [B, G, T, D], as they are returned to the host.
        joined_value: All values [B, G, T, Dv].
        past_key: [B, G, P, D] or `None`.
        past_value: [B, G, P, Dv] or `None`.
        scale: Factor on the scores.
        terms: Masks.
        result: The value [B, H, S, Dv] that the attention replaces.
        nodes: The matched nodes.
    """

    query: Operand
    key: Operand
    value: Operand
    joined_key: Value
    joined_value: Value
    past_key: Value | None
    past_value: Value | None
    scale: float
    terms: tuple[MaskTerm, ...]
    result: Value
    nodes: tuple[Node, ...]

    @property
    def keys_length(self) -> Dim:
        """T."""
        return self.joined_key.shape[2] if self.past_key is not None else self.key.shape[2]


def match_attention(softmax: Node) -> AttentionMatch:
    """The attention around a softmax; raises `Refusal`."""
    mixing, guards = _mixing(softmax)
    scores = scores_of(softmax.operand(0))
    query = _operand(scores.product.operand(0), swapped=False)
    key = _operand(scores.product.operand(1), swapped=True)
    value = _operand(mixing.operand(1), swapped=False)
    _check_heads(query, key, value)
    new_key, past_key = _without_past(key, query.shape[2])
    new_value, past_value = _without_past(value, query.shape[2])
    if (past_key is None) != (past_value is None):
        raise Refusal("only one of keys and values has a past")
    nodes = (softmax, *guards, mixing, *scores.nodes, *query.nodes, *new_key.nodes, *new_value.nodes)
    if value.scale != 1.0:
        raise Refusal("the values are scaled")
    return AttentionMatch(
        query=query,
        key=new_key,
        value=new_value,
        joined_key=key.value,
        joined_value=value.value,
        past_key=past_key,
        past_value=past_value,
        scale=scores.scale * query.scale * key.scale,
        terms=scores.terms,
        result=mixing.output,
        nodes=tuple(dict.fromkeys(nodes)),
    )


def _mixing(softmax: Node) -> tuple[Node, tuple[Node, ...]]:
    """The product of the softmax, guarded against NaN or not, with the values."""
    if softmax.attributes["axis"] not in (-1, softmax.output.type.rank - 1) or softmax.output.type.rank != 4:
        raise Refusal("softmax is not over the last of four axes")
    weights, nodes = softmax.output, list[Node]()
    guard = next((user for user in weights.users if user.op == "where" and _is_guard(user, weights)), None)
    if guard is not None:
        nodes += [guard, *(user for user in weights.users if user.op == "is_nan")]
        weights = guard.output
    user = only_user(weights)
    if user is not None and user.op == "cast":
        nodes.append(user)
        weights, user = user.output, only_user(user.output)
    if user is None or user.op != "matmul" or user.operand(0) is not weights:
        raise Refusal("the softmax is not multiplied with values")
    return user, tuple(nodes)


def _is_guard(node: Node, weights: Value) -> bool:
    """where(is_nan(weights), 0, weights)."""
    test = producer(node.operand(0), "is_nan")
    is_zero = constant_scalar(node.operand(1)) == 0.0
    return test is not None and test.operand(0) is weights and is_zero and node.operand(2) is weights


def _operand(value: Value, swapped: bool) -> Operand:
    """Take scaling, swaps of the last two axes and repetition of heads off."""
    if value.type.rank != 4:
        raise Refusal("an operand of the attention does not have four axes")
    shape, scale, nodes = value.shape, 1.0, list[Node]()
    while value.shape == shape and (node := value.producer) is not None:
        step = scaling(node) if node.op in ("mul", "div") else None
        repeated = _before_repetition(value, swapped)
        if repeated is not None:
            value, shape, swapped = repeated[0], repeated[1], False
            nodes += repeated[2]
            continue
        if step is not None:
            value, scale = step[0], scale * step[1]
        elif node.op == "transpose" and node.attributes["perm"] == (0, 1, 3, 2):
            value, swapped = node.operand(0), not swapped
        else:
            break
        nodes.append(node)
        shape = value.shape
    if swapped:
        shape = (shape[0], shape[1], shape[3], shape[2])
    return Operand(value, shape, swapped, scale, tuple(nodes))


def _before_repetition(value: Value, swapped: bool) -> tuple[Value, tuple[Dim, ...], tuple[Node, ...]] | None:
    """x [B, G, T, D] of reshape(expand(x as [B, G, 1, T, D], [B, G, n, T, D]), [B, G*n, T, D]), with its shape.

    When swapped, the last two axes are swapped between expand and reshape; with a length of 1 there is nothing to swap.
    """
    merge = producer(value, "reshape")
    inner = producer(merge.operand(0), "transpose", "expand") if merge is not None else None
    repeat = producer(inner.operand(0), "expand") if inner is not None and inner.op == "transpose" else inner
    if merge is None or inner is None or repeat is None or repeat.output.type.rank != 5:
        return None
    batch, groups, count, length, width = repeat.output.shape
    is_swapped = inner is not repeat
    if (is_swapped and inner.attributes["perm"] != (0, 1, 2, 4, 3)) or (is_swapped != swapped and length != 1):
        return None
    shape, last = (batch, groups, length, width), (width, length) if swapped else (length, width)
    apart = repeat.operand(0)
    if apart.shape != (batch, groups, 1, length, width) or value.shape != (batch, groups * count, *last):
        return None
    split = producer(apart, "reshape")
    if split is not None and split.operand(0).shape == shape:
        return split.operand(0), shape, (merge, inner, repeat, split)
    return apart, shape, (merge, inner, repeat)


def _check_heads(query: Operand, key: Operand, value: Operand) -> None:
    heads, groups = query.shape[1], key.shape[1]
    if query.swapped or value.swapped:
        raise Refusal("the query or the values are transposed")
    if not isinstance(heads, int) or not isinstance(groups, int) or heads % groups:
        raise Refusal("the number of query heads is not a multiple of the number of key heads")
    if value.shape[1] != groups or value.shape[2] != key.shape[2]:
        raise Refusal("keys and values differ in heads or length")
    if not all(isinstance(operand.shape[3], int) for operand in (query, key, value)):
        raise Refusal("the head size is not known")


def _without_past(operand: Operand, queries: Dim) -> tuple[Operand, Value | None]:
    """The part of keys or values that this run computes, and the past that it is appended to."""
    join = producer(operand.value, "concat")
    if join is not None and not operand.swapped and len(join.inputs) == 2 and join.attributes["axis"] in (2, -2):
        past, new = join.operand(0), join.operand(1)
        if new.shape[2] != queries:
            raise Refusal("the run appends another number of keys than it has queries")
        return Operand(new, new.shape, False, 1.0, (*operand.nodes, join)), past
    if operand.shape[2] != queries:
        raise Refusal("there are more or fewer keys than queries and they are not appended to a past (cross-attention)")
    return operand, None
