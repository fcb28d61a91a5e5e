"""Importers of ONNX Runtime's fused attention (domain com.microsoft), as the products and masks that it stands for."""

from __future__ import annotations

from isa import InputError, UnsupportedError
from passes import Dim
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.attention import (
    Scoring,
    Window,
    heads_apart,
    heads_joined,
    positions,
    usual_scale,
    weighted_values,
    window_mask,
)
from pimc.frontend.operators.elementwise import cast
from pimc.frontend.operators.padding import cut
from pimc.frontend.operators.shape_ops import reshaped

DOMAIN = "com.microsoft"


def refuse(node: OnnxNode, operands: dict[int, str], attributes: dict[str, int] | None = None) -> None:
    """Raise `UnsupportedError` when a node has an operand, or an attribute beside its default, that is not taken."""
    for index, what in operands.items():
        if node.optional(index) is not None:
            raise UnsupportedError(f"{node.operator} with {what} is not supported")
    for name, default in (attributes or {}).items():
        if name in node.attributes and node.attributes[name] != default:
            raise UnsupportedError(f"{node.operator} with {name} = {node.attributes[name]} is not supported")


def _attention(node: OnnxNode) -> Results:
    """Attention with its projections: input [B, S, K] times weights [K, 2*H*D + H*E]."""
    refuse(node, {6: "a shared cache"}, {"do_rotary": 0, "past_present_share_buffer": 0})
    build, heads, weights = node.builder, node.integer("num_heads"), node.operand(1)
    x = build.emit("matmul", [node.operand(0), weights])
    if node.optional(2) is not None:
        x = build.emit("add", [x, node.operand(2)])
    width = build.shape(weights)[1]
    sizes = node.integers("qkv_hidden_sizes") or ((width // 3,) * 3 if isinstance(width, int) else None)
    if sizes is None or len(sizes) != 3:
        raise InputError(f"the weights {weights.type} of Attention do not hold query, key and value")
    query, key, value = (
        heads_apart(build, part, heads) for part in build.emit_many("split", [x], {"axis": 2, "sizes": sizes})
    )
    past = node.optional(4)
    if past is not None:
        key, value = (
            _appended(build, _pair_member(build, past, place), each) for place, each in ((0, key), (1, value))
        )
    result, _ = weighted_values(build, query, key, value, _scoring(node, 3, 5, query, key))
    joined = heads_joined(build, result)
    return joined if node.result_count == 1 else (joined, _pair(build, key, value))


def _pair_member(build: Builder, pair: Operand, place: int) -> Operand:
    """Keys or values of [2, B, H, P, D]."""
    _, *shape = build.shape_of_rank(pair, 5)
    return reshaped(build, cut(build, pair, 0, place, place + 1), tuple(shape))


def _pair(build: Builder, key: Operand, value: Operand) -> Operand:
    columns = [reshaped(build, each, (1, *build.shape(each))) for each in (key, value)]
    return build.emit("concat", columns, {"axis": 0})


def _appended(build: Builder, past: Operand | None, new: Operand) -> Operand:
    return new if past is None else build.emit("concat", [past, new], {"axis": 2})


def _scoring(node: OnnxNode, mask_index: int, bias_index: int, query: Operand, key: Operand) -> Scoring:
    """What a mask forbids gets the attribute `mask_filter_value`; later positions are out in any case."""
    build, mask, bias = node.builder, node.optional(mask_index), node.optional(bias_index)
    queries, keys, dtype = build.shape(query)[2], build.shape(key)[2], query.type.dtype
    if mask is not None:
        blocked = build.scalar(node.number("mask_filter_value", -10000.0), dtype)
        term = build.emit("where", [_allowed_keys(node, mask, keys), build.scalar(0, dtype), blocked])
        bias = term if bias is None else build.emit("add", [bias, term])
    causal = Window(keys - queries, causal=bool(node.integer("unidirectional", 0)), left=-1, right=-1)
    scale = node.number("scale", 0.0) or usual_scale(node, query)
    return Scoring(scale, allowed=window_mask(build, queries, keys, causal), bias=bias)


def _allowed_keys(node: OnnxNode, mask: Operand, keys: Dim) -> Operand:
    """Bool [B, 1, 1 or S, T] of a mask [B, T], [B, S, T] or of the number of keys [B] of every sequence."""
    build, shape = node.builder, node.builder.shape(mask)
    if len(shape) == 1:
        if shape != build.shape(node.operand(0))[:1]:
            raise UnsupportedError(f"{node.operator} with the mask {mask.type} is not supported")
        counts = reshaped(build, cast(build, mask, "int64"), (*shape, 1, 1, 1))
        return build.emit("less", [positions(build, 1, keys, 0)[1], counts])
    if len(shape) not in (2, 3):
        raise UnsupportedError(f"{node.operator} with a mask of rank {len(shape)} is not supported")
    apart = reshaped(build, mask, (shape[0], 1, 1, shape[1]) if len(shape) == 2 else (shape[0], 1, *shape[1:]))
    return build.emit("greater", [apart, build.scalar(0, mask.type.dtype)])


def _multi_head_attention(node: OnnxNode) -> Results:
    """Attention after the projections; keys and values may come with their heads apart, as [B, H, L, D]."""
    refuse(node, {8: "a shared cache", 9: "beams"})
    build, heads = node.builder, node.integer("num_heads")
    parts = [node.operand(0), node.optional(1), node.optional(2)]
    if build.rank(node.operand(0)) != 3 or parts[1] is None or parts[2] is None:
        raise UnsupportedError("MultiHeadAttention of packed queries, keys and values is not supported")
    if node.optional(3) is not None:
        parts = _with_bias(build, parts, node.operand(3))
    query, key, value = (_heads(build, part, heads) for part in parts if part is not None)
    key, value = _appended(build, node.optional(6), key), _appended(build, node.optional(7), value)
    result, stages = weighted_values(build, query, key, value, _scoring(node, 4, 5, query, key))
    return (heads_joined(build, result), key, value, stages[0])[: max(1, node.result_count)]


def _with_bias(build: Builder, parts: list[Operand | None], bias: Operand) -> list[Operand | None]:
    """The projections' bias on query, key and value; those with their heads apart have it already."""
    widths = [build.shape(part)[2] if part is not None and build.rank(part) == 3 else 0 for part in parts]
    if 0 in widths or any(not isinstance(width, int) for width in widths):
        raise UnsupportedError("MultiHeadAttention with a bias on keys whose heads are apart is not supported")
    pieces = build.emit_many("split", [bias], {"axis": 0, "sizes": tuple(widths)})
    return [build.emit("add", [part, piece]) for part, piece in zip(parts, pieces, strict=True)]


def _heads(build: Builder, x: Operand, heads: int) -> Operand:
    return x if build.rank(x) == 4 else heads_apart(build, x, heads)


CONTRIB_ATTENTION: dict[tuple[str, str], Importer] = {
    (DOMAIN, "Attention"): _attention,
    (DOMAIN, "MultiHeadAttention"): _multi_head_attention,
}
