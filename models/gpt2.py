"""Builds GPT-2-like decoders: learned absolute positions, LayerNorm before each part, and GELU by tanh."""

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
class Gpt2Config:
    """Shape of a GPT-2-like model.

    Attributes:
        vocabulary: number of token ids.
        positions: number of learned positions, the longest context.
        hidden: width of the residual stream; a multiple of `heads`.
        layers: number of decoder layers.
        heads: attention heads.
        intermediate: width inside the feed-forward part; None for four times `hidden`.
        norm_epsilon: added to the variance.
        tied: whether the head is the embedding.
        cache: whether keys and values of the past are inputs and outputs.
    """

    vocabulary: int = 256
    positions: int = 128
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    intermediate: int | None = None
    norm_epsilon: float = 1e-5
    tied: bool = True
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


def build_gpt2(
    config: Gpt2Config, weights: WeightSource, spelling: str = "dynamo", metadata: Mapping[str, str] | None = None
) -> BuiltModel:
    """Builds the model; weights are read by their names in a `GPT2LMHeadModel` checkpoint (Conv1D: `[in, out]`).

    Args:
        config: the shape.
        weights: where the weights come from.
        spelling: `dynamo` or `torchscript`.
        metadata: properties to store in the model.
    """
    parts = make_spelling(spelling, weights)
    cached = config.layers if config.cache else 0
    inputs = declare_inputs(parts.builder, cached, config.heads, config.head_dim)
    with parts.builder.scope("transformer"):
        hidden = _body(config, parts, inputs)
    name = "transformer.wte.weight" if config.tied else "lm_head.weight"
    with parts.builder.scope("lm_head"):
        head = _matrix(parts, name, (config.vocabulary, config.hidden), config.hidden, transposed=True)
        parts.builder.node("MatMul", hidden, head, output="logits")
    declare_outputs(parts.builder, spelling, config.vocabulary, cached, config.heads, config.head_dim)
    return parts.builder.build(metadata or {})


def _body(config: Gpt2Config, parts: Spelling, inputs: DecoderInputs) -> Value:
    """Embeds ids and positions and runs all layers and the last norm."""
    builder = parts.builder
    tokens = parts.tokens(inputs.input_ids)
    embedding = _matrix(parts, "transformer.wte.weight", (config.vocabulary, config.hidden), config.hidden)
    with builder.scope("wte"):
        hidden = builder.node("Gather", embedding, tokens, axis=0)
    places = _matrix(parts, "transformer.wpe.weight", (config.positions, config.hidden), config.hidden)
    with builder.scope("wpe"):
        positions = builder.node("Gather", places, inputs.position_ids, axis=0)
    hidden = builder.node("Add", hidden, positions)
    padding = parts.flat_mask(inputs.attention_mask, inputs.input_ids)
    mask = parts.causal_mask(inputs.input_ids, hidden, padding, inputs.past, None)
    for layer in range(config.layers):
        with builder.scope(f"h.{layer}"):
            hidden = _layer(config, parts, layer, hidden, mask, inputs.past[2 * layer : 2 * layer + 2])
    return _norm(config, parts, "transformer.ln_f", hidden)


def _layer(config: Gpt2Config, parts: Spelling, layer: int, hidden: Value, mask: Value, past: list[Value]) -> Value:
    """One decoder layer: attention and feed-forward, each after a norm and with a residual."""
    builder, prefix = parts.builder, f"transformer.h.{layer}"
    normalised = _norm(config, parts, f"{prefix}.ln_1", hidden)
    with builder.scope("attn"):
        attended = _attention(config, parts, layer, normalised, mask, past)
    hidden = builder.node("Add", attended, hidden)
    normalised = _norm(config, parts, f"{prefix}.ln_2", hidden)
    with builder.scope("mlp"):
        inner = _affine(parts, f"{prefix}.mlp.c_fc", normalised, config.hidden, config.inner)
        with builder.scope("act"):
            inner = parts.gelu_tanh(inner)
        gain = 1 / math.sqrt(2 * config.layers)
        outer = _affine(parts, f"{prefix}.mlp.c_proj", inner, config.inner, config.hidden, gain)
    return builder.node("Add", hidden, outer)


def _attention(config: Gpt2Config, parts: Spelling, layer: int, hidden: Value, mask: Value, past: list[Value]) -> Value:
    """One projection to query, key and value, the cache, attention, and the projection back."""
    name = f"transformer.h.{layer}.attn"
    joint = _affine(parts, f"{name}.c_attn", hidden, config.hidden, 3 * config.hidden)
    thirds = parts.split_three(joint, config.hidden)
    query, key, value = (parts.split_heads(third, config.head_dim) for third in thirds)
    if past:
        key = parts.extend_cache(past[0], key, f"present.{layer}.key")
        value = parts.extend_cache(past[1], value, f"present.{layer}.value")
    context = parts.attention(query, key, value, mask, config.head_dim)
    merged = parts.merge_heads(context, config.hidden)
    gain = 1 / math.sqrt(2 * config.layers)
    return _affine(parts, f"{name}.c_proj", merged, config.hidden, config.hidden, gain)


def _norm(config: Gpt2Config, parts: Spelling, name: str, hidden: Value) -> Value:
    scale = parts.builder.weight(f"{name}.weight", (config.hidden,), mean=1.0, deviation=0.1)
    shift = parts.builder.weight(f"{name}.bias", (config.hidden,), deviation=0.1)
    with parts.builder.scope(name.rsplit(".", 1)[1]):
        return parts.layer_norm(hidden, scale, shift, config.norm_epsilon)


def _affine(parts: Spelling, name: str, hidden: Value, width: int, features: int, gain: float = 1.0) -> Value:
    """A Conv1D of GPT-2: its weight is stored as `[in, out]` and used so by Gemm."""
    with parts.builder.scope(name.rsplit(".", 1)[1]):
        weight = _matrix(parts, f"{name}.weight", (width, features), width, gain)
        bias = parts.builder.weight(f"{name}.bias", (features,), deviation=0.1 * gain)
        return parts.affine(hidden, weight, bias, width, features)


def _matrix(
    parts: Spelling, name: str, shape: tuple[int, int], width: int, gain: float = 1.0, transposed: bool = False
) -> Value:
    """A matrix whose random values keep the variance of `width` inputs times the square of `gain`."""
    return parts.builder.weight(name, shape, deviation=gain / math.sqrt(width), transposed=transposed)
