"""Activation functions and moves between depth and space against ONNX Runtime, in an old operator set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_graphs import agree, node

pytest.importorskip("onnxruntime")
RANDOM = np.random.default_rng(19)


@pytest.mark.parametrize(
    ("operator", "attributes", "opset"),
    [
        ("HardSwish", {}, 14),
        ("Mish", {}, 18),
        ("Elu", {}, 13),
        ("Elu", {"alpha": 0.5}, 13),
        ("Celu", {"alpha": 2.0}, 13),
        ("Celu", {"alpha": -2.0}, 13),
        ("Selu", {}, 13),
        ("HardSigmoid", {"alpha": 0.3}, 13),
        ("Softsign", {}, 13),
        ("Softplus", {}, 13),
        ("ThresholdedRelu", {"alpha": 0.7}, 13),
        ("LeakyRelu", {"alpha": 0.3}, 13),
        ("Shrink", {"bias": 0.2, "lambd": 0.4}, 13),
    ],
)
def test_activations(operator: str, attributes: dict[str, Any], opset: int) -> None:
    x = np.append(RANDOM.standard_normal(20) * 4, [0, -0.0, 90, -90]).astype(np.float32)
    agree([node(operator, ["x"], ["y"], **attributes)], {"x": x}, {}, "y", opsets={"": opset})


def test_prelu() -> None:
    inputs = {"x": RANDOM.standard_normal((2, 3, 4), np.float32), "s": RANDOM.standard_normal((3, 1), np.float32)}
    agree([node("PRelu", ["x", "s"], ["y"])], inputs, {}, "y")


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_and_space(mode: str) -> None:
    x = RANDOM.standard_normal((2, 12, 4, 6), np.float32)
    nodes = [
        node("DepthToSpace", ["x"], ["d"], blocksize=2, mode=mode),
        node("SpaceToDepth", ["x"], ["s"], blocksize=2),
    ]
    agree(nodes, {"x": x}, {}, "d", "s", opsets={"": 13})
