"""Inputs and outputs of a causal language model as optimum and transformers name them, with or without a KV cache."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_builder import FLOAT, INT64, GraphBuilder, Value

TOTAL_NAMES = {"dynamo": "past + seq", "torchscript": "total"}
"""The token axis of `present` outputs: dynamo writes an expression, TorchScript the name it was given."""


@dataclass(frozen=True)
class DecoderInputs:
    """The graph inputs of a decoder.

    Attributes:
        input_ids: int64 `[batch, seq]`.
        attention_mask: int64 `[batch, total]`, 0 for padding; `[batch, seq]` without a cache.
        position_ids: int64 `[batch, seq]`.
        past: per layer key and value, float32 `[batch, kv_heads, past, head_dim]`; empty without a cache.
    """

    input_ids: Value
    attention_mask: Value
    position_ids: Value
    past: list[Value]


def declare_inputs(builder: GraphBuilder, cached_layers: int, kv_heads: int, head_dim: int) -> DecoderInputs:
    """Declares the inputs; `cached_layers` is 0 for a model without cache."""
    total = "total" if cached_layers else "seq"
    ids = builder.input("input_ids", INT64, ["batch", "seq"])
    mask = builder.input("attention_mask", INT64, ["batch", total])
    positions = builder.input("position_ids", INT64, ["batch", "seq"])
    shape = ["batch", kv_heads, "past", head_dim]
    past = [
        builder.input(f"past_key_values.{layer}.{kind}", FLOAT, shape)
        for layer in range(cached_layers)
        for kind in ("key", "value")
    ]
    return DecoderInputs(ids, mask, positions, past)


def declare_outputs(
    builder: GraphBuilder, spelling: str, vocabulary: int, cached_layers: int, kv_heads: int, head_dim: int
) -> None:
    """Declares `logits [batch, seq, vocabulary]` and, per cached layer, `present.N.key` and `present.N.value`."""
    builder.output("logits", FLOAT, ["batch", "seq", vocabulary])
    shape = ["batch", kv_heads, TOTAL_NAMES[spelling], head_dim]
    for layer in range(cached_layers):
        builder.output(f"present.{layer}.key", FLOAT, shape)
        builder.output(f"present.{layer}.value", FLOAT, shape)
