"""Attention to the best pages: outputs against numpy, and what the banks read for it."""

from __future__ import annotations

import pytest
from attention_only import Attention, AttentionUnderTest

from passes import BestPages, Compression

RUNS = (1, 5, 10, 30, 1, 77, 1, 1, 40, 20)


def pages(page: int, count: int) -> Compression:
    return Compression(selection=BestPages(page, count))


SHAPES = {
    "two pages": Attention(pages(16, 2)),
    "heads that share keys": Attention(pages(16, 3), heads=4, kv_heads=2),
    "the latest page alone": Attention(pages(16, 1), heads=6, kv_heads=6),
    "as many as there ever are": Attention(pages(16, 13), heads=4, kv_heads=2),
    "all but one": Attention(pages(16, 12), heads=4, kv_heads=2),
    "heads of 48 channels": Attention(pages(16, 2), heads=9, kv_heads=3, head_dim=48),
    "heads of 20 channels, which fill no column": Attention(pages(16, 3), heads=2, kv_heads=2, head_dim=20),
    "values wider than keys": Attention(pages(16, 2), heads=4, kv_heads=4, head_dim=32, value_dim=80),
    "pages of several channels": Attention(pages(48, 2), heads=4, kv_heads=2),
    "pages of all channels and more": Attention(pages(80, 1), heads=32, kv_heads=16, head_dim=16, context=300),
    "many queries": Attention(pages(16, 4), heads=20, kv_heads=1, head_dim=64),
    "more heads than channels": Attention(pages(32, 2), heads=40, kv_heads=40, head_dim=16),
}


@pytest.mark.parametrize("name", SHAPES)
def test_outputs_are_those_of_numpy(name: str) -> None:
    test = AttentionUnderTest(SHAPES[name], seed=3)
    for tokens in RUNS:
        test.run(tokens)
    test.reset()
    test.run(3)
