"""Attention put together at random from what exporters write keeps its meaning, fused and expanded again."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests_attention_graphs import LOWEST, Lengths, additive, causal, key_positions, query_positions, window
from tests_graphs import PAST, SEQ, Net, random_inputs, run_passes

from passes import Graph, Value, interpret
from passes.dims import Dim
from passes.expand_attention import ExpandAttention
from passes.pipelines import pipeline

HEAD_DIM = 4
FUSING = tuple(step for step in pipeline("default") if step.name not in ("kv_cache", "expand_attention"))


@dataclass(frozen=True)
class Form:
    """How an attention is written.

    Attributes:
        batch: Sequences.
        heads: Query heads.
        kv_heads: Key heads, a divisor of `heads`.
        keys: `past` (appended to an input), `own`, or `foreign` (7 keys that are inputs).
        axes: Axes of the scores: 3 joins batch and heads, 5 parts the heads by groups.
        scale: Where 0.5 is multiplied: on `query`, `key`, both, `scores` or nowhere.
        cap: Soft cap, 0 for none.
        terms: What is added to the scores.
        low: What excluded scores get.
        is_guarded: Whether NaN becomes 0.
        behind: Factor on the sum of scores and terms.
    """

    batch: int
    heads: int
    kv_heads: int
    keys: str
    axes: int
    scale: str
    cap: float
    terms: tuple[str, ...]
    low: float
    is_guarded: bool
    behind: float

    @property
    def length(self) -> Dim:
        return {"past": PAST + SEQ, "own": SEQ, "foreign": 7}[self.keys]


@st.composite
def forms(draw: st.DrawFn) -> Form:
    kv_heads = draw(st.sampled_from([1, 2]))
    keys = draw(st.sampled_from(["past", "own", "foreign"]))
    masks = ["key mask", "bias", "slopes", "row", "masked bias"]
    masks += [] if keys == "foreign" else ["causal", "window", "two sided", "not causal"]
    terms = draw(st.lists(st.sampled_from(masks), max_size=3, unique=True))
    form = Form(
        draw(st.sampled_from([1, 2])),
        kv_heads * draw(st.sampled_from([1, 2])),
        kv_heads,
        keys,
        draw(st.sampled_from([3, 4, 4, 5])),
        draw(st.sampled_from(["query", "key", "both", "scores", "no"])),
        draw(st.sampled_from([0.0, 2.0])),
        tuple(terms),
        draw(st.sampled_from([LOWEST, -1e9, -np.inf])),
        draw(st.booleans()),
        draw(st.sampled_from([1.0, 1.0, 0.25])),
    )
    return form if form.heads != form.kv_heads or form.axes != 5 else replace(form, axes=4)


def term(net: Net, form: Form, name: str) -> Callable[[Value], Value]:
    """What a term does with scores [B, H, S, T]."""
    lengths = Lengths(SEQ, form.length)
    batch, heads, total = form.batch, form.heads, form.length
    if name in ("causal", "window", "two sided", "not causal"):
        if name == "two sided":
            distance = net.op("sub", query_positions(net, lengths), key_positions(net, lengths))
            predicate = net.op("less", net.op("abs", distance), 3)
        else:
            predicate = (window(3) if name == "window" else causal)(net, lengths)
        if name == "not causal":
            return lambda scores: net.op("where", net.op("not", predicate), net.constant(form.low), scores)
        return lambda scores: net.op("add", scores, additive(net, predicate, form.low))
    if name == "key mask":
        given = net.op("cast", net.input("mask", batch, total, dtype="int64"), to="bool")
        row = net.op("reshape", given, shape=(batch, 1, 1, total))
        return lambda scores: net.op("where", row, scores, net.constant(form.low))
    shapes: dict[str, tuple[Dim, ...]] = {
        "bias": (batch, heads, SEQ, total),
        "slopes": (heads, 1, total),
        "row": (SEQ, total),
        "masked bias": (1, heads, SEQ, total),
    }
    added = net.input(name.replace(" ", "_"), *shapes[name])
    if name == "masked bias":
        first = net.op("equal", net.op("mod", key_positions(net, lengths), 2), 0)
        added = net.op("where", first, added, net.constant(form.low))
    return lambda scores: net.op("add", scores, added)


def operands(net: Net, form: Form) -> tuple[Value, Value, Value]:
    """Query [B, H, S, D], keys and values [B, G, T, D]."""
    query = net.input("q", form.batch, form.heads, SEQ, HEAD_DIM)
    found = []
    for name in "kv":
        length = SEQ if form.keys != "foreign" else 7
        value = net.input(name, form.batch, form.kv_heads, length, HEAD_DIM)
        if form.keys == "past":
            value = net.op(
                "concat", net.input(f"past.{name}", form.batch, form.kv_heads, PAST, HEAD_DIM), value, axis=2
            )
        found.append(value)
    return query, found[0], found[1]


def spread(net: Net, form: Form, x: Value) -> Value:
    """Keys or values for every query head, or beside an axis for the heads of a group."""
    batch, total, shared = form.batch, form.length, form.heads // form.kv_heads
    apart = net.op("reshape", x, shape=(batch, form.kv_heads, 1, total, HEAD_DIM))
    if form.axes == 5:
        return apart
    if shared == 1:
        return x
    repeated = net.op("expand", apart, shape=(batch, form.kv_heads, shared, total, HEAD_DIM))
    return net.op("reshape", repeated, shape=(batch, form.heads, total, HEAD_DIM))


def written(form: Form) -> Graph:
    net = Net()
    query, keys, values = operands(net, form)
    batch, heads, shared, total = form.batch, form.heads, form.heads // form.kv_heads, form.length
    keys, values = spread(net, form, keys), spread(net, form, values)
    if form.axes == 3:
        query = net.op("reshape", query, shape=(batch * heads, SEQ, HEAD_DIM))
        keys, values = (net.op("reshape", x, shape=(batch * heads, total, HEAD_DIM)) for x in (keys, values))
    elif form.axes == 5:
        query = net.op("reshape", query, shape=(batch, form.kv_heads, shared, SEQ, HEAD_DIM))
    if form.scale in ("query", "both"):
        query = net.op("mul", query, 0.5)
    perm = (*range(form.axes - 2), form.axes - 1, form.axes - 2)
    keys = net.op("transpose", keys, perm=perm)
    if form.scale in ("key", "both"):
        keys = net.op("div", keys, 2.0)
    product = net.op("matmul", query, keys)
    scores = net.op("reshape", product, shape=(batch, heads, SEQ, total))
    if form.scale == "scores":
        scores = net.op("mul", scores, 0.5)
    if form.cap:
        scores = net.op("mul", net.op("tanh", net.op("div", scores, form.cap)), form.cap)
    for name in form.terms:
        scores = term(net, form, name)(scores)
    if form.behind != 1.0:
        scores = net.op("mul", scores, form.behind)
    weights = net.op("softmax", scores, axis=3)
    if form.is_guarded:
        weights = net.op("where", net.op("is_nan", weights), net.constant(0.0), weights)
    weights = net.op("reshape", weights, shape=product.shape)
    mixed = net.op("matmul", weights, values)
    net.output("y", net.op("reshape", mixed, shape=(batch, heads, SEQ, HEAD_DIM)))
    return net.graph


@given(forms(), st.sampled_from([(0, 1), (0, 4), (2, 3), (5, 1), (3, 5)]))
def test_any_form(form: Form, lengths: tuple[int, int]) -> None:
    numbers = {"past": lengths[0], "seq": lengths[1]}
    fused = run_passes(written(form), *FUSING)
    assert fused.facts["fuse_attention"]["fused"] == {"attention": 1}, fused.facts["fuse_attention"]["unfused"]
    inputs = random_inputs(written(form), numbers)
    if "mask" in inputs:
        inputs["mask"][..., ::2] = 1  # no query may lose its last key: its result is arbitrary
        inputs["mask"][...] |= np.array({"window", "two sided"} & set(form.terms) != set())
    expected = interpret(written(form), inputs, numbers)["y"]
    for graph in (fused, run_passes(written(form), *FUSING, ExpandAttention())):
        found = interpret(graph, {name: inputs[name] for name in graph.signature if name in inputs}, numbers)["y"]
        rows = np.isfinite(expected).all(axis=-1)
        np.testing.assert_allclose(found[rows], expected[rows], rtol=1e-4, atol=1e-5)
