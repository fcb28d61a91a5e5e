"""Importer of GroupQueryAttention (domain com.microsoft): rotary embedding, cache and grouped heads in one operator."""

from __future__ import annotations

from dataclasses import dataclass

from isa import InputError, UnsupportedError
from passes import Dim
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.attention import (
    Scoring,
    Window,
    heads_apart,
    heads_joined,
    repeated,
    usual_scale,
    weighted_values,
    widened_mask,
    window_mask,
)
from pimc.frontend.operators.contrib_attention import DOMAIN, refuse
from pimc.frontend.operators.elementwise import cast
from pimc.frontend.operators.rotary import rotary_tables, rotated
from pimc.frontend.operators.scatter import grid, scalar_dim
from pimc.frontend.operators.shape_ops import expanded, reshaped

_NOT_TAKEN = {
    11: "a sink", 12: "a quantised cache", 13: "a quantised cache", 14: "norms", 15: "norms", 16: "packed queries"
}  # fmt: skip
_DEFAULTS = {
    "smooth_softmax": 0, "qk_output": 0, "kv_cache_bit_width": 0, "sliding_window_cache": 0, "causal": 1
}  # fmt: skip


@dataclass(frozen=True)
class _Cache:
    """Where the new tokens of every sequence stand.

    Attributes:
        past: Keys before the run that there is room for.
        used: int64 [B, 1, 1, 1] of those that are in use, `None` where all of them are.
    """

    past: Dim
    used: Operand | None


def _projections(node: OnnxNode) -> tuple[Operand, Operand, Operand]:
    """Query [B, H, S, D], key and value [B, G, S, D], which may come as one operand."""
    build, heads, groups = node.builder, node.integer("num_heads"), node.integer("kv_num_heads")
    query, key, value = node.operand(0), node.optional(1), node.optional(2)
    if key is None or value is None:
        width = build.shape_of_rank(query, 3)[2]
        if not isinstance(width, int) or width % (heads + 2 * groups):
            raise InputError(f"the operand {query.type} does not hold {heads} query and 2 * {groups} key heads")
        size = width // (heads + 2 * groups)
        sizes = (heads * size, groups * size, groups * size)
        query, key, value = build.emit_many("split", [query], {"axis": 2, "sizes": sizes})
    return heads_apart(build, query, heads), heads_apart(build, key, groups), heads_apart(build, value, groups)


def _cache(node: OnnxNode, queries: Dim) -> _Cache:
    """A single sequence uses all of its past; of several, each uses what its length says."""
    build, past = node.builder, node.optional(3)
    room: Dim = 0 if past is None else build.shape_of_rank(past, 4)[2]
    if build.shape(node.operand(0))[0] == 1 or room == 0:
        return _Cache(room, None)
    lengths = cast(build, node.operand(5), "int64")
    before = build.emit("sub", [lengths, build.emit("sub", [scalar_dim(build, queries), build.scalar(1, "int64")])])
    used = build.emit("max", [before, build.scalar(0, "int64")])
    return _Cache(room, reshaped(build, used, (build.shape(node.operand(0))[0], 1, 1, 1)))


def _rotated(node: OnnxNode, x: Operand, cache: _Cache) -> Operand:
    build, given = node.builder, node.optional(9)
    batch, _, length, _ = build.shape(x)
    row = build.emit("range", [], {"start": 0, "stop": length, "step": 1, "to": "int64"})
    if given is not None:
        positions = given
    elif cache.used is not None:
        positions = build.emit("add", [reshaped(build, row, (1, length)), reshaped(build, cache.used, (batch, 1))])
    else:
        moved = {"start": cache.past, "stop": cache.past + length, "step": 1, "to": "int64"}
        positions = reshaped(build, build.emit("range", [], moved), (1, length))
    cos, sin = rotary_tables(build, (node.operand(7), node.operand(8)), positions)
    return rotated(build, x, cos, sin, bool(node.integer("rotary_interleaved", 0)))


def _appended(build: Builder, past: Operand | None, new: Operand, cache: _Cache) -> Operand:
    """Past and new keys; where a sequence does not use all of its past, the new ones follow what it uses."""
    if past is None:
        return new
    joined = build.emit("concat", [past, new], {"axis": 2})
    if cache.used is None:
        return joined
    shape = build.shape(joined)
    row = grid(build, (shape[0], 1, shape[2], 1), 2)
    gap = build.emit("sub", [scalar_dim(build, cache.past), cache.used])
    last = build.emit("sub", [scalar_dim(build, shape[2]), build.scalar(1, "int64")])
    later = build.emit("min", [build.emit("add", [row, gap]), last])
    source = build.emit("where", [build.emit("less", [row, cache.used]), row, later])
    found = build.emit("gather_elements", [joined, expanded(build, source, shape)], {"axis": 2})
    end = build.emit("add", [cache.used, scalar_dim(build, build.shape(new)[2])])
    return build.emit("where", [build.emit("less", [row, end]), found, build.scalar(0, found.type.dtype)])


def _group_query_attention(node: OnnxNode) -> Results:
    """Causal attention; the cache has room for past and new tokens, as the model's outputs say."""
    refuse(node, _NOT_TAKEN, _DEFAULTS)
    build, heads = node.builder, node.integer("num_heads")
    query, key, value = _projections(node)
    queries = build.shape(query)[2]
    cache = _cache(node, queries)
    if node.integer("do_rotary", 0):
        query, key = _rotated(node, query, cache), _rotated(node, key, cache)
    key, value = _appended(build, node.optional(3), key, cache), _appended(build, node.optional(4), value, cache)
    keys, window = build.shape(key)[2], node.integer("local_window_size", -1)
    offset = cache.past if cache.used is None else cache.used
    allowed = window_mask(
        build, queries, keys, Window(offset, causal=True, left=window - 1 if window > 0 else -1, right=-1)
    )
    bias = node.optional(10)
    scoring = Scoring(
        scale=node.number("scale", 0.0) or usual_scale(node, query),
        softcap=node.number("softcap", 0.0),
        allowed=allowed,
        bias=None if bias is None else widened_mask(build, bias, keys),
    )
    result, _ = weighted_values(build, query, repeated(build, key, heads), repeated(build, value, heads), scoring)
    if node.result_count > 3:
        raise UnsupportedError("GroupQueryAttention that shows its scores is not supported")
    return (heads_joined(build, result), key, value)[: max(1, node.result_count)]


GROUPED_ATTENTION: dict[tuple[str, str], Importer] = {(DOMAIN, "GroupQueryAttention"): _group_query_attention}
