"""Operators that rank, scatter, pad and sum along axes, against ONNX Runtime on random operands."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.numpy_helper import from_array
from onnx_graphs import agree, model, node, tensor

from isa import UnsupportedError
from passes import interpret
from pimc.frontend import import_model

pytest.importorskip("onnxruntime")
RANDOM = np.random.default_rng(17)
DTYPES = st.sampled_from(["float32", "int64", "int32"])


def few(dtype: str, *shape: int) -> np.ndarray:
    """Small numbers, so that many are equal."""
    return RANDOM.integers(-3, 4, shape).astype(dtype)


@given(DTYPES, st.integers(-2, 1), st.booleans(), st.integers(0, 4))
@settings(max_examples=25)
def test_topk(dtype: str, axis: int, largest: bool, k: int) -> None:
    best = node("TopK", ["x", "k"], ["v", "i"], axis=axis, largest=int(largest))
    agree([best], {"x": few(dtype, 4, 6)}, {"k": np.array([k])}, "v", "i")


@given(DTYPES, st.sampled_from(["ArgMax", "ArgMin"]), st.integers(-2, 1), st.booleans(), st.booleans())
@settings(max_examples=25)
def test_positions_of_extremes(dtype: str, operator: str, axis: int, last: bool, keepdims: bool) -> None:
    found = node(operator, ["x"], ["y"], axis=axis, select_last_index=int(last), keepdims=int(keepdims))
    agree([found], {"x": few(dtype, 4, 6)}, {}, "y")


def test_the_least_integer_is_the_smallest() -> None:
    least = np.iinfo(np.int32).min
    agree([node("ArgMin", ["x"], ["y"])], {"x": np.array([3, least, least], np.int32)}, {}, "y")


@given(st.sampled_from(["none", "add", "mul", "max", "min"]), st.integers(-2, 1), DTYPES)
@settings(max_examples=25)
def test_scatter_elements(reduction: str, axis: int, dtype: str) -> None:
    rows = np.stack([RANDOM.permutation(4)[:3] for _ in range(2)]) if axis % 2 else few("int64", 3, 4) % 4
    if reduction == "none" and axis % 2 == 0:
        rows = np.stack([RANDOM.permutation(4)[:3] for _ in range(4)], axis=1)
    indices = (rows - 4 * RANDOM.integers(0, 2, rows.shape)).astype(np.int64)
    scatter = node("ScatterElements", ["x", "i", "u"], ["y"], axis=axis, reduction=reduction)
    agree([scatter], {"x": few(dtype, 4, 4), "i": indices, "u": few(dtype, *indices.shape)}, {}, "y")


@given(st.sampled_from(["none", "add", "mul", "max", "min"]))
@settings(max_examples=10)
def test_scatter_nd(reduction: str) -> None:
    places = np.array([[0, 1], [2, 3], [-1, 0]]) if reduction == "none" else np.array([[0, 1], [0, 1], [-1, 0]])
    inputs = {"x": few("float32", 4, 4, 2), "i": places, "u": few("float32", 3, 2)}
    agree([node("ScatterND", ["x", "i", "u"], ["y"], reduction=reduction)], inputs, {}, "y")


@given(st.booleans(), st.booleans(), st.integers(-2, 1))
@settings(max_examples=10)
def test_running_sums(exclusive: bool, reverse: bool, axis: int) -> None:
    running = node("CumSum", ["x", "a"], ["y"], exclusive=int(exclusive), reverse=int(reverse))
    agree([running], {"x": RANDOM.standard_normal((3, 5), np.float32)}, {"a": np.array(axis)}, "y")


def test_an_exclusive_sum_after_infinity() -> None:
    running = node("CumSum", ["x", "a"], ["y"], exclusive=1)
    agree([running], {"x": np.array([1, np.inf, 2], np.float32)}, {"a": np.array(0)}, "y")


@given(st.sampled_from(["constant", "edge", "reflect", "wrap"]), st.lists(st.integers(0, 3), min_size=4, max_size=4))
@settings(max_examples=25)
def test_padding(mode: str, pads: list[int]) -> None:
    agree([node("Pad", ["x", "p"], ["y"], mode=mode)], {"x": few("float32", 4, 5)}, {"p": np.array(pads)}, "y")


@given(st.sampled_from(["ReduceProd", "ReduceLogSumExp", "ReduceMax", "ReduceL2"]), st.integers(1, 7), st.booleans())
@settings(max_examples=25)
def test_reductions(operator: str, size: int, keepdims: bool) -> None:
    weights = {"a": np.array([-1, 0])}
    x = (
        RANDOM.standard_normal((2, 3, size), np.float32) * 50
        if operator == "ReduceLogSumExp"
        else few("float32", 2, 3, size)
    )
    agree([node(operator, ["x", "a"], ["y"], keepdims=int(keepdims))], {"x": x}, weights, "y")


@pytest.mark.parametrize("row", [[-np.inf, -np.inf], [np.inf, 1], [1000, 1001]])
def test_logarithms_of_sums_stay_exact(row: list[float]) -> None:
    agree([node("ReduceLogSumExp", ["x"], ["y"], keepdims=0)], {"x": np.array(row, np.float32)}, {}, "y")


def test_powers_of_integers() -> None:
    a, b = (grid.reshape(-1).astype(np.int64) for grid in np.meshgrid(np.arange(-3, 4), np.arange(-3, 4)))
    kept = (a != 0) | (b >= 0)
    agree([node("Pow", ["a", "b"], ["y"])], {"a": a[kept], "b": b[kept]}, {}, "y")


@pytest.mark.parametrize(("dtype", "fmod"), [("int64", 0), ("int64", 1), ("int32", 0), ("int32", 1), ("float32", 1)])
def test_remainders(dtype: str, fmod: int) -> None:
    a, b = np.meshgrid(np.arange(-4, 5), [-3, -2, 2, 3])
    inputs = {"a": a.astype(dtype), "b": b.astype(dtype)}
    agree([node("Mod", ["a", "b"], ["y"], fmod=fmod)], inputs, {}, "y")


@pytest.mark.parametrize("mode", ["linear", "circular"])
def test_rows_written_into_a_cache_of_fixed_length(mode: str) -> None:
    start = np.array([1, 2] if mode == "linear" else [3, 2])
    inputs = {"c": few("float32", 2, 3, 5, 4), "u": few("float32", 2, 3, 3, 4), "w": start}
    agree([node("TensorScatter", ["c", "u", "w"], ["y"], mode=mode)], inputs, {}, "y", opsets={"": 24})


def test_tables_are_resized_at_compile_time() -> None:
    """As position tables are when the size of the image is bound; data are refused with their operator's name."""
    table = RANDOM.standard_normal((1, 4, 3, 3), np.float32)
    resize = node("Resize", ["t", "", "", "s"], ["y"], mode="cubic", cubic_coeff_a=-0.75)
    weights = [from_array(table, "t"), from_array(np.array([1, 4, 5, 7]), "s")]
    graph = import_model(model([resize], [], ["y"], weights))
    assert len(graph) == 0
    assert interpret(graph, {})["y"].shape == (1, 4, 5, 7)
    with pytest.raises(UnsupportedError, match="1 of 1 nodes"):
        import_model(model([resize], [tensor("t", (1, 4, 3, 3))], ["y"], weights[1:]))


def test_squeezing_what_may_be_one_is_refused() -> None:
    made = model([node("Squeeze", ["x"], ["y"])], [tensor("x", ("seq", 1))], ["y"])
    with pytest.raises(UnsupportedError, match="but seq may be 1 or not") as caught:
        import_model(made)
    assert caught.value.help == "bind the dimensions that it depends on: --dim seq=N"
    assert str(import_model(made, {"seq": 4}).outputs["y"].type) == "float32[4]"


@pytest.mark.parametrize("start", [-100, -5, -1, 0, 3, 100])
@pytest.mark.parametrize("end", [-(1 << 63), -100, -5, 0, 2, 100, (1 << 63) - 1])
@pytest.mark.parametrize("step", [-3, -1, 1, 2])
def test_slices_clamp_both_ends(start: int, end: int, step: int) -> None:
    weights = {"s": np.array([start]), "e": np.array([end]), "a": np.array([-1]), "t": np.array([step])}
    agree([node("Slice", ["x", "s", "e", "a", "t"], ["y"])], {"x": few("float32", 2, 5)}, weights, "y")
