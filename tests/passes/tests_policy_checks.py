"""Comparison of compressed caches with the references of their policies: results and all that is stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import tests_policy_references as reference
from numpy.typing import NDArray

from passes import Cache, parse_kv
from passes.interpreter.compression import CompressedCache, Scoring, attend_compressed
from passes.interpreter.levelled import LevelledTokens
from passes.interpreter.quantized import CodedTokens
from passes.interpreter.retention import Slots
from passes.kv_policies import Layer, resolve

Array = NDArray[Any]
SCALE = 0.25


def attend(kv: str, q: Array, k: Array, v: Array, scale: float = SCALE) -> tuple[Array, CompressedCache]:
    """Results [T, H, Dv] of the product, and its state."""
    kv_heads, key_width, value_width = k.shape[1], k.shape[2], v.shape[2]
    (compression,) = resolve(parse_kv(kv), [Layer(0, 1, key_width, value_width)])
    state = CompressedCache(Cache("kv", kv_heads, key_width, value_width, compression=compression), lambda x: x)
    flat = [x.reshape(1, len(x), -1) for x in (q, k, v)]
    result = attend_compressed(state, *flat, q.shape[1], Scoring(scale, 0.0, None, None))
    return result.reshape(len(q), q.shape[1], -1), state


def held(state: CompressedCache) -> Any:
    return state.sequences[0].tokens


def assert_close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5 * max(1.0, np.abs(expected).max()))


def check_eviction(kv: str, q: Array, k: Array, v: Array, shared: bool, scale: float = SCALE, **rule: Any) -> None:
    found, state = attend(kv, q, k, v, scale)
    expected, outcomes = reference.evicting(q, k, v, scale, shared, **rule)
    assert_close(found, expected)
    slots = held(state)
    assert isinstance(slots, Slots)
    memory = [[-1 if token is None else token for token in outcome.memory] for outcome in outcomes]
    np.testing.assert_array_equal(slots.positions[:, : slots.used], memory)


def check_quantised(
    kv: str, q: Array, k: Array, v: Array, bits: int, axis: str, group: int, width: int, residual: int, scale: float
) -> None:
    found, state = attend(kv, q, k, v, scale)
    expected = reference.quantise(k, v, bits, axis, group, width)
    assert_close(found, reference.quantised_attention(q, k, v, scale, expected, group, residual))
    coded = held(state)
    assert isinstance(coded, CodedTokens)
    assert coded.quantized == reference.quantised_tokens(len(q), group, residual)
    for number, each in enumerate(coded.groups):
        tokens = slice(each.first, each.first + group)
        np.testing.assert_array_equal(each.key_codes, expected.key_codes[:, tokens])
        np.testing.assert_array_equal(each.value_codes, expected.value_codes[:, tokens])
        scales = expected.key_scale[:, number] if axis == "channel" else expected.key_scale[:, tokens]
        np.testing.assert_array_equal(_scale(each.key_meta), scales)
        np.testing.assert_array_equal(_scale(each.value_meta), expected.value_scale[:, tokens])


def _scale(meta: Array | None) -> Array:
    assert meta is not None
    return (meta & 0xFFFF).astype(np.uint16).view(np.float16)


def check_cascade(
    kv: str, q: Array, k: Array, v: Array, bits: tuple[int, int], taus: tuple[float, float], warmup: int, most: int,
    scale: float = SCALE,
) -> None:  # fmt: skip
    found, state = attend(kv, q, k, v, scale)
    x = np.concatenate([k.reshape(len(k), -1), v.reshape(len(v), -1)], axis=1)
    expected = reference.cascade(x, k[0].size, bits, taus, warmup, most)
    assert_close(found, reference.cascade_attention(q, k, v, scale, expected, warmup))
    levelled = held(state)
    assert isinstance(levelled, LevelledTokens)
    if len(q) < warmup:
        assert levelled.records == []
        return
    np.testing.assert_array_equal(levelled.levels.count, expected.levels)
    assert [bytes(record) for record in levelled.records] == expected.records
