"""Convolutions and pooling against ONNX Runtime, on random windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.numpy_helper import from_array
from onnx_graphs import agree, model, node, tensor

from isa import InputError, UnsupportedError
from passes import PassManager, TensorType, interpret, pipeline, verify
from pimc.frontend import import_model

pytest.importorskip("onnxruntime")
RANDOM = np.random.default_rng(5)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


@st.composite
def windows(draw: st.DrawFn, dilated: bool = True) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Sizes of spatial axes, and attributes of windows that fit."""
    rank = draw(st.integers(1, 2))
    sizes = tuple(draw(st.integers(5, 11)) for _ in range(rank))
    axis = st.integers(1, 3)
    kernel = [draw(axis) for _ in sizes]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": [draw(axis) for _ in sizes]}
    if dilated:
        attributes["dilations"] = [draw(st.integers(1, 2)) for _ in sizes]
    mode = draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    attributes["auto_pad"] = mode
    if mode == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, size - 1)) for size in kernel * 2]
    elif mode != "VALID":
        attributes["dilations"] = [1] * rank
        attributes["strides"] = [min(pair) for pair in zip(kernel, attributes["strides"], strict=True)]
    return sizes, attributes


@given(windows(), st.sampled_from([1, 2, 4]), st.booleans())
@settings(max_examples=40)
def test_convolution(window: tuple[tuple[int, ...], dict[str, Any]], groups: int, has_bias: bool) -> None:
    sizes, attributes = window
    names = ["x", "w", "b"][: 2 + has_bias]
    weights = {"w": floats(8, 4 // groups, *attributes["kernel_shape"]), "b": floats(8)}
    agree([node("Conv", names, ["y"], group=groups, **attributes)], {"x": floats(2, 4, *sizes)}, weights, "y")


@given(windows(dilated=False), st.booleans(), st.sampled_from(["MaxPool", "AveragePool"]), st.booleans())
@settings(max_examples=40)
def test_pooling(window: tuple[tuple[int, ...], dict[str, Any]], ceil: bool, operator: str, counted: bool) -> None:
    sizes, attributes = window
    if operator == "AveragePool":
        attributes["count_include_pad"] = int(counted)
    if attributes["auto_pad"] == "NOTSET":
        attributes["ceil_mode"] = int(ceil)
    agree([node(operator, ["x"], ["y"], **attributes)], {"x": floats(1, 2, *sizes)}, {}, "y")


def test_patches_become_one_linear_map() -> None:
    """A window without overlap is cut by reshape and transpose; its bias is that of the linear map."""
    weights = {"w": floats(8, 3, 4, 4), "b": floats(8)}
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], strides=[4, 4]),
        node("Reshape", ["c", "s"], ["r"]),
        node("Transpose", ["r"], ["y"], perm=[0, 2, 1]),
    ]
    stored = [*(from_array(array, name) for name, array in weights.items()), from_array(np.array([0, 8, -1]), "s")]
    graph = import_model(model(nodes, [tensor("x", (1, 3, 10, 9))], ["y"], stored))
    x = floats(1, 3, 10, 9)
    before = interpret(graph, {"x": x})["y"]
    PassManager(pipeline("default")).run(graph)
    assert [n.op for n in graph.nodes if n.op in ("linear", "matmul", "add")] == ["linear"]
    np.testing.assert_allclose(interpret(graph, {"x": x})["y"], before, rtol=1e-5, atol=1e-6)


def test_a_window_of_stride_one_slides_over_any_length() -> None:
    made = model(
        [node("Conv", ["x", "w"], ["y"], pads=[1, 1])],
        [tensor("x", (1, 4, "length"))],
        ["y"],
        [from_array(floats(6, 4, 3), "w")],
    )
    graph = import_model(made)
    verify(graph, "imported")
    assert [str(dim) for dim in graph.outputs["y"].shape] == ["1", "6", "length"]
    assert interpret(graph, {"x": floats(1, 4, 5)})["y"].shape == (1, 6, 5)


def test_a_length_that_must_be_bound_is_named() -> None:
    made = model(
        [node("Conv", ["x", "w"], ["y"], pads=[1, 1], strides=[2])],
        [tensor("x", (1, 4, "length"))],
        ["y"],
        [from_array(floats(6, 4, 3), "w")],
    )
    with pytest.raises(UnsupportedError, match="windows every 2 of 'length' elements") as caught:
        import_model(made)
    assert caught.value.help == "bind the dimensions that it depends on: --dim length=N"
    assert import_model(made, {"length": 6}).outputs["y"].type == TensorType("float32", (1, 6, 3))


def test_dimensions_of_images_must_be_bound() -> None:
    made = model(
        [node("Conv", ["x", "w"], ["y"], strides=[4, 4])],
        [tensor("x", ("batch", "channels", "height", "width"))],
        ["y"],
        [from_array(floats(8, 3, 4, 4), "w")],
    )
    with pytest.raises(UnsupportedError, match="must be numbers") as caught:
        import_model(made)
    assert caught.value.help is not None
    assert caught.value.help.endswith("--dim channels=N --dim height=N --dim width=N")
    dims = {"channels": 3, "height": 8, "width": 12}
    assert str(import_model(made, dims).outputs["y"].type) == "float32[1, 8, 2, 3]"


@pytest.mark.parametrize(
    ("shape", "attributes", "message"),
    [
        ((6, 3, 3), {}, "1 groups of filters"),
        ((6, 4, 9), {}, "a window of 9 elements does not fit into 8"),
        ((6, 4, 3), {"pads": [1]}, "pads \\[1\\]"),
        ((6, 4, 3), {"strides": [0]}, "strides \\[0\\]"),
        ((6, 4), {}, "filters"),
    ],
)
def test_wrong_convolutions(shape: tuple[int, ...], attributes: dict[str, Any], message: str) -> None:
    made = model(
        [node("Conv", ["x", "w"], ["y"], **attributes)],
        [tensor("x", (1, 4, 8))],
        ["y"],
        [from_array(floats(*shape), "w")],
    )
    with pytest.raises(InputError, match=message):
        import_model(made)
