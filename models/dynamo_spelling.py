"""Transformer parts as torch's dynamo exporter (2.13, opset 20) spells them."""

from __future__ import annotations

import math

import dynamo_masks
import numpy as np
from model_weights import WeightSource
from onnx_builder import FLOAT, GraphBuilder, Value

OPSET = 20
LEAST_FLOAT = float(np.finfo(np.float32).min)
INT64_MAX, INT64_MIN = (1 << 63) - 1, -(1 << 63)


class DynamoSpelling:
    """Parts with constants as shared initialisers, lengths read once, and values reused where they are equal."""

    def __init__(self, weights: WeightSource) -> None:
        """Starts an empty graph of opset 20."""
        self.builder = GraphBuilder(weights, OPSET, constant_nodes=False)
        self._lengths: dynamo_masks.DynamoLengths | None = None
        self._factors: tuple[Value, Value] | None = None
        self._biases: dict[Value, Value] = {}
        self._shapes: dict[tuple[Value | int, ...], Value] = {}

    def causal_mask(
        self, input_ids: Value, hidden: Value, attention_mask: Value, past: list[Value], window: int | None
    ) -> Value:
        """Spells the mask by LessOrEqual of index grids and GatherND of the padding."""
        self._set_lengths(input_ids, past)
        padding = dynamo_masks.as_bool(self.builder, attention_mask)
        return dynamo_masks.causal_mask(self.builder, self.lengths, padding, window)

    def padding_mask(self, token_type_ids: Value, hidden: Value, attention_mask: Value) -> Value:
        """Spells the mask by GreaterOrEqual of the query index and GatherND of the padding."""
        self._set_lengths(token_type_ids, [])
        padding = dynamo_masks.as_bool(self.builder, attention_mask)
        return dynamo_masks.padding_mask(self.builder, self.lengths, padding)

    @property
    def lengths(self) -> dynamo_masks.DynamoLengths:
        """The lengths of the call; a mask has to be spelled first."""
        if self._lengths is None:
            raise RuntimeError("spell a mask first: it reads the lengths of the call")
        return self._lengths

    def rotary_tables(self, position_ids: Value, head_dim: int, theta: float) -> tuple[Value, Value]:
        """Spells Unsqueeze, Cast, Mul, Concat, Cos, Sin."""
        builder = self.builder
        positions = builder.node("Unsqueeze", position_ids, builder.constant([2]))
        positions = builder.node("Cast", positions, to=FLOAT)
        frequencies = (1 / theta ** (np.arange(0, head_dim, 2) / head_dim)).astype(np.float32)
        angles = builder.node("Mul", positions, builder.constant(frequencies))
        angles = builder.node("Concat", angles, angles, axis=-1)
        return builder.node("Cos", angles), builder.node("Sin", angles)

    def rotary_factors(self, tables: tuple[Value, Value]) -> tuple[Value, Value]:
        """Spells one Unsqueeze a table, which all layers share."""
        if self._factors is None:
            axis = self.builder.constant([1])
            cosine, sine = (self.builder.node("Unsqueeze", table, axis) for table in tables)
            self._factors = cosine, sine
        return self._factors

    def rotate(self, states: Value, factors: tuple[Value, Value], head_dim: int) -> Value:
        """Spells Mul, Slice, Slice, Neg, Concat, Mul, Add with constant bounds."""
        builder = self.builder
        start, middle, end = (builder.constant([bound]) for bound in (0, head_dim // 2, INT64_MAX))
        axis, step = builder.constant([3]), builder.constant([1])
        straight = builder.node("Mul", states, factors[0])
        first = builder.node("Slice", states, start, middle, axis, step)
        second = builder.node("Slice", states, middle, end, axis, step)
        crossed = builder.node("Concat", builder.node("Neg", second), first, axis=-1)
        return builder.node("Add", straight, builder.node("Mul", crossed, factors[1]))

    def rms_norm(self, hidden: Value, weight: Value, epsilon: float) -> Value:
        """Spells Pow, ReduceMean, Add, Sqrt, Reciprocal, Mul, Mul with the weight first."""
        builder = self.builder
        squares = builder.node("Pow", hidden, builder.constant(2.0))
        mean = builder.node("ReduceMean", squares, builder.constant([-1]), keepdims=1, noop_with_empty_axes=0)
        root = builder.node("Sqrt", builder.node("Add", mean, builder.constant(epsilon)))
        normalised = builder.node("Mul", hidden, builder.node("Reciprocal", root))
        return builder.node("Mul", weight, normalised)

    def layer_norm(
        self, hidden: Value, weight: Value, bias: Value, epsilon: float, output: Value | None = None
    ) -> Value:
        """Spells LayerNormalization."""
        return self.builder.node(
            "LayerNormalization", hidden, weight, bias, output=output, axis=-1, epsilon=epsilon, stash_type=1
        )

    def linear(self, hidden: Value, weight: Value, bias: Value | None = None) -> Value:
        """Spells MatMul and Add with the bias second."""
        product = self.builder.node("MatMul", hidden, weight)
        return product if bias is None else self.builder.node("Add", product, bias)

    def affine(self, hidden: Value, weight: Value, bias: Value, width: int, features: int) -> Value:
        """Spells Reshape, Gemm, Reshape."""
        builder = self.builder
        flat = builder.node("Reshape", hidden, builder.constant([-1, width]), allowzero=1)
        product = builder.node("Gemm", flat, weight, bias, alpha=1.0, beta=1.0, transA=0, transB=0)
        shape = self._shape(self.lengths.batch, self.lengths.sequence, features)
        return builder.node("Reshape", product, shape, allowzero=1)

    def split_three(self, hidden: Value, width: int) -> list[Value]:
        """Spells Split by a number of outputs."""
        return self.builder.nodes("Split", hidden, outputs=3, axis=2, num_outputs=3)

    def split_heads(self, hidden: Value, head_dim: int) -> Value:
        """Spells Concat of the shape, Reshape, Transpose."""
        shape = self._shape(self.lengths.batch, self.lengths.sequence, -1, head_dim)
        states = self.builder.node("Reshape", hidden, shape, allowzero=1)
        return self.builder.node("Transpose", states, perm=[0, 2, 1, 3])

    def merge_heads(self, states: Value, width: int) -> Value:
        """Spells Transpose, Concat of the shape, Reshape."""
        states = self.builder.node("Transpose", states, perm=[0, 2, 1, 3])
        shape = self._shape(self.lengths.batch, self.lengths.sequence, -1)
        return self.builder.node("Reshape", states, shape, allowzero=1)

    def extend_cache(self, past: Value, states: Value, output: Value) -> Value:
        """Spells Concat on the axis before the last."""
        return self.builder.node("Concat", past, states, output=output, axis=-2)

    def repeat_heads(self, states: Value, kv_heads: int, groups: int, head_dim: int) -> Value:
        """Spells Unsqueeze, Expand, Reshape; nothing for one group."""
        if groups == 1:
            return states
        builder, lengths = self.builder, self.lengths
        states = builder.node("Unsqueeze", states, builder.constant([2]))
        expanded = self._shape(lengths.batch, kv_heads, groups, lengths.total, head_dim)
        states = builder.node("Expand", states, expanded)
        shape = self._shape(lengths.batch, kv_heads * groups, lengths.total, head_dim)
        return builder.node("Reshape", states, shape, allowzero=1)

    def attention(self, query: Value, key: Value, value: Value, mask: Value, head_dim: int) -> Value:
        """Spells the key's 3-D Transpose, both scalings, the added bias, Softmax and the guard against NaN."""
        builder = self.builder
        scale = builder.constant(math.sqrt(1 / math.sqrt(head_dim)))
        turned = self._transpose_key(key)
        query = builder.node("Mul", query, scale)
        turned = builder.node("Mul", turned, scale)
        if mask not in self._biases:
            self._biases[mask] = builder.node("Where", mask, builder.constant(0.0), builder.constant(LEAST_FLOAT))
        scores = builder.node("Add", builder.node("MatMul", query, turned), self._biases[mask])
        weights = builder.node("Softmax", scores, axis=-1)
        weights = builder.node("Where", builder.node("IsNaN", weights), builder.constant(0.0), weights)
        return builder.node("MatMul", weights, value)

    def silu(self, hidden: Value) -> Value:
        """Spells Sigmoid, Mul."""
        return self.builder.node("Mul", hidden, self.builder.node("Sigmoid", hidden))

    def gelu(self, hidden: Value) -> Value:
        """Spells Gelu."""
        return self.builder.node("Gelu", hidden, approximate="none")

    def gelu_tanh(self, hidden: Value) -> Value:
        """Spells Mul, Pow, Mul, Add, Mul, Tanh, Add, Mul."""
        builder = self.builder
        half = builder.node("Mul", hidden, builder.constant(0.5))
        cubes = builder.node("Mul", builder.node("Pow", hidden, builder.constant(3.0)), builder.constant(0.044715))
        inner = builder.node("Mul", builder.node("Add", hidden, cubes), builder.constant(math.sqrt(2 / math.pi)))
        outer = builder.node("Add", builder.node("Tanh", inner), builder.constant(1.0))
        return builder.node("Mul", half, outer)

    def tokens(self, input_ids: Value) -> Value:
        """Spells Shape, Concat, Reshape."""
        builder = self.builder
        sequence = builder.node("Shape", input_ids, start=1, end=2)
        shape = builder.node("Concat", builder.constant([-1]), sequence, axis=0)
        return builder.node("Reshape", input_ids, shape, allowzero=1)

    def flat_mask(self, attention_mask: Value, input_ids: Value) -> Value:
        """Spells Shape, Concat, Reshape."""
        builder = self.builder
        batch = builder.node("Shape", input_ids, start=0, end=1)
        shape = builder.node("Concat", batch, builder.constant([-1]), axis=0)
        return builder.node("Reshape", attention_mask, shape, allowzero=1)

    def _set_lengths(self, tokens: Value, past: list[Value]) -> None:
        """Emits the lengths of the call."""
        if past:
            self._lengths = dynamo_masks.cached_lengths(self.builder, tokens, past)
        else:
            self._lengths = dynamo_masks.plain_lengths(self.builder, tokens)

    def _shape(self, *parts: Value | int) -> Value:
        """Joins lengths and numbers to a shape, which all that ask for the same one share."""
        if parts not in self._shapes:
            pieces = [part if isinstance(part, str) else self.builder.constant([part]) for part in parts]
            self._shapes[parts] = self.builder.node("Concat", *pieces, axis=0)
        return self._shapes[parts]

    def _transpose_key(self, key: Value) -> Value:
        """Turns `[b, h, t, d]` into `[b, h, d, t]` by way of three dimensions."""
        builder = self.builder
        last, before, least = (builder.constant([bound]) for bound in (-1, -2, INT64_MIN))
        shape = builder.node("Shape", key, start=0)
        width = builder.node("Slice", shape, last, builder.constant([INT64_MAX]))
        length = builder.node("Slice", shape, before, last)
        leading = builder.node("Slice", shape, least, before)
        flat = builder.node("Reshape", key, builder.node("Concat", last, length, width, axis=0), allowzero=0)
        flat = builder.node("Transpose", flat, perm=[0, 2, 1])
        return builder.node("Reshape", flat, builder.node("Concat", leading, width, length, axis=0), allowzero=0)
