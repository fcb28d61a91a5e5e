"""Weights in the banks."""

from __future__ import annotations

import numpy as np
import pytest

from isa import load_machine
from passes.matrix_layout import MatrixLayout, best_layout, matrix_layout, product_cycles

MACHINE = load_machine("gddr6-aim-acc16")


def _product(layout: MatrixLayout, weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What the banks compute, from the description in the layout's docstring alone."""
    image = np.zeros((layout.channels, layout.banks, layout.columns * layout.lanes), np.float32)
    layout.pack(weight, image)
    padded = np.zeros(layout.padded_inputs, np.float32)
    padded[: x.size] = x
    depth = layout.slice_columns * layout.lanes
    slices = padded.reshape(layout.split, depth)
    sums = np.zeros((layout.channels, layout.banks, layout.bank_outputs), np.float32)
    for tile in layout.tiles():
        column = tile.column
        for start, width in layout.chunks():
            for output in range(tile.first_output, tile.first_output + tile.outputs):
                words = image[:, :, column * layout.lanes : (column + width) * layout.lanes]
                group = np.arange(layout.channels) // layout.group_channels
                part = slices[group, start * layout.lanes : (start + width) * layout.lanes]
                sums[:, :, output] += np.einsum("cbk,ck->cb", words, part)
                column += width
    by_group = sums.reshape(layout.split, layout.group_outputs, layout.bank_outputs).sum(0)
    return by_group.T.reshape(-1)


@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (300, 64), (700, 2100), (65, 96), (17, 30)])
@pytest.mark.parametrize("split", [1, 2, 8, 32])
def test_banks_compute_the_product(outputs: int, inputs: int, split: int) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_normal((inputs, outputs)).astype(np.float32)
    x = random.standard_normal(inputs).astype(np.float32)
    assert MACHINE.near_bank is not None
    found = _product(matrix_layout(MACHINE.near_bank, inputs, outputs, split), weight, x)
    np.testing.assert_allclose(found[:outputs], x @ weight, atol=2e-3)
    assert not found[outputs:].any()


@pytest.mark.parametrize(
    ("outputs", "inputs", "split"),
    [(960, 576, 4), (576, 576, 4), (3072, 576, 2), (576, 1536, 8), (49152, 576, 1), (22016, 4096, 4)],
)
def test_split_follows_the_cost(outputs: int, inputs: int, split: int) -> None:
    assert best_layout(MACHINE, inputs, outputs).split == split


def test_cost_grows_with_the_matrix() -> None:
    costs = [product_cycles(MACHINE, best_layout(MACHINE, 576, outputs)) for outputs in (512, 1024, 4096, 49152)]
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(13_042, rel=0.02)  # one sweep of 54 rows with 96 accumulators
