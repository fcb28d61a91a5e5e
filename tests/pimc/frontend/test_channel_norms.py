"""Norms of convolutional models against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_graphs import agree, model, node, tensor

from isa import InputError
from pimc.frontend import import_model

pytest.importorskip("onnxruntime")
RANDOM = np.random.default_rng(23)


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


@pytest.mark.parametrize(("opset", "scales"), [(18, 2), (21, 6)])
def test_group_norm(opset: int, scales: int) -> None:
    norm = node("GroupNormalization", ["x", "s", "b"], ["y"], num_groups=2)
    agree([norm], {"x": floats(2, 6, 3, 4)}, {"s": floats(scales), "b": floats(scales)}, "y", opsets={"": opset})


@pytest.mark.parametrize("attributes", [{}, {"axes": [1, -1]}])
def test_mean_variance_norm(attributes: dict[str, Any]) -> None:
    norm = node("MeanVarianceNormalization", ["x"], ["y"], **attributes)
    agree([norm], {"x": floats(3, 4, 2, 5)}, {}, "y", tolerance=1e-4)


def test_batch_norm_and_instance_norm() -> None:
    weights = {name: floats(3) for name in "sbm"} | {"v": np.abs(floats(3))}
    nodes = [
        node("BatchNormalization", ["x", "s", "b", "m", "v"], ["batch"]),
        node("InstanceNormalization", ["x", "s", "b"], ["instance"]),
    ]
    agree(nodes, {"x": floats(2, 3, 4, 5)}, weights, "batch", "instance")


@pytest.mark.parametrize("power", [1, 2])
def test_lp_norm(power: int) -> None:
    x = floats(2, 3, 4)
    x[0, :, 1] = 0
    agree([node("LpNormalization", ["x"], ["y"], p=power, axis=1)], {"x": x}, {}, "y")


def test_channels_that_do_not_make_groups() -> None:
    norm = node("GroupNormalization", ["x", "x", "x"], ["y"], num_groups=4)
    with pytest.raises(InputError, match="does not have channels of 4 groups"):
        import_model(model([norm], [tensor("x", (2, 6, 3))], ["y"], opsets={"": 21}))
