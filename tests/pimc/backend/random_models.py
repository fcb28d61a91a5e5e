"""A strategy for transformer-like ONNX models over the operators that pimc knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from attention_models import Attention, attention
from hypothesis import strategies as st
from model_maker import BOOL, FLOAT, INTEGER, ModelMaker

WIDTH = 8


@dataclass
class Context:
    """A model under construction.

    Attributes:
        draw: Draws from a strategy.
        m: The model.
        memory: Another sequence [batch, source, WIDTH].
        ids: Integers [batch, seq].
        mask: 1 for attended keys [batch, seq].
        memory_mask: The same for the other sequence.
    """

    draw: st.DrawFn
    m: ModelMaker
    memory: str
    ids: str
    mask: str
    memory_mask: str


Step = Callable[[Context, str], str]
"""Makes of [batch, seq, WIDTH] another value of this shape."""


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """Residual blocks over `x` [batch, seq, WIDTH], with a head of some kind behind them."""
    m, batch = ModelMaker(draw(st.integers(0, 99))), draw(st.integers(1, 2))
    x = m.input("x", batch, "seq", WIDTH)
    memory = m.input("memory", batch, "source", WIDTH)
    ids = m.input("ids", batch, "seq", kind=INTEGER)
    mask = m.input("attention_mask", batch, "seq", kind=INTEGER)
    context = Context(draw, m, memory, ids, mask, m.input("memory_mask", batch, "source", kind=INTEGER))
    for step in draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=4)):
        changed = step(context, x)
        x = m.op("Add", x, changed) if draw(st.booleans()) else m.op("Mul", m.op("Add", changed, x), m.real(0.5))
        x = _normalized(context, x) if draw(st.booleans()) else x
    outputs = draw(st.sampled_from(HEADS))(context, x)
    model = m.model(outputs)
    used = {name for node in model.graph.node for name in node.input}
    kept = [value for value in model.graph.input if value.name in used or value.name == "x"]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def _normalized(c: Context, x: str) -> str:
    m, form = c.m, c.draw(st.sampled_from(["layer", "spelled", "rms"]))
    if form == "layer":
        return m.op("LayerNormalization", x, m.weight(WIDTH), m.weight(WIDTH), axis=-1)
    last = m.constant(np.array([-1]))
    centred = m.op("Sub", x, m.op("ReduceMean", x, last)) if form == "spelled" else x
    variance = m.op("ReduceMean", m.op("Mul", centred, centred), last)
    return m.op("Div", centred, m.op("Sqrt", m.op("Add", variance, m.real(1e-3))))


def _attention(c: Context, x: str) -> str:
    kv_heads = c.draw(st.sampled_from([1, 2]))
    form = Attention(
        heads=kv_heads * c.draw(st.integers(1, 2)),
        kv_heads=kv_heads,
        head_dim=c.draw(st.sampled_from([4, 5, 8])),
        scaled=c.draw(st.sampled_from(["query", "scores", "quotient"])),
        causal=c.draw(st.booleans()),
        cap=c.draw(st.sampled_from([0.0, 0.0, 2.0])),
        bias=c.draw(st.booleans()),
    )
    return attention(c.m, form, x, x, WIDTH, c.mask if c.draw(st.booleans()) else "")


def _cross_attention(c: Context, x: str) -> str:
    form = Attention(cap=c.draw(st.sampled_from([0.0, 3.0])), scaled=c.draw(st.sampled_from(["query", "scores"])))
    return attention(c.m, form, x, c.memory, WIDTH, c.memory_mask if c.draw(st.booleans()) else "")


def _activated(c: Context, x: str) -> str:
    m, kind = c.m, c.draw(st.sampled_from(["Relu", "Tanh", "Sigmoid", "Erf", "silu", "Softplus", "Abs"]))
    return m.op("Mul", x, m.op("Sigmoid", x)) if kind == "silu" else m.op(kind, x)


def _feed_forward(c: Context, x: str) -> str:
    m, inner = c.m, c.draw(st.sampled_from([6, 16, 24]))
    hidden = _activated(c, m.op("Add", m.op("MatMul", x, m.weight(WIDTH, inner)), m.weight(inner)))
    if c.draw(st.booleans()):
        hidden = m.op("Mul", hidden, m.op("MatMul", x, m.weight(WIDTH, inner)))
    return m.op("MatMul", hidden, m.weight(inner, WIDTH))


def _joined_parts(c: Context, x: str) -> str:
    m, cut = c.m, c.draw(st.integers(1, WIDTH - 1))
    left, right = m.ops("Split", x, m.constant(np.array([cut, WIDTH - cut])), count=2, axis=2)
    return m.op("Concat", *((right, left) if c.draw(st.booleans()) else (left, m.op("Neg", right))), axis=2)


def _gathered_features(c: Context, x: str) -> str:
    places = c.draw(st.lists(st.integers(-WIDTH, WIDTH - 1), min_size=WIDTH, max_size=WIDTH))
    return c.m.op("Gather", x, c.m.constant(np.array(places)), axis=2)


def _looked_up(c: Context, x: str) -> str:
    return c.m.op("Gather", c.m.weight(8, WIDTH), c.ids, axis=0)


def _masked_by_integers(c: Context, x: str) -> str:
    m, number = c.m, c.m.constant(np.int64(c.draw(st.integers(0, 7))))
    found = m.op(c.draw(st.sampled_from(["Less", "Equal", "GreaterOrEqual"])), c.ids, number)
    column = m.op("Unsqueeze", m.op("And", found, m.op("Cast", c.mask, to=9)), m.constant(np.array([2])))
    if c.draw(st.booleans()):
        return m.op("Mul", x, m.op("Cast", column, to=FLOAT))
    return m.op("Where", column, x, m.op("Tanh", x))


def _mixed_tokens(c: Context, x: str) -> str:
    m, kind = c.m, c.draw(st.sampled_from(["mean", "max", "first", "last", "sum", "shift", "softmax"]))
    tokens = m.constant(np.array([1]))
    if kind in ("mean", "max"):
        return m.op("Sub", x, m.op({"mean": "ReduceMean", "max": "ReduceMax"}[kind], x, tokens))
    if kind in ("first", "last"):
        start = 0 if kind == "first" else -1
        return m.op("Mul", x, m.slice(x, 1, start, 1 if kind == "first" else 1 << 40))
    if kind == "sum":
        return m.op("Tanh", m.op("CumSum", x, m.constant(np.int64(1)), reverse=int(c.draw(st.booleans()))))
    if kind == "softmax":
        return m.op("Softmax", x, axis=1)
    return m.op("Concat", m.slice(x, 1, 1, 1 << 40), m.slice(x, 1, 0, 1), axis=1)


def _product_of_tokens(c: Context, x: str) -> str:
    m = c.m
    weights = m.op("Tanh", m.op("MatMul", x, m.op("Transpose", x, perm=[0, 2, 1])))
    return m.op("MatMul", m.op("Softmax", weights, axis=-1), x)


def _gate_of_the_best(c: Context, x: str) -> str:
    m = c.m
    largest = int(c.draw(st.booleans()))
    best, _ = m.ops("TopK", x, m.constant(np.array([c.draw(st.integers(1, 3))])), count=2, axis=2, largest=largest)
    return m.op("Mul", x, m.op("ReduceSum", best, m.constant(np.array([2]))))


def _reordered(c: Context, x: str) -> str:
    m = c.m
    parts = m.op("Transpose", m.reshape(x, 0, -1, 2, WIDTH // 2), perm=[0, 2, 1, 3])
    return m.reshape(m.op("Transpose", parts, perm=[0, 2, 3, 1] if c.draw(st.booleans()) else [0, 2, 1, 3]), 0, -1, 8)


def _experts(c: Context, x: str) -> str:
    """The best of four experts for each token, whose matrices are looked up, weighted by their scores."""
    m, count = c.m, c.draw(st.integers(1, 2))
    scores = m.op("Softmax", m.op("MatMul", x, m.weight(WIDTH, 4)), axis=-1)
    best, chosen = m.ops("TopK", scores, m.constant(np.array([count])), count=2, axis=-1)
    matrices = m.op("Gather", m.weight(4, WIDTH, WIDTH), chosen, axis=0)
    rows = m.op("Unsqueeze", x, m.constant(np.array([2, 3])))
    products = m.reshape(m.op("MatMul", rows, matrices), 0, -1, count, WIDTH)
    weighted = m.op("Mul", products, m.op("Unsqueeze", best, m.constant(np.array([3]))))
    return m.op("ReduceSum", weighted, m.constant(np.array([2])), keepdims=0)


def _convolved(c: Context, x: str) -> str:
    """A convolution or a pooling over the tokens that keeps their number."""
    m, kind = c.m, c.draw(st.sampled_from(["dense", "grouped", "depthwise", "MaxPool", "AveragePool"]))
    columns, window = m.op("Transpose", x, perm=[0, 2, 1]), {"kernel_shape": [3], "pads": [1, 1]}
    if kind in ("MaxPool", "AveragePool"):
        mixed = m.op(kind, columns, **window)
    else:
        group = {"dense": 1, "grouped": 2, "depthwise": WIDTH}[kind]
        mixed = m.op("Conv", columns, m.weight(WIDTH, WIDTH // group, 3), m.weight(WIDTH), group=group, **window)
    return m.op("Transpose", mixed, perm=[0, 2, 1])


def _quantised_linear(c: Context, x: str) -> str:
    """A product with integer weights: a scale for each column, or by Cast and Mul."""
    m, inner = c.m, c.draw(st.sampled_from([WIDTH, 12]))
    codes = m.constant(m.random.integers(-127, 128, (WIDTH, inner)).astype(np.int8))
    scales = m.constant((m.random.uniform(1, 2, inner) / 256).astype(np.float32))
    if c.draw(st.booleans()):
        weight = m.op("DequantizeLinear", codes, scales, axis=1)
    else:
        weight = m.op("Mul", m.op("Cast", codes, to=FLOAT), scales)
    return m.op("MatMul", m.op("MatMul", x, weight), m.weight(inner, WIDTH))


def _gathered_tokens(c: Context, x: str) -> str:
    """Tokens or elements at places that the input says."""
    m, kind = c.m, c.draw(st.sampled_from(["nd", "elements", "best"]))
    places = m.op("Mod", c.ids, m.op("Gather", m.op("Shape", x), m.constant(np.int64(1)), axis=0))
    if kind == "best":
        places = m.op("ArgMax", x, axis=1, keepdims=1)
        return m.op("Sub", x, m.op("GatherElements", x, places, axis=1))
    column = m.op("Unsqueeze", places, m.constant(np.array([2])))
    if kind == "nd":
        return m.op("GatherND", x, column, batch_dims=1)
    return m.op("GatherElements", x, m.op("Expand", column, m.op("Shape", x)), axis=1)


def _integer_arithmetic(c: Context, x: str) -> str:
    m, number = c.m, c.m.constant(np.int64(c.draw(st.sampled_from([-5, 3, 1 << 20]))))
    ids = m.op(c.draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Mod", "Max"])), c.ids, number)
    if c.draw(st.booleans()):
        ids = m.op("CumSum", ids, m.constant(np.int64(1)))
    small = m.op("Cast", m.op("Mod", ids, m.constant(np.int64(7))), to=FLOAT)
    return m.op("Mul", x, m.op("Unsqueeze", small, m.constant(np.array([2]))))


STEPS: list[Step] = [
    *(_attention, _attention, _cross_attention, _feed_forward, _joined_parts, _gathered_features, _looked_up),
    *(_masked_by_integers, _mixed_tokens, _product_of_tokens, _gate_of_the_best, _reordered),
    *(_experts, _convolved, _quantised_linear, _gathered_tokens, _integer_arithmetic),
]


def _tokens(c: Context, x: str) -> dict[str, int]:
    return {c.m.op("MatMul", x, c.m.weight(WIDTH, 5)): FLOAT}


def _pooled(c: Context, x: str) -> dict[str, int]:
    m = c.m
    weight = m.op("Unsqueeze", m.op("Cast", c.mask, to=FLOAT), m.constant(np.array([2])))
    total = m.op("ReduceSum", m.op("Mul", x, weight), m.constant(np.array([1])), keepdims=0)
    return {m.op("Div", total, m.op("ReduceSum", weight, m.constant(np.array([1])), keepdims=0)): FLOAT, x: FLOAT}


def _several(c: Context, x: str) -> dict[str, int]:
    """Integers and booleans beside reals."""
    m, width = c.m, c.m.constant(np.int64(3))
    return {m.op("Mul", c.ids, width): INTEGER, m.op("Less", c.ids, width): BOOL, m.op("Abs", x): FLOAT, x: FLOAT}


def _first_token(c: Context, x: str) -> dict[str, int]:
    first = c.m.op("Gather", x, c.m.constant(np.int64(0)), axis=1)
    return {c.m.op("Tanh", c.m.op("Gemm", first, c.m.weight(WIDTH, 3), c.m.weight(3))): FLOAT}


HEADS: list[Callable[[Context, str], dict[str, int]]] = [_tokens, _pooled, _several, _first_token]
