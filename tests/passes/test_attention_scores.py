"""What stands between the product of queries and keys and the product with the values: scales, caps, masks, biases."""

from collections.abc import Callable

import numpy as np
import pytest
from tests_attention_graphs import (
    HEAD_DIM,
    HEADS,
    LOWEST,
    UNCACHED,
    additive,
    causal,
    key_mask,
    key_positions,
)
from tests_graphs import PAST, SEQ, TOTAL, Net, assert_same_meaning, operations, run_passes

from passes import Graph, Value
from passes.canonicalize import Canonicalize
from passes.common_subexpressions import CommonSubexpressions
from passes.constant_folding import ConstantFolding
from passes.dead_code import DeadCode
from passes.fuse_attention import FuseAttention

CLEAN_UP = (ConstantFolding(), Canonicalize(), CommonSubexpressions(), DeadCode())


def scores_of(net: Net) -> tuple[Value, Value, Value]:
    """Query [1, H, S, D], keys [1, H, D, S] and values [1, H, S, D] as inputs."""
    shape = (1, HEADS, SEQ, HEAD_DIM)
    keys = net.op("transpose", net.input("k", *shape), perm=(0, 1, 3, 2))
    return net.input("q", *shape), keys, net.input("v", *shape)


def finish(net: Net, scores: Value, values: Value) -> Graph:
    net.output("y", net.op("matmul", net.op("softmax", scores, axis=3), values))
    return net.graph


