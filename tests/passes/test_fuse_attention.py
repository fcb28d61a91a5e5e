"""Attention in the spellings of the exporters becomes one node with the same results, and what differs does not."""

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
    key_positions,
    no_mask,
    query_positions,
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
        "biases": {},
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
    import passes.recognition.attention_masks as module

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


def first_key(net: Net, lengths: Lengths) -> Value:
    return net.op("equal", key_positions(net, lengths), 0)


def two_sided(net: Net, lengths: Lengths) -> Value:
    distance = net.op("sub", query_positions(net, lengths), key_positions(net, lengths))
    return net.op("less", net.op("abs", distance), 4)


def prefix(net: Net, lengths: Lengths) -> Value:
    return net.op("or", causal(net, lengths), net.op("less", key_positions(net, lengths), 7))


def blocks(net: Net, lengths: Lengths) -> Value:
    """Causal within chunks of 5 keys."""
    apart = (net.op("div", side(net, lengths), 5) for side in (query_positions, key_positions))
    return net.op("and", causal(net, lengths), net.op("equal", *apart))


def per_head(net: Net, lengths: Lengths) -> Value:
    first = net.constant(np.arange(HEADS).reshape(1, HEADS, 1, 1) == 0, "bool")
    return net.op("or", causal(net, lengths), first)


NEITHER = "the mask is neither causal, windowed nor full, with or without a key mask"


@pytest.mark.parametrize("spelling", [EAGER, EAGER_QUOTIENT, DYNAMO])
@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (first_key, "full, bias"),
        (two_sided, "full, bias"),
        (prefix, "full, bias"),
        (per_head, "full, bias"),
        (blocks, "causal, bias"),
        (both(two_sided, key_mask), "full, key mask, bias"),
    ],
)
@pytest.mark.parametrize(("past", "seq"), [(0, 1), (0, 3), (0, 9), (3, 4), (6, 1), (7, 1), (8, 2)])
def test_a_mask_that_is_no_predicate_becomes_a_bias(
    mask: Mask, expected: str, spelling: Spelling, past: int, seq: int
) -> None:
    numbers = {"past": past, "seq": seq}
    after = assert_same_meaning(lambda: attention_block(spelling, mask), *STEPS, numbers=numbers, tolerance=2e-5)
    facts = after.facts["fuse_attention"]
    assert (facts["fused"], facts["masks"]) == ({"attention": 1}, {expected: 1})
    assert facts["biases"] == {f"bias because {NEITHER}": 1}


@pytest.mark.parametrize("size", [4, 33])
@pytest.mark.parametrize("offset", [-1, 0, 1])
@pytest.mark.parametrize("seq", [1, 3])
def test_windows_below_at_and_above_their_size(size: int, offset: int, seq: int) -> None:
    numbers = {"past": size + offset - seq, "seq": seq}
    masks = both(causal, window(size), key_mask)
    after = assert_same_meaning(lambda: attention_block(DYNAMO, masks), *STEPS, numbers=numbers, tolerance=2e-5)
    assert after.facts["fuse_attention"]["masks"] == {f"causal, window {size}, key mask": 1}


def test_layers_share_a_bias() -> None:
    graph = run_passes(attention_block(TORCHSCRIPT, two_sided, layers=3), *STEPS)
    biases = {node.inputs[6] for node in graph.nodes if node.op == "attention"}
    assert len(biases) == 1


def test_a_negative_infinity_mask_and_a_lowest_mask_are_the_same_predicate() -> None:
    for low in (-np.inf, float(np.finfo(np.float32).min), -1e9, -65504.0, -10000.0):
        graph = run_passes(attention_block(replace(EAGER, low=low)), *STEPS)
        assert graph.facts["fuse_attention"]["masks"] == {"causal": 1}
    graph = run_passes(attention_block(replace(EAGER, low=-1000.0)), *STEPS)
    assert graph.facts["fuse_attention"]["masks"] == {"full, bias": 1}
