"""Importer of RotaryEmbedding, as the products with cosines and sines that it stands for."""

from __future__ import annotations

from isa import InputError
from passes import Dim
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.attention import heads_apart, heads_joined
from pimc.frontend.operators.indexing import gathered
from pimc.frontend.operators.shape_ops import expanded, reshaped


def rotated(build: Builder, x: Operand, cos: Operand, sin: Operand, interleaved: bool) -> Operand:
    """Rotary embedding of x [B, heads, S, D] by cos and sin [B or 1, S, R/2]; elements from R on stay."""
    half = build.shape_of_rank(cos, 3)[-1]
    width = build.shape_of_rank(x, 4)[3]
    if isinstance(half, int) and isinstance(width, int) and half * 2 > width:
        raise InputError(f"tables of {half} pairs do not fit heads of {width} elements")
    turned = _cut(build, x, 0, half * 2)
    swapped = _swapped_pairs(build, turned) if interleaved else _swapped_halves(build, turned)
    a = build.emit("mul", [turned, _for_pairs(build, cos, interleaved)])
    b = build.emit("mul", [swapped, _for_pairs(build, sin, interleaved)])
    mixed = build.emit("add", [a, b])
    if build.shape(turned)[3] == width:
        return mixed
    return build.emit("concat", [mixed, _cut(build, x, half * 2, width)], {"axis": 3})


def _cut(build: Builder, x: Operand, start: Dim, stop: Dim) -> Operand:
    if (start, stop) == (0, build.shape(x)[3]):
        return x
    return build.emit("slice", [x], {"axis": 3, "start": start, "stop": stop, "step": 1})


def _swapped_halves(build: Builder, x: Operand) -> Operand:
    """(-second half, first half)."""
    width = build.shape(x)[3]
    first, second = _cut(build, x, 0, width // 2), _cut(build, x, width // 2, width)
    return build.emit("concat", [build.emit("neg", [second]), first], {"axis": 3})


def _swapped_pairs(build: Builder, x: Operand) -> Operand:
    """(-x1, x0, -x3, x2, ...)."""
    *front, width = build.shape(x)
    even, odd = (build.emit("slice", [x], {"axis": 3, "start": start, "stop": width, "step": 2}) for start in (0, 1))
    columns = [reshaped(build, piece, (*front, width // 2, 1)) for piece in (build.emit("neg", [odd]), even)]
    return reshaped(build, build.emit("concat", columns, {"axis": 4}), (*front, width))


def _for_pairs(build: Builder, table: Operand, interleaved: bool) -> Operand:
    """Cosines or sines [B or 1, S, R/2] for both members of every pair: [B or 1, 1, S, R]."""
    batch, length, half = build.shape_of_rank(table, 3)
    if not interleaved:
        return reshaped(build, build.emit("concat", [table, table], {"axis": 2}), (batch, 1, length, half * 2))
    column = reshaped(build, table, (batch, length, half, 1))
    return reshaped(build, expanded(build, column, (batch, length, half, 2)), (batch, 1, length, half * 2))


def rotary_tables(build: Builder, tables: tuple[Operand, Operand], positions: Operand | None) -> list[Operand]:
    """Cosines and sines [B or 1, S, R/2], looked up by position when there are positions."""
    if positions is None:
        return list(tables)
    return [gathered(build, table, positions, 0) for table in tables]


def _rotary_embedding(node: OnnxNode) -> Results:
    build, x = node.builder, node.operand(0)
    joined = build.rank(x) == 3
    apart = heads_apart(build, x, node.integer("num_heads")) if joined else x
    cos, sin = rotary_tables(build, (node.operand(1), node.operand(2)), node.optional(3))
    result = rotated(build, apart, cos, sin, bool(node.integer("interleaved", 0)))
    return heads_joined(build, result) if joined else result


ROTARY: dict[str, Importer] = {"RotaryEmbedding": _rotary_embedding}
