"""Builds BERT-like encoders: learned positions, LayerNorm after each part, exact GELU, and sentence embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from model_file import BuiltModel
from model_weights import WeightSource
from onnx_builder import FLOAT, INT64, GraphBuilder, Value
from spellings import Spelling, make_spelling


@dataclass(frozen=True)
class BertConfig:
    """Shape of a BERT-like model.

    Attributes:
        vocabulary: number of token ids.
        positions: number of learned positions, the longest sequence.
        segments: number of token types.
        hidden: width of the residual stream; a multiple of `heads`.
        layers: number of encoder layers.
        heads: attention heads.
        intermediate: width inside the feed-forward part.
        norm_epsilon: added to the variance.
        pooled: whether the output is `sentence_embedding [batch, hidden]`, the mean over unmasked tokens at length
            one, besides `last_hidden_state`.
    """

    vocabulary: int = 256
    positions: int = 128
    segments: int = 2
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    intermediate: int = 256
    norm_epsilon: float = 1e-12
    pooled: bool = False

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the width {self.hidden}")

    @property
    def head_dim(self) -> int:
        """Width of a head."""
        return self.hidden // self.heads


def build_bert(
    config: BertConfig, weights: WeightSource, spelling: str = "dynamo", metadata: Mapping[str, str] | None = None
) -> BuiltModel:
    """Builds the model; weights are read by their names in a `BertModel` checkpoint.

    Args:
        config: the shape.
        weights: where the weights come from.
        spelling: `dynamo` or `torchscript`.
        metadata: properties to store in the model.
    """
    parts = make_spelling(spelling, weights)
    builder = parts.builder
    ids, mask, segments = (
        builder.input(name, INT64, ["batch", "seq"]) for name in ("input_ids", "attention_mask", "token_type_ids")
    )
    with builder.scope("embeddings"):
        hidden = _embed(config, parts, ids, segments)
    visible = parts.padding_mask(segments, hidden, mask)
    for layer in range(config.layers):
        with builder.scope(f"encoder/layer.{layer}"):
            last = "last_hidden_state" if layer == config.layers - 1 else None
            hidden = _layer(config, parts, f"encoder.layer.{layer}", hidden, visible, last)
    builder.output("last_hidden_state", FLOAT, ["batch", "seq", config.hidden])
    if config.pooled:
        _pool(builder, hidden, mask)
        builder.output("sentence_embedding", FLOAT, ["batch", config.hidden])
    return builder.build(metadata or {})


def _embed(config: BertConfig, parts: Spelling, ids: Value, segments: Value) -> Value:
    """Adds up word, segment and position and normalises."""
    builder = parts.builder
    rows = {"word": config.vocabulary, "token_type": config.segments, "position": config.positions}
    tables = {
        kind: builder.weight(f"embeddings.{kind}_embeddings.weight", (count, config.hidden))
        for kind, count in rows.items()
    }
    numbers = builder.constant(np.arange(config.positions, dtype=np.int64)[None])
    length = builder.node("Slice", builder.node("Shape", ids), *(builder.constant([bound]) for bound in (1, 2)))
    positions = builder.node("Slice", numbers, builder.constant([0]), length, builder.constant([1]))
    summed = builder.node("Gather", tables["word"], ids, axis=0)
    summed = builder.node("Add", summed, builder.node("Gather", tables["token_type"], segments, axis=0))
    summed = builder.node("Add", summed, builder.node("Gather", tables["position"], positions, axis=0))
    return _norm(config, parts, "embeddings.LayerNorm", summed)


def _layer(config: BertConfig, parts: Spelling, name: str, hidden: Value, mask: Value, output: Value | None) -> Value:
    """One encoder layer; its last node makes the value `output` when that is given."""
    builder = parts.builder
    with builder.scope("attention"):
        with builder.scope("self"):
            context = _attention(config, parts, f"{name}.attention.self", hidden, mask)
        with builder.scope("output"):
            dense = _linear(parts, f"{name}.attention.output.dense", context, config.hidden, config.hidden)
            hidden = builder.node("Add", dense, hidden)
            hidden = _norm(config, parts, f"{name}.attention.output.LayerNorm", hidden)
    with builder.scope("intermediate"):
        inner = _linear(parts, f"{name}.intermediate.dense", hidden, config.hidden, config.intermediate)
        with builder.scope("intermediate_act_fn"):
            inner = parts.gelu(inner)
    with builder.scope("output"):
        dense = _linear(parts, f"{name}.output.dense", inner, config.intermediate, config.hidden)
        hidden = builder.node("Add", dense, hidden)
        return _norm(config, parts, f"{name}.output.LayerNorm", hidden, output)


def _attention(config: BertConfig, parts: Spelling, name: str, hidden: Value, mask: Value) -> Value:
    """Projects to query, key and value and attends."""
    query, key, value = (
        parts.split_heads(_linear(parts, f"{name}.{part}", hidden, config.hidden, config.hidden), config.head_dim)
        for part in ("query", "key", "value")
    )
    context = parts.attention(query, key, value, mask, config.head_dim)
    return parts.merge_heads(context, config.hidden)


def _norm(config: BertConfig, parts: Spelling, name: str, hidden: Value, output: Value | None = None) -> Value:
    scale = parts.builder.weight(f"{name}.weight", (config.hidden,), mean=1.0, deviation=0.1)
    shift = parts.builder.weight(f"{name}.bias", (config.hidden,), deviation=0.1)
    with parts.builder.scope("LayerNorm"):
        return parts.layer_norm(hidden, scale, shift, config.norm_epsilon, output)


def _linear(parts: Spelling, name: str, hidden: Value, width: int, features: int) -> Value:
    """A linear map with bias whose random weights keep the variance."""
    builder = parts.builder
    with builder.scope(name.rsplit(".", 1)[1]):
        deviation = 1 / math.sqrt(width)
        weight = builder.weight(f"{name}.weight", (features, width), deviation=deviation, transposed=True)
        bias = builder.weight(f"{name}.bias", (features,), deviation=0.1)
        return parts.linear(hidden, weight, bias)


def _pool(builder: GraphBuilder, hidden: Value, attention_mask: Value) -> None:
    """Averages the unmasked tokens and divides by the Euclidean norm, as sentence-transformers does."""
    with builder.scope("pooling"):
        weights = builder.node("Unsqueeze", attention_mask, builder.constant([-1]))
        weights = builder.node("Expand", weights, builder.node("Shape", hidden))
        weights = builder.node("Cast", weights, to=FLOAT)
        axis = builder.constant([1])
        summed = builder.node("ReduceSum", builder.node("Mul", hidden, weights), axis, keepdims=0)
        count = builder.node("ReduceSum", weights, axis, keepdims=0)
        mean = builder.node("Div", summed, builder.node("Clip", count, builder.constant(1e-9)))
    with builder.scope("normalize"):
        squares = builder.node("Mul", mean, mean)
        length = builder.node("Sqrt", builder.node("ReduceSum", squares, builder.constant([-1]), keepdims=1))
        length = builder.node("Clip", length, builder.constant(1e-12))
        builder.node("Div", mean, length, output="sentence_embedding")
