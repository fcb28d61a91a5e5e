"""Llama, GPT-2 and BERT written down plainly in numpy, token by token: what the built graphs are measured against.

Shares nothing with the builders but the configurations' field names. Weights are dicts by checkpoint name. All
arithmetic is float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Weights = dict[str, Array]


@dataclass
class Call:
    """One call of a decoder: ids `[b, s]`, padding `[b, t]`, positions `[b, s]`, past `[(key, value)]` by layer."""

    ids: Array
    padding: Array
    positions: Array
    past: list[tuple[Array, Array]]


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def attend(query: Array, key: Array, value: Array, visible: Array) -> Array:
    """`query [h, s, d]`, `key` and `value` `[kv, t, d]`, `visible [s, t]` -> `[s, h * d]`; hidden keys are left out."""
    heads, length, size = query.shape
    group = heads // key.shape[0]
    result = np.zeros((length, heads, size))
    for head in range(heads):
        for token in range(length):
            seen = np.flatnonzero(visible[token])
            if len(seen):
                scores = key[head // group, seen] @ query[head, token] / math.sqrt(size)
                result[token, head] = softmax(scores) @ value[head // group, seen]
    return result.reshape(length, heads * size)


def causal(padding: Array, past: int, length: int, window: int | None) -> Array:
    """`padding [t]` -> `[length, t]`."""
    visible = np.zeros((length, past + length), dtype=bool)
    for token in range(length):
        place = past + token
        first = 0 if window is None else max(0, place - window + 1)
        visible[token, first : place + 1] = padding[first : place + 1] != 0
    return visible


def heads_of(flat: Array, size: int) -> Array:
    return flat.reshape(len(flat), -1, size).swapaxes(0, 1)


def layer_norm(hidden: Array, weights: Weights, name: str, epsilon: float) -> Array:
    centred = hidden - hidden.mean(-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def rms_norm(hidden: Array, weight: Array, epsilon: float) -> Array:
    return hidden / np.sqrt((hidden**2).mean(-1, keepdims=True) + epsilon) * weight


def rotate(states: Array, positions: Array, theta: float) -> Array:
    """`[h, s, d]`: turns the plane of dimensions i and i + d / 2 by position / theta ** (2 i / d)."""
    half = states.shape[-1] // 2
    angles = positions[:, None] / theta ** (np.arange(half) / half)
    first, second = states[..., :half], states[..., half:]
    cosine, sine = np.cos(angles), np.sin(angles)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu(x: Array) -> Array:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def llama(config, weights: Weights, call: Call) -> tuple[Array, list[Array]]:
    """Returns the logits `[b, s, vocabulary]` and the present keys and values, layer by layer."""
    present: list[list[Array]] = [[] for _ in range(2 * config.layers)]
    logits = []
    for row, ids in enumerate(call.ids):
        hidden = weights["model.embed_tokens.weight"][ids].astype(np.float64)
        past = call.padding.shape[1] - len(ids)
        visible = causal(call.padding[row], past, len(ids), config.window)
        for layer in range(config.layers):
            name = f"model.layers.{layer}"
            normed = rms_norm(hidden, weights[f"{name}.input_layernorm.weight"], config.norm_epsilon)
            query, key, value = (
                heads_of(normed @ weights[f"{name}.self_attn.{part}_proj.weight"].T, config.head_dim) for part in "qkv"
            )
            query, key = (rotate(states, call.positions[row], config.rope_theta) for states in (query, key))
            if call.past:
                key = np.concatenate([call.past[layer][0][row], key], axis=1)
                value = np.concatenate([call.past[layer][1][row], value], axis=1)
            present[2 * layer].append(key)
            present[2 * layer + 1].append(value)
            hidden = hidden + attend(query, key, value, visible) @ weights[f"{name}.self_attn.o_proj.weight"].T
            normed = rms_norm(hidden, weights[f"{name}.post_attention_layernorm.weight"], config.norm_epsilon)
            gate = normed @ weights[f"{name}.mlp.gate_proj.weight"].T
            inner = gate / (1 + np.exp(-gate)) * (normed @ weights[f"{name}.mlp.up_proj.weight"].T)
            hidden = hidden + inner @ weights[f"{name}.mlp.down_proj.weight"].T
        head = weights["model.embed_tokens.weight" if config.tied else "lm_head.weight"]
        logits.append(rms_norm(hidden, weights["model.norm.weight"], config.norm_epsilon) @ head.T)
    return np.stack(logits), [np.stack(states) for states in present]


def gpt2(config, weights: Weights, call: Call) -> tuple[Array, list[Array]]:
    """Returns the logits `[b, s, vocabulary]` and the present keys and values, layer by layer."""

    def conv(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    present: list[list[Array]] = [[] for _ in range(2 * config.layers)]
    logits = []
    for row, ids in enumerate(call.ids):
        places = weights["transformer.wpe.weight"][call.positions[row]]
        hidden = weights["transformer.wte.weight"][ids].astype(np.float64) + places
        visible = causal(call.padding[row], call.padding.shape[1] - len(ids), len(ids), None)
        for layer in range(config.layers):
            name = f"transformer.h.{layer}"
            joint = conv(layer_norm(hidden, weights, f"{name}.ln_1", config.norm_epsilon), f"{name}.attn.c_attn")
            query, key, value = (heads_of(third, config.hidden // config.heads) for third in np.split(joint, 3, -1))
            if call.past:
                key = np.concatenate([call.past[layer][0][row], key], axis=1)
                value = np.concatenate([call.past[layer][1][row], value], axis=1)
            present[2 * layer].append(key)
            present[2 * layer + 1].append(value)
            hidden = hidden + conv(attend(query, key, value, visible), f"{name}.attn.c_proj")
            inner = conv(layer_norm(hidden, weights, f"{name}.ln_2", config.norm_epsilon), f"{name}.mlp.c_fc")
            hidden = hidden + conv(gelu_tanh(inner), f"{name}.mlp.c_proj")
        head = weights["transformer.wte.weight" if config.tied else "lm_head.weight"]
        logits.append(layer_norm(hidden, weights, "transformer.ln_f", config.norm_epsilon) @ head.T)
    return np.stack(logits), [np.stack(states) for states in present]


def opt(config, weights: Weights, call: Call) -> tuple[Array, list[Array]]:
    """Returns the logits `[b, s, vocabulary]` and the present keys and values, layer by layer."""

    def linear(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    present: list[list[Array]] = [[] for _ in range(2 * config.layers)]
    logits = []
    for row, ids in enumerate(call.ids):
        table = weights["model.decoder.embed_tokens.weight"]
        places = weights["model.decoder.embed_positions.weight"][call.positions[row] + 2]
        hidden = table[ids].astype(np.float64) + places
        visible = causal(call.padding[row], call.padding.shape[1] - len(ids), len(ids), None)
        for layer in range(config.layers):
            name = f"model.decoder.layers.{layer}"
            normed = layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", config.norm_epsilon)
            query, key, value = (
                heads_of(linear(normed, f"{name}.self_attn.{part}_proj"), config.hidden // config.heads)
                for part in "qkv"
            )
            if call.past:
                key = np.concatenate([call.past[layer][0][row], key], axis=1)
                value = np.concatenate([call.past[layer][1][row], value], axis=1)
            present[2 * layer].append(key)
            present[2 * layer + 1].append(value)
            hidden = hidden + linear(attend(query, key, value, visible), f"{name}.self_attn.out_proj")
            normed = layer_norm(hidden, weights, f"{name}.final_layer_norm", config.norm_epsilon)
            hidden = hidden + linear(np.maximum(linear(normed, f"{name}.fc1"), 0), f"{name}.fc2")
        normed = layer_norm(hidden, weights, "model.decoder.final_layer_norm", config.norm_epsilon)
        logits.append(normed @ table.T)
    return np.stack(logits), [np.stack(states) for states in present]


def bert(config, weights: Weights, ids: Array, padding: Array, segments: Array) -> Array:
    """Returns the last hidden state `[b, s, hidden]`."""

    def linear(x: Array, name: str) -> Array:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    rows = []
    for row in range(len(ids)):
        hidden = weights["embeddings.word_embeddings.weight"][ids[row]].astype(np.float64)
        hidden = hidden + weights["embeddings.token_type_embeddings.weight"][segments[row]]
        hidden = hidden + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        hidden = layer_norm(hidden, weights, "embeddings.LayerNorm", config.norm_epsilon)
        visible = np.repeat(padding[row][None] != 0, ids.shape[1], axis=0)
        for layer in range(config.layers):
            name = f"encoder.layer.{layer}"
            query, key, value = (
                heads_of(linear(hidden, f"{name}.attention.self.{part}"), config.hidden // config.heads)
                for part in ("query", "key", "value")
            )
            attended = linear(attend(query, key, value, visible), f"{name}.attention.output.dense")
            hidden = layer_norm(hidden + attended, weights, f"{name}.attention.output.LayerNorm", config.norm_epsilon)
            inner = gelu(linear(hidden, f"{name}.intermediate.dense"))
            outer = linear(inner, f"{name}.output.dense")
            hidden = layer_norm(hidden + outer, weights, f"{name}.output.LayerNorm", config.norm_epsilon)
        rows.append(hidden)
    return np.stack(rows)
