"""The step-by-step meaning of compressed caches equals independent references over whole sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tests_policy_references as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests_policy_checks import (
    SCALE,
    assert_close,
    attend,
    check_cascade,
    check_eviction,
    check_quantised,
    held,
)

from passes import Cache, parse_kv
from passes.interpreter.attention import attend as exact_attention
from passes.interpreter.compression import CompressedCache, Scoring, attend_compressed
from passes.kv_policies import Layer, resolve

Array = NDArray[Any]
HEADS, KV_HEADS, KEY_WIDTH, VALUE_WIDTH = 4, 2, 32, 64


def tensors(tokens: int, seed: int) -> tuple[Array, Array, Array]:
    """Q, K and V with channels of different sizes, as real keys have."""
    random = np.random.default_rng(seed)
    sizes = random.uniform(0.2, 3, KEY_WIDTH)
    q = random.standard_normal((tokens, HEADS, KEY_WIDTH))
    k = random.standard_normal((tokens, KV_HEADS, KEY_WIDTH)) * sizes
    v = random.standard_normal((tokens, KV_HEADS, VALUE_WIDTH)) * 0.5
    return q.astype(np.float32), k.astype(np.float32), v.astype(np.float32)


lengths = st.integers(1, 96)
seeds = st.integers(0, 1000)


@given(lengths, seeds, st.integers(0, 5), st.integers(1, 40))
@settings(max_examples=25)
def test_window(tokens: int, seed: int, sink: int, more: int) -> None:
    q, k, v = tensors(tokens, seed)
    found, state = attend(f"window:sink={sink},budget={sink + more}", q, k, v)
    assert_close(found, reference.window(q, k, v, SCALE, sink, sink + more))
    kept = np.flatnonzero(reference.window_mask(tokens, sink, sink + more)[-1])
    assert sorted(held(state).positions[0, : held(state).used]) == list(kept)


@given(lengths, seeds, st.integers(2, 40), st.integers(1, 9), st.booleans())
@settings(max_examples=25)
def test_h2o(tokens: int, seed: int, budget: int, interval: int, shared: bool) -> None:
    kv = f"h2o:budget={budget},interval={interval},per={'layer' if shared else 'head'}"
    rule = {"budget": budget, "interval": interval, "protected": budget // 2, "queries": None, "kernel": 1}
    check_eviction(kv, *tensors(tokens, seed), shared, **rule)


@given(lengths, seeds, st.integers(1, 40))
@settings(max_examples=25)
def test_tova(tokens: int, seed: int, budget: int) -> None:
    rule = {"budget": budget, "interval": 1, "protected": 1, "queries": 1, "kernel": 1}
    check_eviction(f"tova:budget={budget}", *tensors(tokens, seed), True, **rule)


@given(lengths, seeds, st.integers(2, 12), st.integers(0, 8), st.sampled_from([1, 3, 5]))
@settings(max_examples=25)
def test_snapkv(tokens: int, seed: int, window: int, more: int, kernel: int) -> None:
    kv = f"snapkv:budget={2 * window},window={window},interval={window + more},kernel={kernel}"
    rule = {"budget": 2 * window, "interval": window + more, "protected": window, "queries": window, "kernel": kernel}
    check_eviction(kv, *tensors(tokens, seed), False, **rule)


@pytest.mark.parametrize("layers", [2, 12, 30])
def test_pyramid_budgets(layers: int) -> None:
    kv = parse_kv("pyramidkv:budget=200,window=16,beta=15")
    found = [each.retention for each in resolve(kv, [Layer(i, layers, 64, 64) for i in range(layers)]) if each]
    assert [each.budget for each in found if each] == reference.pyramid_budgets(200, 16, 15, layers)
    total = sum(each.budget for each in found if each)
    assert abs(total - 200 * layers) <= layers


@given(lengths, seeds, st.sampled_from([2, 4, 8]), st.sampled_from([0, 16, 32, 48]))
@settings(max_examples=25)
def test_kivi(tokens: int, seed: int, bits: int, residual: int) -> None:
    kv = f"kivi:bits={bits},group=16,residual={residual}"
    check_quantised(kv, *tensors(tokens, seed), bits, "channel", 16, 16, residual, SCALE)


@given(lengths, seeds, st.sampled_from([2, 4, 8]), st.sampled_from(["token", "channel"]), st.sampled_from([16, 32]))
@settings(max_examples=25)
def test_int(tokens: int, seed: int, bits: int, axis: str, width: int) -> None:
    kv = f"int:bits={bits},axis={axis},group=32,width={width}"
    check_quantised(kv, *tensors(tokens, seed), bits, axis, 32, width, 0, SCALE)


def test_equal_elements_have_the_code_0_and_their_own_worth() -> None:
    q, k, v = tensors(40, 1)
    k[:, :, 3] = np.float32(0.1)
    v[:] = np.float32(2.5)
    check_quantised("kivi:group=16,residual=0", q, k, v, 4, "channel", 16, 16, 0, SCALE)


@given(
    lengths, seeds, st.integers(2, 8), st.integers(2, 8), st.sampled_from([0.0, 0.3, 1.5]), st.integers(1, 40),
    st.sampled_from([1, 2, 3, 16]),
)  # fmt: skip
@settings(max_examples=30)
def test_cpq(tokens: int, seed: int, bits_k: int, bits_v: int, tau: float, warmup: int, most: int) -> None:
    kv = f"cpq:bits_k={bits_k},bits_v={bits_v},tau_k={tau},tau_v={tau / 2},warmup={warmup},levels={most}"
    check_cascade(kv, *tensors(tokens, seed), (bits_k, bits_v), (tau, tau / 2), warmup, most)


@given(lengths, seeds, st.integers(1, 50))
@settings(max_examples=20)
def test_topk(tokens: int, seed: int, count: int) -> None:
    q, k, v = tensors(tokens, seed)
    assert_close(attend(f"topk:k={count}", q, k, v)[0], reference.topk(q, k, v, SCALE, count))


@given(lengths, seeds, st.sampled_from([16, 32]), st.integers(1, 5))
@settings(max_examples=20)
def test_quest(tokens: int, seed: int, page: int, pages: int) -> None:
    q, k, v = tensors(tokens, seed)
    found, _ = attend(f"quest:page={page},pages={pages},dense=0", q, k, v)
    assert_close(found, reference.quest(q, k, v, SCALE, page, pages))


@given(lengths, seeds, st.integers(1, 40), st.sampled_from([8, 16]), st.integers(1, 4), st.integers(2, 6))
@settings(max_examples=20)
def test_cam(tokens: int, seed: int, count: int, tile: int, tile_top: int, bits: int) -> None:
    q, k, v = tensors(tokens, seed)
    found, _ = attend(f"cam:k={count},tile={tile},tile_top={tile_top},bits={bits}", q, k, v)
    assert_close(found, reference.cam(q, k, v, SCALE, count, tile, tile_top, bits))


@given(lengths, seeds, st.integers(0, 16), st.integers(32, 71))
@settings(max_examples=15)
def test_a_ring_of_quantised_tokens(tokens: int, seed: int, sink: int, more: int) -> None:
    q, k, v = tensors(tokens, seed)
    found, _ = attend(f"window:sink={sink},budget={sink + more} + kivi:group=16,residual=16", q, k, v)
    codes = reference.quantise(k, v, 4, "channel", 16, 16)
    mask = reference.window_mask(tokens, sink, sink + more)
    assert_close(found, reference.quantised_attention(q, k, v, SCALE, codes, 16, 16, mask))


def test_the_best_of_a_window() -> None:
    q, k, v = tensors(60, 5)
    found, _ = attend("window:sink=2,budget=20 + topk:k=6", q, k, v)
    scores = reference.dots(q, k, SCALE)
    mask = np.broadcast_to(reference.window_mask(60, 2, 20), scores.shape)
    expected = reference.mix(reference.softmax_rows(scores, reference.best_of_rows(scores, mask, 6)), v)
    assert_close(found, expected)


@pytest.mark.parametrize(
    ("width", "sparsity", "bits_k", "bits_v", "layers", "said", "within"),
    [
        (2 * 768, (0.338, 0.510), [3] * 12, [2] * 10 + [3] * 2, 12, 564, 1),
        (2 * 4096, (0.358, 0.451), [4] * 32, [3] + [4] * 31, 32, 3923, 4),
    ],
    ids=["OPT-125M", "OPT-6.7B"],
)
def test_titanus_bytes(
    width: int, sparsity: tuple[float, float], bits_k: list[int], bits_v: list[int], layers: int, said: int, within: int
) -> None:
    mean = sum(reference.titanus_bytes(width, *sparsity, *bits) for bits in zip(bits_k, bits_v, strict=True)) / layers
    assert abs(mean - said) <= within


@given(seeds, st.integers(2, 8), st.integers(2, 8), st.floats(0, 2))
@settings(max_examples=25)
def test_records_have_the_bytes_of_titanus_formula(seed: int, bits_k: int, bits_v: int, tau: float) -> None:
    q, k, v = tensors(20, seed)
    _, state = attend(f"cpq:bits_k={bits_k},bits_v={bits_v},tau_k={tau:.6f},tau_v={tau:.6f},warmup=4", q, k, v)
    x = np.concatenate([k.reshape(20, -1), v.reshape(20, -1)], axis=1)
    alive = np.abs(x) >= np.float32(float(f"{tau:.6f}"))
    channels, split = x.shape[1], k[0].size
    for record, survives in zip(held(state).records, alive, strict=True):
        keys, values = int(survives[:split].sum()), int(survives[split:].sum())
        mean = (keys * bits_k + values * bits_v) / max(1, keys + values)
        sparsity = 1 - (keys + values) / channels
        assert len(record) == reference.titanus_bytes(channels, sparsity, sparsity, mean, mean)


@pytest.mark.parametrize("kv", ["window:sink=2,budget=12", "h2o:budget=200", "topk:k=100", "quest:dense=0,pages=9"])
def test_bias_mask_soft_cap_and_batch_are_those_of_exact_attention(kv: str) -> None:
    random = np.random.default_rng(3)
    tokens, batch = 40, 2
    samples = [tensors(tokens, seed) for seed in range(batch)]
    q, k, v = (np.stack([sample[index].reshape(tokens, -1) for sample in samples]) for index in range(3))
    bias = random.standard_normal((1, HEADS, tokens, tokens)).astype(np.float32)
    bias[:, 1, :, 3] = -1e30
    mask = np.ones((batch, tokens), bool)
    if "h2o" not in kv:
        mask[1, :5] = False
    (compression,) = resolve(parse_kv(kv), [Layer(0, 1, KEY_WIDTH, VALUE_WIDTH)])
    state = CompressedCache(Cache("kv", KV_HEADS, KEY_WIDTH, VALUE_WIDTH, compression=compression), lambda x: x)
    found = attend_compressed(state, q, k, v, HEADS, Scoring(SCALE, 5.0, mask, bias))
    if kv.startswith("window"):
        bias = np.where(reference.window_mask(tokens, 2, 12), bias, np.float32(-np.inf))
    with np.errstate(invalid="ignore"):  # rows without any key
        expected = exact_attention(q, k, v, None, None, mask, bias, HEADS, KV_HEADS, SCALE, True, 0, 5.0)[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
