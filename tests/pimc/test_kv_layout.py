"""Layout of keys and values in the banks."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from pimc.kv_layout import KvLayout, choose_groups

CASES = [(1, 64), (2, 48), (3, 64), (5, 80), (8, 128), (9, 32), (12, 32), (40, 96), (2, 24)]


@pytest.mark.parametrize(("heads", "width"), CASES)
@pytest.mark.parametrize("sequences", [1, 3])
@pytest.mark.parametrize("kind", ["key", "value"])
def test_store_and_load_are_inverse(kind: str, sequences: int, heads: int, width: int) -> None:
    groups, channels = choose_groups(heads, 32, 500)
    layout = KvLayout(kind, heads, width, groups, channels, 16, 64, 500, sequences)
    region = np.zeros((32, 16, (layout.columns * sequences + 2) * 16), np.float32)
    tensor = np.random.default_rng(0).standard_normal((sequences, heads, 500, width)).astype(np.float32)
    layout.store(region, 2, tensor[:, :, :77])
    layout.store(region, 2, tensor[:, :, 77:], start_token=77)
    np.testing.assert_array_equal(layout.load(region, 2, np.arange(500)), tensor)
    assert np.count_nonzero(region) == tensor.size  # no two elements share a place
    assert not region[:, :, :32].any()
    assert layout.columns == layout.heads_per_group * layout.rows_per_head * layout.row_columns


def test_bf16_regions_round_to_nearest() -> None:
    layout = KvLayout("value", 2, 32, 2, 16, 16, 64, 64)
    region = np.zeros((32, 16, layout.columns * 16), np.uint16)
    tensor = np.random.default_rng(1).standard_normal((1, 2, 40, 32)).astype(np.float32)
    layout.store(region, 0, tensor)
    expected = tensor.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(layout.load(region, 0, np.arange(40)), expected)


def test_key_of_a_token_lies_in_one_bank_and_its_value_in_one_lane() -> None:
    keys = KvLayout("key", 3, 64, 3, 10, 16, 64, 400)
    values = KvLayout("value", 3, 64, 3, 10, 16, 64, 400)
    for layout in (keys, values):
        region = np.zeros((32, 16, layout.columns, 16), np.float32)
        layout.store(region.reshape(32, 16, -1), 0, np.ones((1, 3, 1, 64), np.float32), start_token=37)
        channel, bank, _, lane = np.nonzero(region)
        assert set(channel) == {2, 12, 22}  # token group 2 of every group of ten channels
        assert set(bank if layout is keys else lane) == {37 % 16}


def test_sequences_lie_one_behind_the_other() -> None:
    layout = KvLayout("key", 3, 64, 3, 10, 16, 64, 400, sequences=2)
    tensor = np.random.default_rng(2).standard_normal((2, 3, 30, 64)).astype(np.float32)
    region = np.zeros((32, 16, 2 * layout.columns * 16), np.float32)
    layout.store(region, 0, tensor)
    alone = KvLayout("key", 3, 64, 3, 10, 16, 64, 400)
    assert alone.columns == layout.columns
    for sequence in range(2):
        np.testing.assert_array_equal(alone.load(region, sequence * alone.columns, np.arange(30))[0], tensor[sequence])


@pytest.mark.parametrize(
    ("heads", "tokens", "expected"),
    [(3, 1024, (3, 10)), (32, 4096, (32, 1)), (8, 1024, (8, 4)), (1, 64, (1, 32)), (40, 4096, (8, 4))],
)
def test_groups_follow_the_cost(heads: int, tokens: int, expected: tuple[int, int]) -> None:
    assert choose_groups(heads, 32, tokens) == expected


def test_layout_survives_json() -> None:
    layout = KvLayout("key", 3, 64, 3, 10, 16, 64, 400)
    assert KvLayout.from_json(layout.to_json()) == layout
