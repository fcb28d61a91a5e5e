"""Builds OPT-like decoders: learned positions two rows behind, LayerNorm before each part, ReLU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from decoder_interface import DecoderInputs, declare_inputs, declare_outputs
from model_file import BuiltModel
from model_weights import WeightSource
from onnx_builder import Value
from spellings import Spelling, make_spelling

POSITION_OFFSET = 2
"""Rows of the table of positions ahead of the first position."""


@dataclass(frozen=True)
class OptConfig:
    """Shape of an OPT-like model whose head is its embedding.

    Attributes:
        vocabulary: number of token ids.
        positions: number of learned positions, the longest context.
        hidden: width of the residual stream; a multiple of `heads`.
        layers: number of decoder layers.
        heads: attention heads.
        intermediate: width inside the feed-forward part; None for four times `hidden`.
        norm_epsilon: added to the variance.
        cache: whether keys and values of the past are inputs and outputs.
    """

    vocabulary: int = 256
    positions: int = 128
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    intermediate: int | None = None
    norm_epsilon: float = 1e-5
    cache: bool = True

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the width {self.hidden}")

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden // self.heads

    @property
    def inner(self) -> int:
        """Width inside the feed-forward part."""
        return self.intermediate or 4 * self.hidden


def build_opt(
    config: OptConfig, weights: WeightSource, spelling: str = "dynamo", metadata: Mapping[str, str] | None = None
) -> BuiltModel:
    """Builds the model; weights are read by their names in an `OPTForCausalLM` checkpoint.

    Args:
        config: the shape.
        weights: where the weights come from.
        spelling: `dynamo` or `torchscript`.
        metadata: properties to store in the model.
    """
    parts = make_spelling(spelling, weights)
    cached = config.layers if config.cache else 0
    inputs = declare_inputs(parts.builder, cached, config.heads, config.head_dim)
    with parts.builder.scope("decoder"):
        hidden = _body(config, parts, inputs)
    name, shape = "model.decoder.embed_tokens.weight", (config.vocabulary, config.hidden)
    with parts.builder.scope("lm_head"):
        head = parts.builder.weight(name, shape, deviation=1 / math.sqrt(config.hidden), transposed=True)
        parts.builder.node("MatMul", hidden, head, output="logits")
    declare_outputs(parts.builder, spelling, config.vocabulary, cached, config.heads, config.head_dim)
    return parts.builder.build(metadata or {})


def _body(config: OptConfig, parts: Spelling, inputs: DecoderInputs) -> Value:
    """Embeds ids and positions and runs all layers and the last norm."""
    builder = parts.builder
    hidden = _looked_up(config, parts, "embed_tokens", config.vocabulary, inputs.input_ids)
    with builder.scope("embed_positions"):
        places = builder.node("Add", inputs.position_ids, builder.constant(POSITION_OFFSET))
    positions = _looked_up(config, parts, "embed_positions", config.positions + POSITION_OFFSET, places)
    hidden = builder.node("Add", hidden, positions)
    mask = parts.causal_mask(inputs.input_ids, hidden, inputs.attention_mask, inputs.past, None)
    for layer in range(config.layers):
        with builder.scope(f"layers.{layer}"):
            hidden = _layer(config, parts, layer, hidden, mask, inputs.past[2 * layer : 2 * layer + 2])
    return _norm(config, parts, "model.decoder.final_layer_norm", hidden)


def _looked_up(config: OptConfig, parts: Spelling, name: str, rows: int, ids: Value) -> Value:
    deviation = 1 / math.sqrt(config.hidden)
    table = parts.builder.weight(f"model.decoder.{name}.weight", (rows, config.hidden), deviation=deviation)
    with parts.builder.scope(name):
        return parts.builder.node("Gather", table, ids, axis=0)


def _layer(config: OptConfig, parts: Spelling, layer: int, hidden: Value, mask: Value, past: list[Value]) -> Value:
    """One decoder layer: attention and feed-forward, each after a norm and with a residual."""
    builder, prefix = parts.builder, f"model.decoder.layers.{layer}"
    normalised = _norm(config, parts, f"{prefix}.self_attn_layer_norm", hidden)
    with builder.scope("self_attn"):
        attended = _attention(config, parts, layer, normalised, mask, past)
    hidden = builder.node("Add", hidden, attended)
    normalised = _norm(config, parts, f"{prefix}.final_layer_norm", hidden)
    inner = _affine(parts, f"{prefix}.fc1", normalised, config.hidden, config.inner)
    with builder.scope("activation_fn"):
        inner = builder.node("Relu", inner)
    gain = 1 / math.sqrt(2 * config.layers)
    return builder.node("Add", hidden, _affine(parts, f"{prefix}.fc2", inner, config.inner, config.hidden, gain))


def _attention(config: OptConfig, parts: Spelling, layer: int, hidden: Value, mask: Value, past: list[Value]) -> Value:
    """Projects, extends the cache, attends and projects back."""
    name, width = f"model.decoder.layers.{layer}.self_attn", config.hidden
    query, key, value = (
        parts.split_heads(_affine(parts, f"{name}.{part}_proj", hidden, width, width), config.head_dim)
        for part in ("q", "k", "v")
    )
    if past:
        key = parts.extend_cache(past[0], key, f"present.{layer}.key")
        value = parts.extend_cache(past[1], value, f"present.{layer}.value")
    context = parts.attention(query, key, value, mask, config.head_dim)
    gain = 1 / math.sqrt(2 * config.layers)
    return _affine(parts, f"{name}.out_proj", parts.merge_heads(context, width), width, width, gain)


def _norm(config: OptConfig, parts: Spelling, name: str, hidden: Value) -> Value:
    scale = parts.builder.weight(f"{name}.weight", (config.hidden,), mean=1.0, deviation=0.1)
    shift = parts.builder.weight(f"{name}.bias", (config.hidden,), deviation=0.1)
    with parts.builder.scope(name.rsplit(".", 1)[1]):
        return parts.layer_norm(hidden, scale, shift, config.norm_epsilon)


def _affine(parts: Spelling, name: str, hidden: Value, width: int, features: int, gain: float = 1.0) -> Value:
    """A linear map with a bias; random weights keep the variance times the square of `gain`."""
    with parts.builder.scope(name.rsplit(".", 1)[1]):
        deviation = gain / math.sqrt(width)
        weight = parts.builder.weight(f"{name}.weight", (features, width), deviation=deviation, transposed=True)
        bias = parts.builder.weight(f"{name}.bias", (features,), deviation=0.1 * gain)
        return parts.linear(hidden, weight, bias)
