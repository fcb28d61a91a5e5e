"""Attention without a cache gives the same results, operation by operation, for every combination of operands."""

import itertools
from typing import Any

import numpy as np
import pytest
from tests_graphs import PAST, SEQ, Net, assert_same_meaning, operations, random_inputs, run_passes

from passes import Graph, TensorType, Value, interpret
from passes.dims import Dim
from passes.expand_attention import ExpandAttention

HEADS, KV_HEADS, HEAD_DIM, VALUE_DIM = 4, 2, 6, 3


def attention(
    parts: set[str],
    keys: Dim = SEQ,
    batch: int = 2,
    dtype: str = "float32",
    bias_shape: tuple[Dim, ...] = (1, HEADS, SEQ, 1),
    **attributes: Any,
) -> Graph:
    """One attention with the operands that `parts` names; all three results are outputs."""
    net = Net()
    query = net.input("query", batch, SEQ, HEADS * HEAD_DIM, dtype=dtype)
    operands: list[Value | None] = [query, None, None, None, None, None, None]
    total: Dim = (keys if "new" in parts else 0) + (PAST if "past" in parts else 0)
    if "new" in parts:
        operands[1] = net.input("key", batch, keys, KV_HEADS * HEAD_DIM, dtype=dtype)
        operands[2] = net.input("value", batch, keys, KV_HEADS * VALUE_DIM, dtype=dtype)
    if "past" in parts:
        operands[3] = net.input("past_key", batch, KV_HEADS, PAST, HEAD_DIM, dtype=dtype)
        operands[4] = net.input("past_value", batch, KV_HEADS, PAST, VALUE_DIM, dtype=dtype)
    if "mask" in parts:
        operands[5] = net.input("mask", batch, total, dtype="bool")
    if "bias" in parts:
        operands[6] = net.input("bias", *bias_shape, dtype=dtype)
    plain = {"heads": HEADS, "kv_heads": KV_HEADS, "scale": 0.4, "causal": False, "window": 0, "softcap": 0.0}
    kinds = [TensorType(dtype, (batch, SEQ, HEADS * VALUE_DIM))]
    kinds += [TensorType(dtype, (batch, KV_HEADS, total, width)) for width in (HEAD_DIM, VALUE_DIM)]
    node = net.graph.add_node("attention", operands, kinds, {**plain, **attributes}, origins=["onnx/attention"])
    net.graph.outputs = dict(zip(("y", "present_key", "present_value"), node.outputs, strict=True))
    return net.graph


CAUSES = [{}, {"causal": True}, {"causal": True, "window": 2}, {"softcap": 0.7}]


@pytest.mark.parametrize("attributes", CAUSES, ids=str)
@pytest.mark.parametrize(
    "parts",
    [
        {*kept, *more}
        for kept in (("new",), ("past",), ("new", "past"))
        for count in range(3)
        for more in itertools.combinations(("mask", "bias"), count)
    ],
    ids=lambda parts: "+".join(sorted(parts)),
)
def test_operands(parts: set[str], attributes: dict[str, Any]) -> None:
    after = assert_same_meaning(lambda: attention(parts, **attributes), ExpandAttention(), tolerance=1e-5)
    assert "attention" not in operations(after)
    assert all(node.origins == ("onnx/attention",) for node in after.nodes)


@pytest.mark.parametrize("shape", [(1, 1, 1, 7), (2, HEADS, SEQ, 7), (2, 1, SEQ, 1)])
def test_keys_of_another_length(shape: tuple[Dim, ...]) -> None:
    parts = {"new", "bias", "mask"}
    assert_same_meaning(lambda: attention(parts, 7, bias_shape=shape), ExpandAttention(), tolerance=1e-5)


def test_half_precision_is_rounded_once() -> None:
    assert_same_meaning(lambda: attention({"new"}, dtype="float16"), ExpandAttention(), tolerance=1e-3)


def test_rows_without_any_key_give_zeros() -> None:
    graph = run_passes(attention({"new", "mask", "bias"}), ExpandAttention())
    inputs = random_inputs(graph, {"seq": 3})
    inputs["mask"] = np.zeros_like(inputs["mask"])
    assert not interpret(graph, inputs)["y"].any()
    inputs["mask"] = np.ones_like(inputs["mask"])
    inputs["bias"][:, 1] = -np.inf
    result = interpret(graph, inputs)["y"].reshape(2, 3, HEADS, VALUE_DIM)
    assert not result[:, :, 1].any()
    assert result[:, :, 0].all()