def soft_capped(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    capped = net.op("mul", net.op("tanh", net.op("div", net.op("matmul", query, keys), 50.0)), 50.0)
    return finish(net, capped, values)


def capped_before_the_mask(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    capped = net.op("mul", net.op("tanh", net.op("mul", net.op("matmul", query, keys), 0.01)), 30.0)
    return finish(net, net.op("add", capped, additive(net, causal(net, UNCACHED), LOWEST)), values)


def capped_behind_the_mask(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    masked = net.op("add", net.op("matmul", query, keys), additive(net, causal(net, UNCACHED), LOWEST))
    return finish(net, net.op("mul", net.op("tanh", masked), 30.0), values)


def scaled_behind_the_bias(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    slopes = net.op("mul", net.op("cast", key_positions(net, UNCACHED), to="float32"), 0.25)
    return finish(net, net.op("mul", net.op("add", net.op("matmul", query, keys), slopes), 0.5), values)


def subtracted_mask(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    masked = net.op("sub", net.constant(1.0), net.op("cast", causal(net, UNCACHED), to="float32"))
    return finish(net, net.op("sub", net.op("matmul", query, keys), net.op("mul", masked, 10000.0)), values)


def clamped(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    masked = net.op("add", net.op("matmul", query, keys), additive(net, causal(net, UNCACHED), LOWEST))
    return finish(net, net.op("max", masked, net.constant(LOWEST)), values)


def bias_and_mask_in_one_value(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    bias = net.op("add", net.input("bias", 1, HEADS, SEQ, SEQ), additive(net, causal(net, UNCACHED), LOWEST))
    return finish(net, net.op("add", net.op("matmul", query, keys), bias), values)


def masked_bias(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    bias = net.op("where", key_mask(net, UNCACHED), net.input("bias", HEADS, SEQ, SEQ), net.constant(LOWEST))
    return finish(net, net.op("add", net.op("matmul", query, keys), bias), values)


def masked_behind_the_softmax(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    allowed = causal(net, UNCACHED)
    scores = net.op("where", allowed, net.op("matmul", query, keys), net.constant(LOWEST))
    weights = net.op("where", allowed, net.op("softmax", scores, axis=3), net.constant(0.0))
    net.output("y", net.op("matmul", weights, values))
    return net.graph


def masked_only_behind_the_softmax(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    weights = net.op("softmax", net.op("matmul", query, keys), axis=3)
    weights = net.op("where", causal(net, UNCACHED), weights, net.constant(0.0))
    net.output("y", net.op("matmul", weights, values))
    return net.graph


def masked_the_other_way_behind_the_softmax(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    allowed = causal(net, UNCACHED)
    scores = net.op("where", allowed, net.op("matmul", query, keys), net.constant(LOWEST))
    weights = net.op("where", allowed, net.constant(0.0), net.op("softmax", scores, axis=3))
    net.output("y", net.op("matmul", weights, values))
    return net.graph


def scaled_until_masked_scores_count(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    scores = net.op("where", causal(net, UNCACHED), net.op("matmul", query, keys), net.constant(-1e4))
    return finish(net, net.op("mul", scores, 5e-4), values)


def three_axes(net: Net) -> Graph:
    """Heads and batch are one axis, but for a bias on four axes."""
    query, keys, values = scores_of(net)
    flat = net.op("reshape", query, shape=(HEADS, SEQ, HEAD_DIM)), net.op("reshape", keys, shape=(HEADS, HEAD_DIM, SEQ))
    scores = net.op("add", net.op("matmul", *flat), net.input("slopes", HEADS, 1, SEQ))
    apart = net.op(
        "add", net.op("reshape", scores, shape=(1, HEADS, SEQ, SEQ)), additive(net, causal(net, UNCACHED), -1e9)
    )
    weights = net.op("reshape", net.op("softmax", apart, axis=3), shape=(HEADS, SEQ, SEQ))
    mixed = net.op("matmul", weights, net.op("reshape", values, shape=(HEADS, SEQ, HEAD_DIM)))
    net.output("y", net.op("reshape", mixed, shape=(1, HEADS, SEQ, HEAD_DIM)))
    return net.graph


def grouped_five_axes(net: Net) -> Graph:
    """Query heads by groups, keys broadcast to them."""
    query = net.op("reshape", net.input("q", 1, HEADS, SEQ, HEAD_DIM), shape=(1, 2, HEADS // 2, SEQ, HEAD_DIM))
    keys = net.op("reshape", net.input("k", 1, 2, HEAD_DIM, SEQ), shape=(1, 2, 1, HEAD_DIM, SEQ))
    values = net.op("reshape", net.input("v", 1, 2, SEQ, HEAD_DIM), shape=(1, 2, 1, SEQ, HEAD_DIM))
    scores = net.op("matmul", query, keys)
    scores = net.op(
        "where", net.op("reshape", causal(net, UNCACHED), shape=(1, 1, 1, SEQ, SEQ)), scores, net.constant(-1e9)
    )
    net.output("y", net.op("matmul", net.op("softmax", scores, axis=4), values))
    return net.graph


def windows_as_batch(net: Net) -> Graph:
    """Scores of 3 windows, masked per window under another division of the batch."""
    shape = (6, HEADS, 4, HEAD_DIM)
    keys = net.op("transpose", net.input("k", *shape), perm=(0, 1, 3, 2))
    scores = net.op("matmul", net.input("q", *shape), keys)
    apart = net.op("reshape", scores, shape=(2, 3, HEADS, 4, 4))
    lows = np.where(np.random.default_rng(0).integers(0, 2, (1, 3, 1, 4, 4)) > 0, 0.0, -100.0)
    masked = net.op("add", apart, net.constant(lows))
    weights = net.op("softmax", net.op("reshape", masked, shape=(6, HEADS, 4, 4)), axis=3)
    net.output("y", net.op("matmul", weights, net.input("v", *shape)))
    return net.graph


def negative_scale(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    return finish(net, net.op("mul", net.op("matmul", query, keys), -0.5), values)


def scale_per_head(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    scale = net.constant(np.ones((1, HEADS, 1, 1)) / 2)
    return finish(net, net.op("mul", net.op("matmul", query, keys), scale), values)


def other_axis(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    net.output("y", net.op("matmul", net.op("softmax", net.op("matmul", query, keys), axis=2), values))
    return net.graph


def weights_returned(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    weights = net.op("softmax", net.op("matmul", query, keys), axis=3)
    net.output("y", net.op("matmul", net.op("exp", weights), values))
    return net.graph


def quantised_weights(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    weights = net.op("softmax", net.op("matmul", query, keys), axis=3)
    steps = net.op("round", net.op("div", weights, 1 / 127))
    net.output("y", net.op("matmul", net.op("mul", steps, 1 / 127), values))
    return net.graph


def scaled_values(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    return finish(net, net.op("matmul", query, keys), net.op("mul", values, 2.0))


def half_masked(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    scores = net.op("matmul", query, keys)
    low = net.op("where", net.op("greater", scores, 0.0), scores, net.constant(-1.0))
    return finish(net, low, values)


def relative_bias(net: Net) -> Graph:
    query, keys, values = scores_of(net)
    return finish(net, net.op("add", net.op("matmul", query, keys), net.input("bias", 1, HEADS, SEQ, SEQ)), values)


def cross_attention(net: Net) -> Graph:
    query, _, _ = scores_of(net)
    keys, values = net.input("ek", 1, HEADS, 7, HEAD_DIM), net.input("ev", 1, HEADS, 7, HEAD_DIM)
    scores = net.op("matmul", query, net.op("transpose", keys, perm=(0, 1, 3, 2)))
    return finish(net, scores, values)


def odd_heads(net: Net) -> Graph:
    query, keys, _ = scores_of(net)
    values = net.input("w", 1, 1, SEQ, HEAD_DIM)
    return finish(net, net.op("matmul", query, keys), values)


def only_keys_cached(net: Net) -> Graph:
    query, _, _ = scores_of(net)
    past = net.input("past", 1, HEADS, PAST, HEAD_DIM)
    keys = net.op("concat", past, net.op("exp", query), axis=2)
    values = net.input("all", 1, HEADS, TOTAL, HEAD_DIM)
    scores = net.op("matmul", query, net.op("transpose", keys, perm=(0, 1, 3, 2)))
    return finish(net, scores, values)


FUSED = {
    soft_capped: "full",
    capped_before_the_mask: "causal",
    scaled_behind_the_bias: "full, bias",
    subtracted_mask: "causal",
    clamped: "causal",
    bias_and_mask_in_one_value: "causal, bias",
    masked_bias: "full, key mask, bias",
    masked_behind_the_softmax: "causal",
    three_axes: "causal, bias",
    grouped_five_axes: "causal",
    windows_as_batch: "full, bias",
    scaled_values: "full",
    relative_bias: "full, bias",
    cross_attention: "full",
    only_keys_cached: "full",
}


@pytest.mark.parametrize("build", FUSED, ids=lambda build: build.__name__)
@pytest.mark.parametrize(("past", "seq"), [(3, 2), (1, 5), (0, 1)])
def test_forms(build: Callable[[Net], Graph], past: int, seq: int) -> None:
    numbers = {"past": past, "seq": seq}
    after = assert_same_meaning(lambda: build(Net()), *CLEAN_UP, FuseAttention(), numbers=numbers, tolerance=2e-5)
    assert after.facts["fuse_attention"]["masks"] == {FUSED[build]: 1}
    assert "softmax" not in operations(after)


def test_a_cap_is_an_attribute() -> None:
    (node,) = (
        n for n in run_passes(capped_before_the_mask(Net()), *CLEAN_UP, FuseAttention()).nodes if n.op == "attention"
    )
    assert (node.attributes["softcap"], node.attributes["scale"]) == pytest.approx((30.0, 0.3))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (capped_behind_the_mask, "the scores are capped by tanh after they are masked"),
        (masked_only_behind_the_softmax, "the softmax is masked by something else than the scores"),
        (
            masked_the_other_way_behind_the_softmax,
            "the softmax is masked by something else than the scores",
        ),
        (scaled_until_masked_scores_count, "masked scores are scaled so far that they count again"),
        (negative_scale, "the scores are multiplied by something else than a positive constant"),
        (scale_per_head, "the scores are multiplied by something else than a positive constant"),
        (other_axis, "softmax is not over the last of three to five axes"),
        (quantised_weights, "a quantisation stands between the softmax and its product with the values"),
        (weights_returned, "the softmax is not multiplied with values"),
        (half_masked, "the scores are replaced by other numbers than minus infinity"),
        (odd_heads, "keys and values differ in heads or length"),
    ],
)
def test_refusals(build: Callable[[Net], Graph], reason: str) -> None:
    graph = run_passes(build(Net()), *CLEAN_UP)
    assert not FuseAttention().run(graph)
    assert [why for _, why in graph.facts["fuse_attention"]["unfused"]] == [reason]
