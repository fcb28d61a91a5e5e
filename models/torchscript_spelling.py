"""Transformer parts as torch's TorchScript exporter (2.13, opset 17) spells them."""

from __future__ import annotations

import math

import numpy as np
import torchscript_masks
from model_weights import WeightSource
from onnx_builder import BOOL, FLOAT, INT64, GraphBuilder, Value
from torchscript_shapes import axis_length, expand, join, last_length

OPSET = 17
INT64_MAX = (1 << 63) - 1


class TorchScriptSpelling:
    """Parts with constants as nodes beside their use, and every length read off the tensor at hand."""

    def __init__(self, weights: WeightSource) -> None:
        """Starts an empty graph of opset 17."""
        self.builder = GraphBuilder(weights, OPSET, constant_nodes=True)
        self._first_past: tuple[Value, Value] | None = None

    def causal_mask(
        self, input_ids: Value, hidden: Value, attention_mask: Value, past: list[Value], window: int | None
    ) -> Value:
        """Spells the mask by LessOrEqual of index grids and Gather of the flattened padding.

        The first past key passes through a Concat of its own, as it does where the cache is made from a tuple.
        """
        padding = self.builder.node("Cast", attention_mask, to=BOOL)
        if past:
            self._first_past = past[0], self.builder.node("Concat", past[0], axis=-2)
        key = self._first_past[1] if self._first_past else None
        return torchscript_masks.causal_mask(self.builder, hidden, padding, key, window)

    def padding_mask(self, token_type_ids: Value, hidden: Value, attention_mask: Value) -> Value:
        """Spells the mask by GreaterOrEqual of the query index and Gather of the flattened padding."""
        padding = self.builder.node("Cast", attention_mask, to=BOOL)
        return torchscript_masks.padding_mask(self.builder, hidden, padding)

    def rotary_tables(self, position_ids: Value, head_dim: int, theta: float) -> tuple[Value, Value]:
        """Spells Unsqueeze, Cast, Mul, Concat, Cos, Mul by 1, Sin, Mul by 1, Cast, Cast."""
        builder = self.builder
        positions = builder.node("Unsqueeze", position_ids, builder.constant([2]))
        positions = builder.node("Cast", positions, to=FLOAT)
        frequencies = (1 / theta ** (np.arange(0, head_dim, 2) / head_dim)).astype(np.float32)
        angles = builder.node("Mul", positions, builder.constant(frequencies))
        angles = builder.node("Concat", angles, angles, axis=-1)
        cosine = builder.node("Mul", builder.node("Cos", angles), builder.constant(1.0))
        sine = builder.node("Mul", builder.node("Sin", angles), builder.constant(1.0))
        return builder.node("Cast", cosine, to=FLOAT), builder.node("Cast", sine, to=FLOAT)

    def rotary_factors(self, tables: tuple[Value, Value]) -> tuple[Value, Value]:
        """Spells one Unsqueeze a table and layer."""
        builder = self.builder
        cosine, sine = (builder.node("Unsqueeze", table, builder.constant([1])) for table in tables)
        return cosine, sine

    def rotate(self, states: Value, factors: tuple[Value, Value], head_dim: int) -> Value:
        """Spells Mul, Slice, Slice, Neg, Concat, Mul, Add; the middle is half of a length that is read off."""
        builder = self.builder
        straight = builder.node("Mul", states, factors[0])
        middle = builder.node("Div", axis_length(builder, states, 3), builder.constant(2))
        middle = builder.node("Cast", builder.node("Cast", middle, to=INT64), to=INT64)
        axis, start = builder.constant([3]), builder.constant([0])
        cut = builder.node("Unsqueeze", middle, builder.constant([0]))
        first = builder.node("Slice", states, start, cut, axis, builder.constant([1]))
        axis = builder.constant([3])
        cut = builder.node("Unsqueeze", middle, builder.constant([0]))
        second = builder.node("Slice", states, cut, builder.constant([INT64_MAX]), axis, builder.constant([1]))
        crossed = builder.node("Concat", builder.node("Neg", second), first, axis=-1)
        return builder.node("Add", straight, builder.node("Mul", crossed, factors[1]))

    def rms_norm(self, hidden: Value, weight: Value, epsilon: float) -> Value:
        """Spells Cast, Pow, ReduceMean, Add, Sqrt, Div of 1, Mul, Cast, Mul with the weight first."""
        builder = self.builder
        hidden = builder.node("Cast", hidden, to=FLOAT)
        squares = builder.node("Pow", hidden, builder.constant(2.0))
        mean = builder.node("ReduceMean", squares, axes=[-1], keepdims=1)
        root = builder.node("Sqrt", builder.node("Add", mean, builder.constant(epsilon)))
        inverse = builder.node("Div", builder.constant(1.0), root)
        normalised = builder.node("Cast", builder.node("Mul", hidden, inverse), to=FLOAT)
        return builder.node("Mul", weight, normalised)

    def layer_norm(
        self, hidden: Value, weight: Value, bias: Value, epsilon: float, output: Value | None = None
    ) -> Value:
        """Spells LayerNormalization."""
        return self.builder.node("LayerNormalization", hidden, weight, bias, output=output, axis=-1, epsilon=epsilon)

    def linear(self, hidden: Value, weight: Value, bias: Value | None = None) -> Value:
        """Spells MatMul and Add with the bias first."""
        product = self.builder.node("MatMul", hidden, weight)
        return product if bias is None else self.builder.node("Add", bias, product)

    def affine(self, hidden: Value, weight: Value, bias: Value, width: int, features: int) -> Value:
        """Spells Reshape, Gemm, Reshape with both shapes read off."""
        builder = self.builder
        batch, sequence = axis_length(builder, hidden, 0), axis_length(builder, hidden, 1)
        shape = join(builder, -1, last_length(builder, hidden))
        flat = builder.node("Reshape", hidden, shape, allowzero=0)
        product = builder.node("Gemm", flat, weight, bias, alpha=1.0, beta=1.0)
        return builder.node("Reshape", product, join(builder, batch, sequence, features), allowzero=0)

    def split_three(self, hidden: Value, width: int) -> list[Value]:
        """Spells Split by sizes."""
        return self.builder.nodes("Split", hidden, self.builder.constant([width] * 3), outputs=3, axis=2)

    def split_heads(self, hidden: Value, head_dim: int) -> Value:
        """Spells the shape, Reshape, Transpose."""
        builder = self.builder
        batch, sequence = axis_length(builder, hidden, 0), axis_length(builder, hidden, 1)
        states = builder.node("Reshape", hidden, join(builder, batch, sequence, -1, head_dim), allowzero=0)
        return builder.node("Transpose", states, perm=[0, 2, 1, 3])

    def merge_heads(self, states: Value, width: int) -> Value:
        """Spells Transpose, the shape, Reshape."""
        builder = self.builder
        states = builder.node("Transpose", states, perm=[0, 2, 1, 3])
        batch, sequence = axis_length(builder, states, 0), axis_length(builder, states, 1)
        return builder.node("Reshape", states, join(builder, batch, sequence, -1), allowzero=0)

    def extend_cache(self, past: Value, states: Value, output: Value) -> Value:
        """Spells Concat on the axis before the last."""
        if self._first_past and past == self._first_past[0]:
            past = self._first_past[1]
        return self.builder.node("Concat", past, states, output=output, axis=-2)

    def repeat_heads(self, states: Value, kv_heads: int, groups: int, head_dim: int) -> Value:
        """Spells Unsqueeze, Expand with its -1 guard, Reshape, all lengths read off; nothing for one group."""
        if groups == 1:
            return states
        builder = self.builder
        batch, heads, length, width = (axis_length(builder, states, axis) for axis in range(4))
        states = builder.node("Unsqueeze", states, builder.constant([2]))
        states = expand(builder, states, batch, heads, groups, length, width)
        merged = builder.node("Mul", heads, builder.constant(groups))
        return builder.node("Reshape", states, join(builder, batch, merged, length, width), allowzero=0)

    def attention(self, query: Value, key: Value, value: Value, mask: Value, head_dim: int) -> Value:
        """Spells the key's Transpose, both scalings, the added bias of -inf, Softmax and the guard against NaN."""
        builder = self.builder
        scale = math.sqrt(1 / math.sqrt(head_dim))
        length = axis_length(builder, query, 2)
        turned = builder.node("Transpose", key, perm=[0, 1, 3, 2])
        query = builder.node("Mul", query, builder.constant(scale))
        turned = builder.node("Mul", turned, builder.constant(scale))
        scores = builder.node("MatMul", query, turned)
        bias = builder.node("Where", mask, builder.constant([0.0]), builder.constant([-math.inf]))
        weights = builder.node("Softmax", builder.node("Add", scores, bias), axis=-1)
        missing = builder.node("IsNaN", weights)
        weights = builder.node("Where", missing, builder.constant([0.0]), weights)
        context = builder.node("MatMul", weights, value)
        shape = join(builder, axis_length(builder, context, 0), -1, length, axis_length(builder, value, 3))
        return builder.node("Reshape", context, shape, allowzero=0)

    def silu(self, hidden: Value) -> Value:
        """Spells Sigmoid, Mul."""
        return self.builder.node("Mul", hidden, self.builder.node("Sigmoid", hidden))

    def gelu(self, hidden: Value) -> Value:
        """Spells Div, Erf, Add, Mul, Mul."""
        builder = self.builder
        error = builder.node("Erf", builder.node("Div", hidden, builder.constant(math.sqrt(2))))
        product = builder.node("Mul", hidden, builder.node("Add", error, builder.constant(1.0)))
        return builder.node("Mul", product, builder.constant(0.5))

    def gelu_tanh(self, hidden: Value) -> Value:
        """Spells Mul, Pow, Mul, Add, Mul, Tanh, Add, Mul."""
        builder = self.builder
        half = builder.node("Mul", hidden, builder.constant(0.5))
        cubes = builder.node("Mul", builder.node("Pow", hidden, builder.constant(3.0)), builder.constant(0.044715))
        inner = builder.node("Mul", builder.node("Add", hidden, cubes), builder.constant(math.sqrt(2 / math.pi)))
        outer = builder.node("Add", builder.node("Tanh", inner), builder.constant(1.0))
        return builder.node("Mul", half, outer)

    def tokens(self, input_ids: Value) -> Value:
        """Spells the shape and Reshape."""
        builder = self.builder
        shape = join(builder, -1, axis_length(builder, input_ids, 1))
        return builder.node("Reshape", input_ids, shape, allowzero=0)

    def flat_mask(self, attention_mask: Value, input_ids: Value) -> Value:
        """Spells the shape and Reshape."""
        builder = self.builder
        shape = join(builder, axis_length(builder, input_ids, 0), -1)
        return builder.node("Reshape", attention_mask, shape, allowzero=0)
