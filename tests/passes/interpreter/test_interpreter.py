"""Meaning of the graph operations against direct numpy formulas."""

import math

import ml_dtypes
import numpy as np
import pytest

from isa import GraphError, InputError
from passes import OPS, Cache, Graph, Node, TensorType, Value
from passes.dims import Dim, symbol
from passes.interpreter.attention import FUSED_MEANINGS
from passes.interpreter.interpret import evaluate, interpret
from passes.interpreter.operations import MEANINGS, erf

SEQ, PAST = symbol("seq"), symbol("past")


def float32(*shape: Dim) -> TensorType:
    return TensorType("float32", shape)


def one_node(op: str, operands: list[np.ndarray | None], result: TensorType, **attributes: object) -> np.ndarray:
    graph = Graph("one")
    values: list[Value | None] = [None if o is None else graph.add_constant(o) for o in operands]
    node = graph.add_node(op, values, [result], attributes)
    graph.outputs["y"] = node.output
    return interpret(graph, {})["y"]


def test_every_operation_has_a_meaning() -> None:
    assert {*MEANINGS, *FUSED_MEANINGS, "cached_attention"} == set(OPS)


def test_erf_agrees_with_the_standard_library() -> None:
    x = np.concatenate([np.linspace(-7, 7, 20001), [1e-300, 0.0, np.inf, -np.inf]])
    expected = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(erf(x), expected, rtol=1e-11, atol=4e-12)
    assert np.isnan(erf(np.array([np.nan])))[0]


def test_integer_division_rounds_towards_zero() -> None:
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    assert one_node("div", [a, b], TensorType("int64", (4,))).tolist() == [3, -3, -3, 3]


def test_half_precision_is_rounded_after_each_node() -> None:
    x = np.array([1.0, 3.0], ml_dtypes.bfloat16)
    result = one_node("div", [x, np.array([3.0, 7.0], ml_dtypes.bfloat16)], TensorType("bfloat16", (2,)))
    assert result.dtype == np.dtype("bfloat16")
    assert result.tolist() == [0.333984375, 0.427734375]


def test_round_takes_the_even_one_of_two_near_integers() -> None:
    x = np.array([0.5, 1.5, -2.5, 2.4999998], np.float32)
    assert one_node("round", [x], float32(4)).tolist() == [0, 2, -2, 2]


@pytest.mark.parametrize(("largest", "expected"), [(True, [[1, 2], [0, 1]]), (False, [[0, 3], [3, 2]])])
def test_topk_takes_the_first_of_equal_elements(largest: bool, expected: list[list[int]]) -> None:
    x = np.array([[1, 7, 7, 1], [9, 8, 2, 0]], np.uint8)
    graph = Graph("one")
    kinds = [TensorType("uint8", (2, 2)), TensorType("int64", (2, 2))]
    attributes = {"k": 2, "axis": 1, "largest": largest}
    node = graph.add_node("topk", [graph.add_constant(x)], kinds, attributes)
    graph.outputs |= {"best": node.outputs[0], "where": node.outputs[1]}
    results = interpret(graph, {})
    assert results["where"].tolist() == expected
    assert results["best"].tolist() == np.take_along_axis(x, np.array(expected), 1).tolist()


@pytest.mark.parametrize(("reduction", "expected"), [("none", 3), ("add", 11), ("mul", 30), ("max", 5), ("min", 2)])
def test_scattering_to_one_place_twice(reduction: str, expected: float) -> None:
    x, indices = np.array([5.0, 1.0], np.float32), np.array([[0], [0]])
    updates = np.array([2.0 if reduction != "add" else 3.0, 3.0], np.float32)
    result = one_node("scatter_nd", [x, indices, updates], float32(2), reduction=reduction)
    assert result.tolist() == [expected, 1]


def test_softmax_of_a_fully_masked_row_is_nan() -> None:
    result = one_node("softmax", [np.full((1, 2), -np.inf, np.float32)], float32(1, 2), axis=-1)
    assert np.isnan(result).all()


