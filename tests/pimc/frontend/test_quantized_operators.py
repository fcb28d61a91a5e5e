"""Quantised operators and weights of 4 and 2 bits, against ONNX Runtime and numpy."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_graphs import agree, model, node, tensor

from isa import UnsupportedError
from passes import interpret, verify
from pimc.frontend import import_model

pytest.importorskip("onnxruntime")
DOMAIN = "com.microsoft"
RANDOM = np.random.default_rng(13)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def codes(dtype: str, *shape: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min, limits.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_arithmetic_of_quantised_operands(operator: str, dtype: str) -> None:
    scales = {f"{name}s": np.float32(scale) for name, scale in (("a", 0.05), ("b", 0.02), ("c", 0.08))}
    zeros = {f"{name}z": np.array(zero, dtype) for name, zero in (("a", 3), ("b", 100), ("c", 7))}
    names = ["a", "as", "az", "b", "bs", "bz", "cs", "cz"]
    inputs = {"a": codes(dtype, 2, 5, 16), "b": codes(dtype, 2, 5, 16)}
    weights = {name: np.asarray(array) for name, array in {**scales, **zeros}.items()}
    agree([node(operator, names, ["y"], domain=DOMAIN)], inputs, weights, "y")


@pytest.mark.parametrize("is_per_column", [False, True])
def test_dynamic_products(is_per_column: bool) -> None:
    width = 6 if is_per_column else 1
    weights = {
        "w": codes("int8", 8, 6),
        "s": np.abs(floats(width)) + 0.01,
        "z": np.zeros(width, np.int8),
        "b": floats(6),
    }
    product = node("DynamicQuantizeMatMul", ["x", "w", "s", "z", "b"], ["y"], domain=DOMAIN)
    agree([product], {"x": floats(2, 3, 8)}, weights, "y")


def test_product_to_float() -> None:
    weights = {"w": codes("int8", 8, 6), "xs": np.array([0.05], np.float32), "ws": np.array([0.1], np.float32)}
    names = ["x", "w", "xs", "ws", "xz"]
    product = node("MatMulIntegerToFloat", names, ["y"], domain=DOMAIN)
    agree([product], {"x": codes("uint8", 3, 8)}, {**weights, "xz": np.array([9], np.uint8)}, "y")


@pytest.mark.parametrize("is_per_column", [False, True])
def test_quantised_products(is_per_column: bool) -> None:
    width = 6 if is_per_column else 1
    weights = {
        "as": np.array(0.05, np.float32),
        "az": np.array(7, np.uint8),
        "w": codes("int8", 16, 6),
        "ws": np.abs(floats(width)) / 50 + 0.01,
        "wz": codes("int8", width) // 16,
        "ys": np.array(0.3, np.float32),
        "yz": np.array(100, np.uint8),
    }
    product = node("QLinearMatMul", ["x", "as", "az", "w", "ws", "wz", "ys", "yz"], ["y"])
    agree([product], {"x": codes("uint8", 2, 5, 16)}, weights, "y")


def test_quantised_convolution() -> None:
    weights = {
        "as": np.array(0.05, np.float32),
        "az": np.array(7, np.uint8),
        "w": codes("int8", 6, 4, 3),
        "ws": np.abs(floats(6)) / 50 + 0.01,
        "wz": np.zeros(6, np.int8),
        "ys": np.array(0.3, np.float32),
        "yz": np.array(100, np.uint8),
        "b": codes("int8", 6).astype(np.int32) * 50,
    }
    names = ["x", "as", "az", "w", "ws", "wz", "ys", "yz", "b"]
    convolution = node("QLinearConv", names, ["y"], pads=[1, 1], strides=[2])
    agree([convolution], {"x": codes("uint8", 2, 4, 9)}, weights, "y")


@pytest.mark.parametrize("x", [np.zeros((2, 3), np.float32), np.full((2, 3), 7, np.float32), floats(2, 3)])
def test_dynamic_quantisation(x: np.ndarray) -> None:
    agree([node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])], {"x": x}, {}, "y", "s", "z")


@given(st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=20), st.sampled_from(["int8", "uint8"]))
@settings(max_examples=30)
def test_quantisation(values: list[float], dtype: str) -> None:
    weights = {"s": np.float32(0.5), "z": np.array(3, dtype)}
    quantise = node("QuantizeLinear", ["x", "s", "z"], ["y"])
    agree([quantise], {"x": np.array(values, np.float32)}, {n: np.asarray(a) for n, a in weights.items()}, "y")


@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
@pytest.mark.parametrize("is_raw", [True, False])
def test_blocks_of_four_bit_weights(kind: str, is_raw: bool) -> None:
    """DequantizeLinear with a scale and zero point a block of 4 inputs, then a product."""
    low = -8 if kind == "INT4" else 0
    values = RANDOM.integers(low, low + 16, (8, 3))
    scales, zeros = floats(2, 3), RANDOM.integers(low, low + 16, (2, 3))
    stored = [
        packed("w", kind, values, is_raw),
        packed("z", kind, zeros, is_raw),
        onnx.numpy_helper.from_array(scales, "s"),
    ]
    nodes = [
        node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=0, block_size=4),
        node("MatMul", ["x", "d"], ["y"]),
    ]
    graph = import_model(model(nodes, [tensor("x", (2, 8))], ["y"], stored, {"": 21}))
    verify(graph, "imported")
    weight = (values - zeros.repeat(4, 0)) * scales.repeat(4, 0)
    x = floats(2, 8)
    np.testing.assert_allclose(interpret(graph, {"x": x})["y"], x @ weight.astype(np.float32), rtol=1e-5, atol=1e-5)


def packed(name: str, kind: str, values: np.ndarray, is_raw: bool) -> onnx.TensorProto:
    flat = (values.reshape(-1) & 15).astype(np.uint8)
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    content = flat[0::2] | (flat[1::2] << 4)
    made = TensorProto(name=name, data_type=getattr(TensorProto, kind), dims=values.shape)
    if is_raw:
        made.raw_data = content.tobytes()
    else:
        made.int32_data.extend(content.tolist())
    return made


def test_four_bit_weights_elsewhere_are_refused() -> None:
    """A view keeps the element type, and arithmetic on it is not that of bytes."""
    nodes = [node("Transpose", ["w"], ["t"]), node("Add", ["t", "t"], ["a"]), node("Cast", ["a"], ["y"], to=1)]
    made = model(nodes, [], ["y"], [packed("w", "INT4", np.array([[1, 2], [3, 7]]), True)], {"": 21})
    with pytest.raises(UnsupportedError, match="/a': error: the element type INT4 is not supported in Add"):
        import_model(made)


def test_four_bit_weights_through_a_view() -> None:
    nodes = [node("Transpose", ["w"], ["t"]), node("Cast", ["t"], ["y"], to=1)]
    made = model(nodes, [], ["y"], [packed("w", "INT4", np.array([[1, 2], [3, -7]]), True)], {"": 21})
    assert interpret(import_model(made), {})["y"].tolist() == [[1, 3], [2, -7]]


def test_integers_of_four_bits_as_inputs_are_refused() -> None:
    info = helper.make_tensor_value_info("x", TensorProto.INT4, (2,))
    with pytest.raises(UnsupportedError, match="the element type INT4 is not supported"):
        import_model(model([node("Cast", ["x"], ["y"], to=1)], [info], ["y"], opsets={"": 21}))
