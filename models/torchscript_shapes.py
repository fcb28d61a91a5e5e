"""Shape arithmetic as torch's TorchScript exporter spells it: Shape and Gather per axis, Unsqueeze and Concat back."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper
from onnx_builder import GraphBuilder, Value


def axis_length(builder: GraphBuilder, tensor: Value, axis: int) -> Value:
    """Returns the length of an axis as a scalar."""
    shape = builder.node("Shape", tensor)
    return builder.node("Gather", shape, builder.constant(axis), axis=0)


def last_length(builder: GraphBuilder, tensor: Value) -> Value:
    """Returns the length of the last axis as a scalar, in the way of `tensor.size(-1)`."""
    shape = builder.node("Shape", tensor)
    axes, starts, ends = (builder.constant([bound]) for bound in (0, -1, (1 << 63) - 1))
    piece = builder.node("Slice", shape, starts, ends, axes)
    return builder.node("Squeeze", piece, builder.constant([0]))


def join(builder: GraphBuilder, *parts: Value | int) -> Value:
    """Joins scalars and numbers to a shape vector."""
    pieces = []
    for part in parts:
        if isinstance(part, int):
            pieces.append(builder.constant([part]))
        else:
            pieces.append(builder.node("Unsqueeze", part, builder.constant([0])))
    return builder.node("Concat", *pieces, axis=0)


def expand(builder: GraphBuilder, tensor: Value, *parts: Value | int) -> Value:
    """Expands to the joined shape, in which -1 keeps an axis as it is."""
    shape = builder.node("Reshape", join(builder, *parts), builder.constant([-1]), allowzero=0)
    ones = filled(builder, builder.node("Shape", shape), 1)
    kept = builder.node("Mul", ones, builder.constant(-1))
    shape = builder.node("Where", builder.node("Equal", shape, kept), ones, shape)
    return builder.node("Expand", tensor, shape)


def filled(builder: GraphBuilder, shape: Value, value: bool | int) -> Value:
    """Returns a tensor of that shape, full of `value`."""
    element = np.array([value], dtype=np.bool_ if isinstance(value, bool) else np.int64)
    return builder.node("ConstantOfShape", shape, value=numpy_helper.from_array(element))
