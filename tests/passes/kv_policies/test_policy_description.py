"""Compressions in words."""

from __future__ import annotations

import pytest

from passes.kv_policies import (
    Compression,
    Layer,
    describe_compression,
    first_effect,
    parse_kv,
    resolve,
    thorough_length,
)


def one(kv: str) -> Compression:
    (found,) = resolve(parse_kv(kv), [Layer(0, 1, 64, 64)])
    return found or Compression()


@pytest.mark.parametrize(
    ("kv", "text"),
    [
        ("none", "all tokens, exactly"),
        ("window:sink=2,budget=10", "the first 2 and the latest 8 tokens"),
        ("h2o:budget=8", "8 to 9 tokens that got most attention, the latest 4 among them, each key head"),
        ("tova:budget=8", "8 to 9 tokens that got most attention, the latest 1 among them, all heads together"),
        (
            "kivi",
            "keys in 4 bits per channel, values in 4 bits per 32 channels of a token, groups of 32 tokens, the latest"
            " 128 exact",
        ),
        ("cpq:tau_k=0.5", "keys from 0.5 on in 4 bits, values from 0 on in 4 bits, up to 16 levels a channel"),
        ("topk:k=3", "attention to the 3 best keys"),
        ("quest:dense=0", "attention to the 8 best pages of 16 tokens"),
        ("window + cam", "the first 4 and the latest 508 tokens; attention to the 32 best by signs, 2 of each 16"),
    ],
)
def test_every_mechanism_has_words(kv: str, text: str) -> None:
    assert describe_compression(one(kv)) == text


@pytest.mark.parametrize(
    ("kv", "tokens"),
    [
        ("none", 1),
        ("window:budget=10", 11),
        ("h2o:budget=8,interval=3", 12),
        ("kivi", 161),
        ("cpq:warmup=7", 8),
        ("topk:k=3", 4),
        ("quest:dense=0,pages=2", 33),
        ("cam", 1),
        ("window:budget=170 + kivi", 171),
        ("window:budget=36 + kivi:residual=0", 37),
    ],
)
def test_the_first_effect_is_that_of_the_slowest_mechanism(kv: str, tokens: int) -> None:
    assert first_effect(one(kv)) == tokens
    assert thorough_length(one(kv)) >= tokens + 8
