"""Meaning in numpy of norms and of the operations that fusion makes: linear, rotary, attention, feed_forward."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from passes.interpreter.operations import Array, Meaning, gelu, relu, sigmoid, silu, softmax, widened
from passes.ops import EXCLUDED_BELOW


def attend(
    query: Array,
    key: Array | None,
    value: Array | None,
    past_key: Array | None,
    past_value: Array | None,
    key_mask: Array | None,
    bias: Array | None,
    heads: int,
    kv_heads: int,
    scale: float,
    causal: bool,
    window: int,
    softcap: float,
) -> tuple[Array, Array, Array]:
    """Attention with grouped heads over the past and the new keys.

    A query that may attend to no key at all gives zeros, as the exporters' guard (softmax, IsNaN, Where 0) does.

    Args:
        query: [B, S, H*D].
        key: [B, L, G*D]; L is S except in cross-attention. `None` for L = 0.
        value: [B, L, G*Dv], or `None` for L = 0.
        past_key: [B, G, P, D], or `None` for P = 0.
        past_value: [B, G, P, Dv], or `None` for P = 0.
        key_mask: bool [B or 1, T] with T = P + L, true where a key may be attended to, or `None`.
        bias: Added to the scores, broadcasts to [B, H, S, T], or `None`.
        heads: H.
        kv_heads: G, a divisor of H; query head h reads key head h // (H / G).
        scale: Factor on the scores.
        causal: Key j serves query i only when j <= P + i.
        window: When above 0, only when j > P + i - window.
        softcap: When above 0, scores s become softcap * tanh(s / softcap) before bias and masks.

    Returns:
        Result [B, S, H*Dv], keys [B, G, T, D] and values [B, G, T, Dv].
    """
    keys, values = _appended(past_key, key, kv_heads), _appended(past_value, value, kv_heads)
    apart = widened(_heads_apart(query, heads))
    batch, _, length, head_dim = apart.shape
    total, past = keys.shape[2], 0 if past_key is None else past_key.shape[2]
    grouped = apart.reshape(batch, kv_heads, heads // kv_heads, length, head_dim)
    scores = np.matmul(grouped, np.swapaxes(widened(keys), -1, -2)[:, :, None]) * np.float32(scale)
    scores = _adjusted(scores.reshape(batch, heads, length, total), softcap, bias)
    allowed = _allowed(length, total, past, causal, window)[None, None]
    if key_mask is not None:
        allowed = allowed & key_mask[:, None, None, :]
    if bias is not None:
        allowed = allowed & (widened(bias) > np.float32(EXCLUDED_BELOW))
    weights = softmax(np.where(allowed, scores, np.float32(-np.inf)), axis=-1)
    weights = np.where(np.isnan(weights) & ~np.isnan(scores), np.float32(0), weights)
    weights = weights.reshape(batch, kv_heads, heads // kv_heads, length, total)
    mixed = np.matmul(weights, widened(values)[:, :, None]).reshape(batch, heads, length, values.shape[-1])
    result = np.swapaxes(mixed, 1, 2).reshape(batch, length, heads * values.shape[-1])
    return result.astype(query.dtype), keys, values


def _adjusted(scores: Array, softcap: float, bias: Array | None) -> Array:
    """Scores [B, H, S, T], limited by the soft cap, plus the bias."""
    if softcap > 0:
        cap = np.float32(softcap)
        scores = np.tanh(scores / cap) * cap
    return scores if bias is None else scores + widened(bias)


def _appended(past: Array | None, new: Array | None, heads: int) -> Array:
    pieces = [] if past is None else [past]
    pieces += [] if new is None else [_heads_apart(new, heads)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=2)


def _heads_apart(x: Array, heads: int) -> Array:
    """[B, S, heads*D] as [B, heads, S, D]."""
    batch, length, width = x.shape
    return np.swapaxes(x.reshape(batch, length, heads, width // heads), 1, 2)


def _allowed(length: int, total: int, past: int, causal: bool, window: int) -> Array:
    """Which key [column] may serve which query [row]."""
    position = past + np.arange(length)[:, None]
    keys = np.arange(total)[None, :]
    allowed = np.ones((length, total), bool)
    if causal:
        allowed &= keys <= position
    if window > 0:
        allowed &= keys > position - window
    return allowed


def _attention(
    query: Array,
    key: Array | None = None,
    value: Array | None = None,
    past_key: Array | None = None,
    past_value: Array | None = None,
    key_mask: Array | None = None,
    bias: Array | None = None,
    *,
    heads: int,
    kv_heads: int,
    scale: float,
    causal: bool,
    window: int,
    softcap: float,
) -> tuple[Array, ...]:
    operands = (query, key, value, past_key, past_value, key_mask, bias)
    return attend(*operands, heads, kv_heads, scale, causal, window, softcap)


def _layer_norm(x: Array, weight: Array, bias: Array | None = None, *, epsilon: float) -> Array:
    wide = widened(x)
    centred = wide - np.mean(wide, axis=-1, keepdims=True)
    variance = np.mean(centred * centred, axis=-1, keepdims=True)
    result: Array = centred / np.sqrt(variance + wide.dtype.type(epsilon)) * widened(weight)
    return result if bias is None else result + widened(bias)


def _rms_norm(x: Array, weight: Array, epsilon: float) -> Array:
    wide = widened(x)
    mean_square = np.mean(wide * wide, axis=-1, keepdims=True)
    result: Array = wide / np.sqrt(mean_square + wide.dtype.type(epsilon)) * widened(weight)
    return result


def _linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    product: Array = np.matmul(widened(x), widened(weight))
    return product if bias is None else product + widened(bias)


def _expert_linear(x: Array, index: Array, weights: Array) -> Array:
    product: Array = np.matmul(widened(x)[..., None, :], widened(weights)[index])
    return product[..., 0, :]


def _rotary(x: Array, cos: Array, sin: Array, heads: int, interleaved: bool) -> Array:
    batch, length, width = x.shape
    apart = widened(x).reshape(batch, length, heads, width // heads)
    half = cos.shape[-1]
    turned, rest = apart[..., : 2 * half], apart[..., 2 * half :]
    cosine, sine = widened(cos)[:, :, None], widened(sin)[:, :, None]
    if interleaved:
        first, second = turned[..., 0::2], turned[..., 1::2]
    else:
        first, second = turned[..., :half], turned[..., half:]
    pair = (first * cosine - second * sine, second * cosine + first * sine)
    mixed = np.stack(pair, axis=-1).reshape(turned.shape) if interleaved else np.concatenate(pair, axis=-1)
    return np.concatenate([mixed, rest], axis=-1).reshape(x.shape)


def quick_gelu(x: Array) -> Array:
    """The product of x and sigmoid(1.702 x)."""
    return np.asarray(x * sigmoid(x.dtype.type(1.702) * x))


_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": relu,
    "silu": silu,
    "gelu": partial(gelu, approximate="none"),
    "gelu_tanh": partial(gelu, approximate="tanh"),
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "quick_gelu": quick_gelu,
}


def _feed_forward(
    x: Array,
    up: Array,
    up_bias: Array | None,
    gate: Array | None,
    gate_bias: Array | None,
    down: Array,
    down_bias: Array | None = None,
    *,
    activation: str,
) -> Array:
    raised = _linear(x, up, up_bias)
    function = _ACTIVATIONS[activation]
    hidden = function(raised) if gate is None else function(_linear(x, gate, gate_bias)) * raised
    return _linear(hidden, down, down_bias)


FUSED_MEANINGS: dict[str, Meaning] = {
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "linear": _linear,
    "expert_linear": _expert_linear,
    "rotary": _rotary,
    "attention": _attention,
    "feed_forward": _feed_forward,
}
"""By operation: a function of the operands, with the bound attributes as keywords."""
