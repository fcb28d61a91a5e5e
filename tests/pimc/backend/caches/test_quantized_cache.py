"""Quantised caches: outputs against numpy, codes and meta words in the banks bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attention_only import Attention, AttentionUnderTest
from stored_codes import assert_codes

from passes import Compression, Quantized

BORDERS = (1, 30, 1, 1, 31, 1, 1, 62, 1)
"""Runs around the borders of groups of 16 and 32 tokens, single tokens and chunks."""

SHAPES = {
    "kivi 4": Attention(Compression(encoding=Quantized(4, 4, "channel", 32, 32, 32))),
    "kivi 2": Attention(Compression(encoding=Quantized(2, 2, "channel", 32, 16, 16))),
    "kivi 8, no residual": Attention(Compression(encoding=Quantized(8, 8, "channel", 32, 32, 0))),
    "int 8": Attention(Compression(encoding=Quantized(8, 8, "token", 16, 32, 0))),
    "int 4, runs": Attention(Compression(encoding=Quantized(4, 4, "token", 16, 16, 0)), head_dim=64),
    "int 2, channels": Attention(Compression(encoding=Quantized(2, 2, "channel", 16, 32, 0))),
    "keys and values of different bits": Attention(Compression(encoding=Quantized(8, 2, "token", 32, 16, 32))),
    "keys and values of different widths": Attention(
        Compression(encoding=Quantized(4, 8, "channel", 32, 16, 0)), head_dim=16, value_dim=48
    ),
    "query heads share keys": Attention(
        Compression(encoding=Quantized(4, 4, "channel", 32, 32, 16)), heads=6, kv_heads=2
    ),
    "heads of 96": Attention(Compression(encoding=Quantized(4, 4, "channel", 32, 32, 0)), head_dim=96),
    "heads of 80, runs": Attention(Compression(encoding=Quantized(2, 4, "token", 16, 16, 0)), head_dim=80),
    "heads share a group of channels": Attention(
        Compression(encoding=Quantized(4, 4, "channel", 32, 16, 0)), heads=12, kv_heads=12, context=1200
    ),
    "heads share a group of channels, per token": Attention(
        Compression(encoding=Quantized(8, 8, "token", 16, 16, 0)), heads=12, kv_heads=12, head_dim=16, context=600
    ),
    "channels that do not divide the units": Attention(
        Compression(encoding=Quantized(4, 4, "channel", 48, 32, 0)), heads=3, kv_heads=3
    ),
}


@pytest.mark.parametrize("numerics", ["fp32", "machine"])
@pytest.mark.parametrize("name", SHAPES)
def test_codes_and_outputs_are_those_of_numpy(name: str, numerics: str) -> None:
    test, groups = AttentionUnderTest(replace(SHAPES[name], numerics=numerics)), 0
    for count in BORDERS:
        test.run(count)
        groups = assert_codes(test)
    encoding = SHAPES[name].compression.encoding  # type: ignore[union-attr]
    assert groups == (sum(BORDERS) - encoding.residual) // encoding.group  # type: ignore[union-attr]
