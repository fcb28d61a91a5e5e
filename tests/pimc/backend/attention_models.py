"""Attention spelled as exporters do, with masks, biases, caps, shared heads and keys of another sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from model_maker import FLOAT, ModelMaker


@dataclass(frozen=True)
class Attention:
    """How an attention block is spelled.

    Attributes:
        heads: Query heads.
        kv_heads: Key/value heads.
        head_dim: Elements of a head.
        scaled: What the scale is applied to: `query`, `scores` or `quotient`.
        causal: Whether a query sees no later key.
        cap: Soft cap of the scores, 0 for none.
        bias: Whether a learned bias [1, heads, 1, 1] is added to the scores.
    """

    heads: int = 2
    kv_heads: int = 2
    head_dim: int = 4
    scaled: str = "scores"
    causal: bool = False
    cap: float = 0.0
    bias: bool = False


def attention(m: ModelMaker, form: Attention, x: str, source: str, width: int, mask: str = "") -> str:
    """Queries of `x` [B, S, width] over keys of `source` [B, L, width]; `mask` [B, L] is 1 for attended keys."""
    inner = form.heads * form.head_dim
    query = _heads(m, m.op("MatMul", x, m.weight(width, inner)), form.heads, form.head_dim)
    key, value = (
        _shared(m, _heads(m, m.op("MatMul", source, m.weight(width, form.kv_heads * form.head_dim)), form.kv_heads,
                          form.head_dim), form)
        for _ in range(2)
    )  # fmt: skip
    scale = form.head_dim**-0.5
    if form.scaled == "query":
        query = m.op("Mul", query, m.real(scale))
    scores = m.op("MatMul", query, m.op("Transpose", key, perm=[0, 1, 3, 2]))
    if form.scaled == "scores":
        scores = m.op("Mul", scores, m.real(scale))
    if form.scaled == "quotient":
        scores = m.op("Div", scores, m.real(1 / scale))
    if form.cap:
        scores = m.op("Mul", m.op("Tanh", m.op("Div", scores, m.real(form.cap))), m.real(form.cap))
    if form.bias:
        scores = m.op("Add", scores, m.weight(1, form.heads, 1, 1))
    scores = _masked(m, form, scores, x, mask)
    mixed = m.op("MatMul", m.op("Softmax", scores, axis=-1), value)
    joined = m.reshape(m.op("Transpose", mixed, perm=[0, 2, 1, 3]), 0, -1, inner)
    return m.op("MatMul", joined, m.weight(inner, width))


def _heads(m: ModelMaker, value: str, heads: int, head_dim: int) -> str:
    return m.op("Transpose", m.reshape(value, 0, -1, heads, head_dim), perm=[0, 2, 1, 3])


def _shared(m: ModelMaker, value: str, form: Attention) -> str:
    """Key/value heads repeated for the query heads that share them."""
    repeats = form.heads // form.kv_heads
    if repeats == 1:
        return value
    five = m.op("Unsqueeze", value, m.constant(np.array([2])))
    wide = m.op("Expand", five, m.constant(np.array([1, 1, repeats, 1, 1])))
    return m.reshape(wide, 0, form.heads, -1, form.head_dim)


def _masked(m: ModelMaker, form: Attention, scores: str, x: str, mask: str) -> str:
    if mask:
        column = m.op("Unsqueeze", m.op("Cast", mask, to=FLOAT), m.constant(np.array([1, 2])))
        scores = m.op("Add", scores, m.op("Mul", m.op("Sub", m.real(1), column), m.real(-1e9)))
    if form.causal:
        length = m.op("Gather", m.op("Shape", x), m.constant(np.int64(1)), axis=0)
        places = m.op("Range", m.constant(np.int64(0)), length, m.constant(np.int64(1)))
        later = m.op("Greater", places, m.op("Unsqueeze", places, m.constant(np.array([1]))))
        scores = m.op("Where", later, m.real(-1e9), scores)
    return scores