def test_slice_with_a_negative_step_reaches_the_front() -> None:
    x = np.arange(5, dtype=np.float32)
    assert one_node("slice", [x], float32(5), axis=0, start=4, stop=-1, step=-1).tolist() == [4, 3, 2, 1, 0]


def naive_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray, scale: float) -> np.ndarray:
    """One head after the other; q [H, S, D], k and v [G, T, D], mask [S, T]."""
    group = q.shape[0] // k.shape[0]
    out = np.zeros((*q.shape[:2], v.shape[-1]), np.float32)
    for head in range(q.shape[0]):
        for row in range(q.shape[1]):
            scores = k[head // group] @ q[head, row] * scale
            keep = mask[row]
            if keep.any():
                weights = np.exp(scores[keep] - scores[keep].max())
                out[head, row] = weights @ v[head // group][keep] / weights.sum()
    return out


@pytest.mark.parametrize(("causal", "window"), [(False, 0), (True, 0), (True, 3)])
@pytest.mark.parametrize("past", [0, 4])
def test_attention_by_the_naive_formula(causal: bool, window: int, past: int) -> None:
    rng = np.random.default_rng(0)
    heads, groups, length, dim = 4, 2, 3, 8
    query = rng.standard_normal((1, length, heads * dim), np.float32)
    key = rng.standard_normal((1, length, groups * dim), np.float32)
    value = rng.standard_normal((1, length, groups * dim), np.float32)
    past_key = rng.standard_normal((1, groups, past, dim), np.float32)
    past_value = rng.standard_normal((1, groups, past, dim), np.float32)
    key_mask = np.ones((1, past + length), bool)
    key_mask[0, 0] = False
    result = one_node(
        "attention",
        [query, key, value, past_key, past_value, key_mask],
        float32(1, length, heads * dim),
        heads=heads,
        kv_heads=groups,
        scale=0.3,
        causal=causal,
        window=window,
        softcap=0.0,
    )
    keys = np.concatenate([past_key[0], key[0].reshape(length, groups, dim).swapaxes(0, 1)], axis=1)
    values = np.concatenate([past_value[0], value[0].reshape(length, groups, dim).swapaxes(0, 1)], axis=1)
    position, column = past + np.arange(length)[:, None], np.arange(past + length)[None]
    mask = np.ones((length, past + length), bool) & key_mask[0]
    if causal:
        mask &= column <= position
    if window:
        mask &= column > position - window
    expected = naive_attention(query[0].reshape(length, heads, dim).swapaxes(0, 1), keys, values, mask, 0.3)
    np.testing.assert_allclose(result[0], expected.swapaxes(0, 1).reshape(length, heads * dim), rtol=1e-5, atol=1e-6)
    if past == 0 and causal:
        assert (result[0, 0] == 0).all()  # the first query may attend to nothing


def cached_graph() -> Graph:
    graph = Graph("cached")
    query = graph.add_input("query", float32(1, SEQ, 8))
    key = graph.add_input("key", float32(1, SEQ, 4))
    cache = Cache("layer0", 1, 4, 4, "past.key", "past.value", "present.key", "present.value")
    graph.caches["layer0"] = cache
    graph.signature = {
        "query": query.type,
        "key": key.type,
        "past.key": float32(1, 1, PAST, 4),
        "past.value": float32(1, 1, PAST, 4),
        "present.key": float32(1, 1, PAST + SEQ, 4),
        "present.value": float32(1, 1, PAST + SEQ, 4),
    }
    attributes = {
        "heads": 2,
        "kv_heads": 1,
        "scale": 0.5,
        "causal": True,
        "window": 0,
        "softcap": 0.0,
        "cache": "layer0",
    }
    node = graph.add_node("cached_attention", [query, key, key], [float32(1, SEQ, 8)], attributes)
    position = graph.add_node(
        "range", [], [TensorType("int64", (SEQ,))], {"start": PAST, "stop": PAST + SEQ, "step": 1, "to": "int64"}
    )
    graph.outputs = {"y": node.output, "position": position.output}
    return graph


def test_the_cache_grows_from_call_to_call() -> None:
    graph, rng = cached_graph(), np.random.default_rng(1)
    query, key = rng.standard_normal((1, 5, 8), np.float32), rng.standard_normal((1, 5, 4), np.float32)
    empty = np.zeros((1, 1, 0, 4), np.float32)
    whole = interpret(graph, {"query": query, "key": key, "past.key": empty, "past.value": empty})
    caches: dict[str, tuple[np.ndarray, np.ndarray]] = {"layer0": (empty, empty)}
    for step in range(5):
        part = interpret(graph, {"query": query[:, step : step + 1], "key": key[:, step : step + 1]}, caches=caches)
        np.testing.assert_allclose(part["y"], whole["y"][:, step : step + 1], rtol=1e-5, atol=1e-6)
        assert part["position"].tolist() == [step]
    np.testing.assert_array_equal(caches["layer0"][0], whole["present.key"])


def test_a_cache_that_nobody_gives_is_empty() -> None:
    graph = cached_graph()
    results = interpret(graph, {"query": np.ones((1, 2, 8), np.float32), "key": np.ones((1, 2, 4), np.float32)})
    assert results["position"].tolist() == [0, 1]
    assert results["present.key"].shape == (1, 1, 2, 4)


def test_a_cache_without_past_input_starts_empty_in_each_run() -> None:
    graph = cached_graph()
    graph.caches["layer0"] = Cache("layer0", 1, 4, 4)
    inputs = {"query": np.ones((1, 2, 8), np.float32), "key": np.ones((1, 2, 4), np.float32)}
    caches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for _ in range(2):
        interpret(graph, inputs, symbols={"past": 0}, caches=caches)
        assert caches["layer0"][0].shape == (1, 1, 2, 4)


def test_an_input_of_the_wrong_length_is_refused_with_the_known_symbols() -> None:
    query, key = np.zeros((1, 2, 8), np.float32), np.zeros((1, 3, 4), np.float32)
    with pytest.raises(InputError) as caught:
        interpret(cached_graph(), {"query": query, "key": key})
    assert str(caught.value) == "error: 'key' axis 1 has 3 elements, but must have seq = 2\nnote: seq = 2"


def test_evaluate_computes_only_what_the_target_needs() -> None:
    graph = Graph("masks")
    graph.add_input("tokens", TensorType("int64", (1, SEQ)))
    rows = {"start": PAST, "stop": PAST + SEQ, "step": 1, "to": "int64"}
    row = graph.add_node("range", [], [TensorType("int64", (SEQ,))], rows)
    column = graph.add_node("range", [], [TensorType("int64", (PAST + SEQ,))], {**rows, "start": 0})
    tall = graph.add_node("reshape", [row.output], [TensorType("int64", (SEQ, 1))], {"shape": (SEQ, 1)})
    mask = graph.add_node("less_equal", [column.output, tall.output], [TensorType("bool", (SEQ, PAST + SEQ))])
    (result,) = evaluate(graph, [mask.output], {"past": 2, "seq": 3})
    np.testing.assert_array_equal(result, np.tri(3, 5, 2, dtype=bool))


def test_a_wrong_type_in_the_graph_is_found() -> None:
    graph = Graph("wrong")
    x = graph.add_input("x", float32(SEQ))
    node: Node = graph.add_node("neg", [x], [float32(SEQ + 1)], name="minus", origins=["/Neg"])
    graph.outputs["y"] = node.output
    with pytest.raises(GraphError) as caught:
        interpret(graph, {"x": np.zeros(3, np.float32)})
    assert str(caught.value) == (
        "node '/Neg': error: neg 'minus' gives shape [3], but its result 'minus:0' is float32[seq + 1]\nnote: seq = 3"
    )
