"""Builds Llama-like decoders: grouped-query attention, rotary positions, RMSNorm and SwiGLU; Mistral by a window."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from decoder_interface import DecoderInputs, declare_inputs, declare_outputs
from model_file import BuiltModel
from model_weights import WeightSource
from onnx_builder import Value
from spellings import Spelling, make_spelling


@dataclass(frozen=True)
class LlamaConfig:
    """Shape of a Llama-like model.

    Attributes:
        vocabulary: number of token ids.
        hidden: width of the residual stream.
        layers: number of decoder layers.
        heads: query heads.
        kv_heads: key and value heads; divides `heads`.
        head_dim: width of a head; even.
        intermediate: width inside the feed-forward part.
        rope_theta: base of the rotary frequencies.
        norm_epsilon: added to the mean square.
        window: how many latest keys a token sees, its own included; None for all.
        tied: whether the head is the embedding.
        cache: whether keys and values of the past are inputs and outputs.
    """

    vocabulary: int = 256
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    intermediate: int = 128
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5
    window: int | None = None
    tied: bool = False
    cache: bool = True

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.kv_heads} key heads do not divide {self.heads} query heads")
        if self.head_dim % 2:
            raise ValueError(f"rotary positions need an even head size, not {self.head_dim}")


def build_llama(
    config: LlamaConfig, weights: WeightSource, spelling: str = "dynamo", metadata: Mapping[str, str] | None = None
) -> BuiltModel:
    """Builds the model; weights are read by their names in a `LlamaForCausalLM` checkpoint.

    Args:
        config: the shape.
        weights: where the weights come from.
        spelling: `dynamo` or `torchscript`.
        metadata: properties to store in the model.
    """
    parts = make_spelling(spelling, weights)
    cached = config.layers if config.cache else 0
    inputs = declare_inputs(parts.builder, cached, config.kv_heads, config.head_dim)
    with parts.builder.scope("model"):
        hidden = _body(config, parts, inputs)
    with parts.builder.scope("lm_head"):
        parts.builder.node("MatMul", hidden, _head(config, parts), output="logits")
    declare_outputs(parts.builder, spelling, config.vocabulary, cached, config.kv_heads, config.head_dim)
    return parts.builder.build(metadata or {})


def _body(config: LlamaConfig, parts: Spelling, inputs: DecoderInputs) -> Value:
    """Embeds the ids and runs all layers and the last norm."""
    builder = parts.builder
    with builder.scope("embed_tokens"):
        hidden = builder.node("Gather", _embedding(config, parts), inputs.input_ids, axis=0)
    mask = parts.causal_mask(inputs.input_ids, hidden, inputs.attention_mask, inputs.past, config.window)
    with builder.scope("rotary_emb"):
        tables = parts.rotary_tables(inputs.position_ids, config.head_dim, config.rope_theta)
    for layer in range(config.layers):
        with builder.scope(f"layers.{layer}"):
            past = inputs.past[2 * layer : 2 * layer + 2]
            hidden = _layer(config, parts, layer, hidden, mask, tables, past)
    with builder.scope("norm"):
        return parts.rms_norm(hidden, _scale(config, parts, "model.norm.weight"), config.norm_epsilon)


def _layer(
    config: LlamaConfig,
    parts: Spelling,
    layer: int,
    hidden: Value,
    mask: Value,
    tables: tuple[Value, Value],
    past: list[Value],
) -> Value:
    """One decoder layer: attention and feed-forward, each after a norm and with a residual."""
    builder, prefix = parts.builder, f"model.layers.{layer}"
    with builder.scope("input_layernorm"):
        scale = _scale(config, parts, f"{prefix}.input_layernorm.weight")
        normalised = parts.rms_norm(hidden, scale, config.norm_epsilon)
    with builder.scope("self_attn"):
        attended = _attention(config, parts, layer, normalised, mask, tables, past)
    hidden = builder.node("Add", hidden, attended)
    with builder.scope("post_attention_layernorm"):
        scale = _scale(config, parts, f"{prefix}.post_attention_layernorm.weight")
        normalised = parts.rms_norm(hidden, scale, config.norm_epsilon)
    with builder.scope("mlp"):
        gated = _feed_forward(config, parts, layer, normalised)
    return builder.node("Add", hidden, gated)


def _attention(
    config: LlamaConfig,
    parts: Spelling,
    layer: int,
    hidden: Value,
    mask: Value,
    tables: tuple[Value, Value],
    past: list[Value],
) -> Value:
    """Projects, rotates, extends the cache and attends."""
    size, groups = config.head_dim, config.heads // config.kv_heads
    name = f"model.layers.{layer}.self_attn"
    widths = {"q": config.heads * size, "k": config.kv_heads * size, "v": config.kv_heads * size}
    query, key, value = (
        parts.split_heads(_project(parts, f"{name}.{part}_proj", hidden, config.hidden, width), size)
        for part, width in widths.items()
    )
    factors = parts.rotary_factors(tables)
    query, key = (parts.rotate(states, factors, size) for states in (query, key))
    if past:
        key = parts.extend_cache(past[0], key, f"present.{layer}.key")
        value = parts.extend_cache(past[1], value, f"present.{layer}.value")
    key, value = (parts.repeat_heads(states, config.kv_heads, groups, size) for states in (key, value))
    context = parts.attention(query, key, value, mask, size)
    merged = parts.merge_heads(context, config.heads * size)
    gain = 1 / math.sqrt(2 * config.layers)
    return _project(parts, f"{name}.o_proj", merged, config.heads * size, config.hidden, gain)


def _feed_forward(config: LlamaConfig, parts: Spelling, layer: int, hidden: Value) -> Value:
    """SwiGLU: down(silu(gate(x)) * up(x))."""
    name, inner = f"model.layers.{layer}.mlp", config.intermediate
    gate = _project(parts, f"{name}.gate_proj", hidden, config.hidden, inner)
    with parts.builder.scope("act_fn"):
        gate = parts.silu(gate)
    up = _project(parts, f"{name}.up_proj", hidden, config.hidden, inner)
    product = parts.builder.node("Mul", gate, up)
    gain = 1 / math.sqrt(2 * config.layers)
    return _project(parts, f"{name}.down_proj", product, inner, config.hidden, gain)


def _project(parts: Spelling, name: str, hidden: Value, width: int, features: int, gain: float = 1.0) -> Value:
    """A linear map without bias; random weights keep the variance times the square of `gain`."""
    with parts.builder.scope(name.rsplit(".", 1)[1]):
        deviation = gain / math.sqrt(width)
        weight = parts.builder.weight(f"{name}.weight", (features, width), deviation=deviation, transposed=True)
        return parts.linear(hidden, weight)


def _scale(config: LlamaConfig, parts: Spelling, name: str) -> Value:
    return parts.builder.weight(name, (config.hidden,), mean=1.0, deviation=0.1)


def _embedding(config: LlamaConfig, parts: Spelling) -> Value:
    deviation = 1 / math.sqrt(config.hidden) if config.tied else 1.0
    return parts.builder.weight("model.embed_tokens.weight", (config.vocabulary, config.hidden), deviation=deviation)


def _head(config: LlamaConfig, parts: Spelling) -> Value:
    """The head `[hidden, vocabulary]`: its own weight, or a transposed copy of the embedding, as exporters write it."""
    name = "model.embed_tokens.weight" if config.tied else "lm_head.weight"
    shape, deviation = (config.vocabulary, config.hidden), 1 / math.sqrt(config.hidden)
    return parts.builder.weight(name, shape, deviation=deviation, transposed=True)
