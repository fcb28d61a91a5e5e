"""Quantised caches: outputs against numpy, codes and meta words in the banks bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attention_only import Attention, AttentionUnderTest
from stored_codes import assert_codes

from passes import Compression, Quantized, Ring

BORDERS = (1, 30, 1, 1, 31, 1, 1, 62, 1)
"""Runs around the borders of groups of 16 and 32 tokens, single tokens and chunks."""

SHAPES = {
    "kivi 4": Attention(Compression(encoding=Quantized(4, 4, "channel", 32, 32, 32))),
    "kivi 2": Attention(Compression(encoding=Quantized(2, 2, "channel", 32, 16, 32))),
    "kivi 8, no residual": Attention(Compression(encoding=Quantized(8, 8, "channel", 32, 32, 0))),
    "int 8": Attention(Compression(encoding=Quantized(8, 8, "token", 16, 32, 0))),
    "int 4, runs": Attention(Compression(encoding=Quantized(4, 4, "token", 16, 16, 0)), head_dim=64),
    "int 2, channels": Attention(Compression(encoding=Quantized(2, 2, "channel", 16, 32, 0))),
    "keys and values of different bits": Attention(Compression(encoding=Quantized(8, 2, "token", 16, 16, 32))),
    "keys and values of different widths": Attention(
        Compression(encoding=Quantized(4, 8, "channel", 32, 16, 0)), head_dim=16, value_dim=48
    ),
    "query heads share keys": Attention(
        Compression(encoding=Quantized(4, 4, "channel", 32, 32, 64)), heads=6, kv_heads=2
    ),
    "heads of 96": Attention(Compression(encoding=Quantized(4, 4, "channel", 32, 32, 0)), head_dim=96),
    "heads of 80, runs": Attention(Compression(encoding=Quantized(2, 4, "token", 16, 16, 0)), head_dim=80),
    "heads share a group of channels": Attention(
        Compression(encoding=Quantized(4, 4, "channel", 32, 16, 0)), heads=12, kv_heads=12, context=1200
    ),
    "heads share a group of channels, per token": Attention(
        Compression(encoding=Quantized(8, 8, "token", 16, 16, 0)), heads=12, kv_heads=12, head_dim=16, context=600
    ),
    "capped scores": Attention(Compression(encoding=Quantized(8, 8, "token", 16, 32, 16)), softcap=1.5),
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


RINGS = {
    "window and kivi": (Ring(72, 4), Quantized(4, 4, "channel", 32, 16, 32)),
    "no sinks": (Ring(40, 0), Quantized(8, 8, "token", 16, 32, 16)),
    "a whole group of sinks": (Ring(70, 16), Quantized(2, 4, "channel", 16, 32, 0)),
    "a window of whole groups": (Ring(36, 4), Quantized(4, 4, "token", 16, 32, 16)),
    "longer than the context": (Ring(150, 4), Quantized(4, 4, "channel", 32, 32, 0)),
}


@pytest.mark.parametrize("name", RINGS)
def test_window_over_codes_is_that_of_numpy(name: str) -> None:
    ring, encoding = RINGS[name]
    test = AttentionUnderTest(Attention(Compression(ring, encoding), heads=4, kv_heads=2))
    turning = -(-(ring.budget - ring.sinks) // encoding.group) + 1
    for count in (*BORDERS, 20, 1, 1, 40, 8):
        test.run(count)
        held = test.session.kv_length - encoding.residual
        number = max(held // encoding.group, 0)
        latest = {0 if index == 0 else 1 + (index - 1) % turning: index for index in range(number)}
        assert_codes(test, latest)
    assert test.session.kv_length == 199
