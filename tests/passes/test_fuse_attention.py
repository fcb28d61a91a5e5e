"""Attention in the spellings of the exporters becomes one node with the same results, and what differs does not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests_attention_graphs import (
    CACHED,
    DYNAMO,
    EAGER,
    EAGER_QUOTIENT,
    HEAD_DIM,
    HEADS,
    TORCHSCRIPT,
    UNCACHED,
    WIDTH,
    Lengths,
    Mask,
    Spelling,
    attention_block,
    both,
    causal,
    key_mask,
    key_mask_by_lookup,
    no_mask,
    window,
)
from tests_graphs import PAST, SEQ, TOTAL, Net, assert_same_meaning, operations, run_passes

from passes import Graph, Value
from passes.canonicalize import Canonicalize
from passes.common_subexpressions import CommonSubexpressions
from passes.constant_folding import ConstantFolding
from passes.dead_code import DeadCode
from passes.fuse_attention import FuseAttention
from passes.fuse_linear import FuseLinear

CLEAN_UP = (ConstantFolding(), Canonicalize(), CommonSubexpressions(), DeadCode())
STEPS = (*CLEAN_UP, FuseLinear(), FuseAttention(), *CLEAN_UP)
SPELLINGS = [TORCHSCRIPT, DYNAMO, EAGER, EAGER_QUOTIENT]
FLOATS = {"linear", "attention", "add", "cast"}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kv_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("lengths", [CACHED, UNCACHED, Lengths(1, PAST + 1), Lengths(3, 3), Lengths(1, 1)])
def test_spellings(spelling: Spelling, kv_heads: int, lengths: Lengths) -> None:
    def build() -> Graph:
        return attention_block(spelling, both(causal, key_mask_by_lookup), kv_heads, lengths)

    numbers = {"past": 3, "seq": 2}
    after = assert_same_meaning(build, *STEPS, numbers=numbers, tolerance=2e-5)
    (node,) = (node for node in after.nodes if node.op == "attention")
    assert {*operations(after)} == FLOATS
    assert (node.attributes["heads"], node.attributes["kv_heads"]) == (HEADS, kv_heads)
    assert node.attributes["scale"] == pytest.approx(HEAD_DIM**-0.5, rel=1e-6)
    assert node.attributes["causal"] is True
    assert any(origin.startswith("onnx/softmax") for origin in node.origins)
    assert after.facts["fuse_attention"] == {
        "fused": {"attention": 1},
        "unfused": [],
        "masks": {"causal, key mask": 1},
    }


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (no_mask, "full"),
        (key_mask, "full, key mask"),
        (causal, "causal"),
        (both(causal, window(3)), "causal, window 3"),
    ],
)
def test_masks(mask: Mask, expected: str) -> None:
    for lengths in (CACHED, UNCACHED):
        after = assert_same_meaning(
            lambda lengths=lengths: attention_block(EAGER, mask, lengths=lengths),  # type: ignore[misc]
            *STEPS,
            numbers={"past": 5, "seq": 4},
            tolerance=2e-5,
        )
        assert after.facts["fuse_attention"]["masks"] == {expected: 1}


def test_present_keys_and_values_are_results_of_the_node() -> None:
    graph = run_passes(attention_block(kv_heads=2), *STEPS)
    (node,) = (node for node in graph.nodes if node.op == "attention")
    assert [graph.outputs[f"present.0.{name}"] for name in ("key", "value")] == node.outputs[1:]
    assert [value.shape for value in node.outputs] == [(1, SEQ, WIDTH), *[(1, 2, TOTAL, HEAD_DIM)] * 2]
    assert [value.name for value in node.inputs[3:5] if value] == ["past.0.key", "past.0.value"]


def test_a_mask_that_layers_share_is_classified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import passes.fuse_attention as module

    calls: list[int] = []
    original = module.classify

    def counted(*arguments: object) -> object:
        calls.append(1)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "classify", counted)
    graph = run_passes(attention_block(DYNAMO, both(causal, key_mask), layers=5), *STEPS)
    assert graph.facts["fuse_attention"]["fused"] == {"attention": 5}
    assert len(calls) == 1
    assert operations(graph).count("cast") == 1


def two_sided(net: Net, lengths: Lengths) -> Value:
    numbers = net.op("range", start=0, stop=lengths.keys, step=1, to="int64")
    return net.op("equal", net.op("reshape", numbers, shape=(1, 1, 1, lengths.keys)), 0)


def test_an_unproved_mask_leaves_the_attention_and_says_why() -> None:
    graph = run_passes(attention_block(TORCHSCRIPT, two_sided, layers=2), *STEPS)
    assert operations(graph).count("softmax") == 2
    facts = graph.facts["fuse_attention"]
    assert facts["fused"] == {"attention": 0}
    reason = "the mask is neither causal, windowed nor full, with or without a key mask"
    assert [why for _, why in facts["unfused"]] == [reason, reason]
    assert {name for name, _ in facts["unfused"]} == {node.name for node in graph.nodes if node.op == "softmax"}


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


CROSS = "there are more or fewer keys than queries and they are not appended to a past (cross-attention)"


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (soft_capped, "the scores are soft-capped by tanh"),
        (negative_scale, "the scores are multiplied by something else than a positive constant"),
        (scale_per_head, "the scores are multiplied by something else than a positive constant"),
        (other_axis, "softmax is not over the last of four axes"),
        (weights_returned, "the softmax is not multiplied with values"),
        (scaled_values, "the values are scaled"),
        (half_masked, "the scores are replaced by other numbers than minus infinity"),
        (relative_bias, "the mask depends on 'bias', which does not have one element for each key"),
        (cross_attention, CROSS),
        (odd_heads, "keys and values differ in heads or length"),
        (only_keys_cached, CROSS),
    ],
)
def test_refusals(build: Callable[[Net], Graph], reason: str) -> None:
    graph = run_passes(build(Net()), *CLEAN_UP)
    assert not FuseAttention().run(graph)
    assert [why for _, why in graph.facts["fuse_attention"]["unfused"]] == [reason]


def test_a_negative_infinity_mask_and_a_lowest_mask_are_the_same_predicate() -> None:
    for low in (-np.inf, float(np.finfo(np.float32).min), -1e9, -65504.0, -10000.0):
        graph = run_passes(attention_block(replace(EAGER, low=low)), *STEPS)
        assert graph.facts["fuse_attention"]["masks"] == {"causal": 1}
    graph = run_passes(attention_block(replace(EAGER, low=-1000.0)), *STEPS)
    assert graph.facts["fuse_attention"]["fused"] == {"attention": 0}
