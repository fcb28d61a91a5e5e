"""Importers of the fused operators that ONNX Runtime's optimiser writes (domain com.microsoft)."""

from __future__ import annotations

import numpy as np

from isa import InputError, UnsupportedError
from pimc.frontend.builder import Array, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.attention import heads_apart, heads_joined
from pimc.frontend.operators.elementwise import cast
from pimc.frontend.operators.indexing import gathered
from pimc.frontend.operators.matmul import scaled, transposed
from pimc.frontend.operators.normalization import layer_norm
from pimc.frontend.operators.rotary import rotary_tables, rotated
from pimc.frontend.operators.shape_ops import expanded, reshaped

DOMAIN = "com.microsoft"


def _with_bias(node: OnnxNode) -> Operand:
    bias = node.optional(1)
    return node.operand(0) if bias is None else node.builder.emit("add", [node.operand(0), bias])


def _gelu(node: OnnxNode) -> Results:
    return node.builder.emit("gelu", [_with_bias(node)], {"approximate": "none"})


def _fast_gelu(node: OnnxNode) -> Results:
    return node.builder.emit("gelu", [_with_bias(node)], {"approximate": "tanh"})


def _quick_gelu(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    return build.emit("mul", [x, build.emit("sigmoid", [scaled(build, x, node.number("alpha", 1.702))])])


def _fused_matmul(node: OnnxNode) -> Results:
    """alpha * A' * B' with the last two axes of A and B exchanged on request."""
    build = node.builder
    if node.integer("transBatchA", 0) or node.integer("transBatchB", 0):
        raise UnsupportedError("FusedMatMul with transposed batch axes is not supported")
    a = transposed(build, node.operand(0)) if node.integer("transA", 0) else node.operand(0)
    b = transposed(build, node.operand(1)) if node.integer("transB", 0) else node.operand(1)
    return scaled(build, build.emit("matmul", [a, b]), node.number("alpha", 1.0))


def _rotary_embedding(node: OnnxNode) -> Results:
    """As the standard operator, but positions stand before the tables; one position alone is that of the first row."""
    build, x, positions = node.builder, node.operand(0), node.operand(1)
    if node.number("scale", 1.0) != 1.0 or node.integer("is_packed_batching", 0):
        raise UnsupportedError("RotaryEmbedding with scaling or packed batches is not supported")
    length = build.shape(x)[1] if build.rank(x) == 3 else build.shape_of_rank(x, 4)[2]
    if build.shape(positions) == (1,) and length != 1:
        rows = build.emit("range", [], {"start": 0, "stop": length, "step": 1, "to": "int64"})
        positions = reshaped(build, build.emit("add", [rows, cast(build, positions, "int64")]), (1, length))
    elif build.rank(positions) == 1:
        positions = reshaped(build, positions, (1, 1))
    cos, sin = rotary_tables(build, (node.operand(2), node.operand(3)), positions)
    apart = x if build.rank(x) == 4 else heads_apart(build, x, _rotary_heads(node, x))
    result = rotated(build, apart, cos, sin, bool(node.integer("interleaved", 0)))
    return result if build.rank(x) == 4 else heads_joined(build, result)


def _rotary_heads(node: OnnxNode, x: Operand) -> int:
    """Number of heads: said, or such that the tables rotate whole heads."""
    said = node.integer("num_heads", 0)
    width, half = node.builder.shape(x)[2], node.builder.shape_of_rank(node.operand(2), 2)[1]
    if not isinstance(width, int) or not isinstance(half, int):
        raise UnsupportedError(f"the width {width} and its tables' width {half} must be numbers")
    return said or width // (half * 2)


def _embed_layer_normalization(node: OnnxNode) -> Results:
    """Word, position and segment embeddings, added and normalised."""
    build, ids, segments, positions = node.builder, node.operand(0), node.optional(1), node.optional(8)
    length = build.shape_of_rank(ids, 2)[1]
    if positions is None:
        row = build.emit("range", [], {"start": 0, "stop": length, "step": 1, "to": "int64"})
        positions = reshaped(build, row, (1, length))
    total = gathered(build, node.operand(2), ids, 0)
    total = build.emit("add", [total, gathered(build, node.operand(3), positions, 0)])
    if segments is not None:
        total = build.emit("add", [total, gathered(build, node.operand(4), segments, 0)])
    result = layer_norm(build, total, node.operand(5), node.optional(6), 2, node.number("epsilon", 1e-12))
    return (result, _mask_index(node, ids), total)[: node.result_count]


def _mask_index(node: OnnxNode, ids: Operand) -> Operand:
    """The number of attended tokens of each sequence, 0 without a mask."""
    build, mask = node.builder, node.optional(7)
    if mask is None:
        return expanded(build, build.scalar(0, "int32"), build.shape(ids)[:1])
    is_one = build.emit("equal", [mask, build.scalar(1, mask.type.dtype)])
    return build.emit("reduce_sum", [cast(build, is_one, "int32")], {"axes": (1,), "keepdims": False})


def _matmul_nbits(node: OnnxNode) -> Results:
    """A product with a weight of 2, 4 or 8 bits, which is unpacked here, once."""
    build, a = node.builder, node.operand(0)
    if node.optional(4) is not None:
        raise UnsupportedError("MatMulNBits with a group index is not supported")
    weight = build.constant(_unpacked(node).astype(a.type.dtype))
    result = build.emit("matmul", [a, weight])
    bias = node.optional(5)
    return result if bias is None else build.emit("add", [result, bias])


def _unpacked(node: OnnxNode) -> Array:
    """The weight [K, N]: code minus zero point, times scale, per block of `block_size` inputs of an output."""
    inputs, outputs, bits = node.integer("K"), node.integer("N"), node.integer("bits", 4)
    size = node.integer("block_size")
    if bits not in (2, 4, 8) or size < 1:
        raise UnsupportedError(f"MatMulNBits with {bits} bits in blocks of {size} is not supported")
    blocks = -(-inputs // size)
    _check_sizes(node, (outputs * blocks * (size * bits // 8), outputs * blocks))
    codes = _codes(_contents(node, 1), bits).reshape(outputs, blocks, -1)[:, :, :size]
    scales = _contents(node, 2).reshape(outputs, blocks, 1)
    zero = np.full((outputs, blocks, 1), float(1 << (bits - 1)), np.float32)
    if node.optional(3) is not None:
        zero = _zero_points(_contents(node, 3), bits, outputs, blocks)
    weight = (codes.astype(np.float32) - zero) * scales.astype(np.float32)
    return np.ascontiguousarray(weight.reshape(outputs, -1)[:, :inputs].T)


def _check_sizes(node: OnnxNode, wanted: tuple[int, int]) -> None:
    for index, size in zip((1, 2), wanted, strict=True):
        found = _contents(node, index).size
        if found != size:
            raise InputError(f"operand {index} of {node.operator} has {found} elements, but must have {size}")


def _zero_points(stored: Array, bits: int, outputs: int, blocks: int) -> Array:
    if stored.dtype.kind == "f":
        return stored.reshape(outputs, blocks, 1).astype(np.float32)
    codes = _codes(stored.reshape(outputs, -1), bits)[:, :blocks]
    return codes.reshape(outputs, blocks, 1).astype(np.float32)


def _codes(packed: Array, bits: int) -> Array:
    """Small unsigned numbers out of bytes, lowest bits first, along the last axis."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    apart = (packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)
    return apart.reshape(*packed.shape[:-1], -1)


def _contents(node: OnnxNode, index: int) -> Array:
    operand = node.operand(index)
    if operand.constant is None:
        raise UnsupportedError(f"operand {index} of {node.operator} must be a weight")
    return operand.constant


CONTRIB: dict[tuple[str, str], Importer] = {
    (DOMAIN, "BiasGelu"): _gelu,
    (DOMAIN, "Gelu"): _gelu,
    (DOMAIN, "FastGelu"): _fast_gelu,
    (DOMAIN, "QuickGelu"): _quick_gelu,
    (DOMAIN, "FusedMatMul"): _fused_matmul,
    (DOMAIN, "RotaryEmbedding"): _rotary_embedding,
    (DOMAIN, "EmbedLayerNormalization"): _embed_layer_normalization,
    (DOMAIN, "MatMulNBits"): _matmul_nbits,
}
