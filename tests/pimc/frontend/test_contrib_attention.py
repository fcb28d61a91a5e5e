"""ONNX Runtime's fused attention operators against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_graphs import agree, node

pytest.importorskip("onnxruntime")
DOMAIN = "com.microsoft"
RANDOM = np.random.default_rng(11)
Arrays = dict[str, np.ndarray]


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


def ints(*values: object) -> np.ndarray:
    return np.array(values, np.int32)


MASKS = {"raw": ints([0, 1, 1, 1], [1, 1, 1, 1]), "lengths": ints(2, 4), "square": RANDOM.integers(0, 2, (2, 4, 4))}


@pytest.mark.parametrize("mask", [None, "raw", "lengths", "square"])
@pytest.mark.parametrize("attributes", [{}, {"unidirectional": 1}, {"scale": 0.5, "mask_filter_value": -50.0}])
def test_attention_with_projections(mask: str | None, attributes: dict[str, Any]) -> None:
    inputs = {"x": floats(2, 4, 6)}
    names = ["x", "w", "b"]
    if mask is not None:
        inputs["mask"] = MASKS[mask].astype(np.int32)
        names.append("mask")
    attend = node("Attention", names, ["y"], num_heads=2, domain=DOMAIN, **attributes)
    agree([attend], inputs, {"w": floats(6, 24), "b": floats(24)}, "y")


def test_attention_with_projections_and_past() -> None:
    inputs = {"x": floats(2, 3, 6), "past": floats(2, 2, 2, 5, 4), "mask": np.ones((2, 8), np.int32)}
    inputs["mask"][0, :2] = 0
    names = ["x", "w", "b", "mask", "past"]
    attend = node("Attention", names, ["y", "present"], num_heads=2, unidirectional=1, domain=DOMAIN)
    agree([attend], inputs, {"w": floats(6, 24), "b": floats(24)}, "y", "present")


def test_attention_with_values_of_another_width() -> None:
    attend = node("Attention", ["x", "w", "b"], ["y"], num_heads=2, qkv_hidden_sizes=[8, 8, 12], domain=DOMAIN)
    agree([attend], {"x": floats(2, 4, 6)}, {"w": floats(6, 28), "b": floats(28)}, "y")


@pytest.mark.parametrize("attributes", [{}, {"scale": 0.3}])
@pytest.mark.parametrize("operands", ["", "b", "m", "l", "a", "bma"])
def test_multi_head_attention(operands: str, attributes: dict[str, Any]) -> None:
    given = {"b": floats(24), "m": ints([1, 1, 1, 1, 0], [1, 1, 0, 0, 0]), "l": ints(5, 2), "a": floats(1, 2, 3, 5)}
    inputs: Arrays = {"q": floats(2, 3, 8), "k": floats(2, 5, 8), "v": floats(2, 5, 8)}
    inputs |= {name: given[name] for name in operands}
    mask = "l" if "l" in operands else "m" if "m" in operands else ""
    names = ["q", "k", "v", "b" if "b" in operands else "", mask, "a" if "a" in operands else ""]
    attend = node("MultiHeadAttention", names, ["y"], num_heads=2, domain=DOMAIN, **attributes)
    agree([attend], inputs, {}, "y")


def test_multi_head_attention_with_past() -> None:
    inputs = {name: floats(2, 3, 8) for name in "qkv"} | {name: floats(2, 2, 4, 4) for name in ("pk", "pv")}
    names = [*"qkv", "", "", "", "pk", "pv"]
    attend = node("MultiHeadAttention", names, ["y", "k2", "v2"], num_heads=2, unidirectional=1, domain=DOMAIN)
    agree([attend], inputs, {}, "y", "k2", "v2")


def test_multi_head_attention_to_keys_of_an_encoder() -> None:
    inputs = {"q": floats(2, 3, 8), "k": floats(2, 2, 5, 4), "v": floats(2, 2, 5, 4)}
    agree([node("MultiHeadAttention", [*"qkv"], ["y"], num_heads=2, domain=DOMAIN)], inputs, {}, "y")


def grouped(batch: int, past: int, length: int, lengths: list[int], packed: bool = False, **attributes: Any) -> None:
    """4 query heads on 2 key heads of 16 elements."""
    inputs: Arrays = {"q": floats(batch, length, 128 if packed else 64)}
    if not packed:
        inputs |= {"k": floats(batch, length, 32), "v": floats(batch, length, 32)}
    inputs |= {"pk": floats(batch, 2, past, 16), "pv": floats(batch, 2, past, 16), "seqlens": ints(*lengths) - 1}
    weights = {"total": np.array(past + length, np.int32)}
    names = ["q", "", "", "pk", "pv", "seqlens", "total"] if packed else ["q", "k", "v", "pk", "pv", "seqlens", "total"]
    if attributes.get("do_rotary"):
        angles = np.outer(np.arange(32), 1 / 100 ** np.linspace(0, 0.9, 8)).astype(np.float32)
        weights |= {"cos": np.cos(angles), "sin": np.sin(angles)}
        names += ["cos", "sin"]
    heads = {"num_heads": 4, "kv_num_heads": 2, "domain": DOMAIN}
    attend = node("GroupQueryAttention", names, ["y", "k2", "v2"], **heads, **attributes)
    agree([attend], inputs, weights, "y", "k2", "v2")


@pytest.mark.parametrize(("past", "length"), [(0, 5), (3, 1), (9, 1)])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"do_rotary": 1},
        {"do_rotary": 1, "rotary_interleaved": 1},
        {"local_window_size": 2},
        {"softcap": 2.0, "scale": 0.7},
        {"packed": True, "do_rotary": 1},
    ],
)
def test_group_query_attention(past: int, length: int, attributes: dict[str, Any]) -> None:
    grouped(1, past, length, [past + length], **attributes)


@pytest.mark.parametrize("attributes", [{}, {"do_rotary": 1}, {"local_window_size": 2}])
def test_group_query_attention_of_sequences_that_use_part_of_their_cache(attributes: dict[str, Any]) -> None:
    grouped(3, 6, 1, [7, 4, 7], **attributes)
