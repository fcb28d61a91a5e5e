"""Importer of the operator Attention (operator set 23 on), as the products, masks and softmax that it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isa import InputError, Place, UnsupportedError
from passes import Dim
from pimc.frontend.builder import Builder, Operand
from pimc.frontend.onnx_node import Importer, OnnxNode, Results
from pimc.frontend.operators.elementwise import cast
from pimc.frontend.operators.matmul import scaled, transposed
from pimc.frontend.operators.shape_ops import expanded, reshaped
from pimc.frontend.symbols import dimensions_help
from pimc.frontend.tensors import dtype_name


def heads_apart(build: Builder, x: Operand, heads: int) -> Operand:
    """[B, S, heads*D] as [B, heads, S, D]."""
    batch, length, width = build.shape_of_rank(x, 3)
    if heads < 1:
        raise InputError(f"there cannot be {heads} heads")
    apart = reshaped(build, x, (batch, length, heads, width // heads))
    return build.emit("transpose", [apart], {"perm": (0, 2, 1, 3)})


def heads_joined(build: Builder, x: Operand) -> Operand:
    """[B, heads, S, D] as [B, S, heads*D]."""
    batch, heads, length, width = build.shape_of_rank(x, 4)
    if not isinstance(heads, int):
        raise UnsupportedError(f"the number of heads '{heads}' must be a number", help=dimensions_help([heads]))
    together = build.emit("transpose", [x], {"perm": (0, 2, 1, 3)})
    return reshaped(build, together, (batch, length, width * heads))


def repeated(build: Builder, x: Operand, heads: Dim) -> Operand:
    """[B, G, T, D] as [B, heads, T, D]: every key head serves heads / G query heads."""
    batch, groups, length, width = build.shape_of_rank(x, 4)
    if groups == heads:
        return x
    if not isinstance(groups, int) or not isinstance(heads, int) or not groups or heads % groups:
        raise InputError(f"{heads} query heads do not share {groups} key heads evenly")
    shape = (batch, groups, heads // groups, length, width)
    wide = expanded(build, reshaped(build, x, (batch, groups, 1, length, width)), shape)
    return reshaped(build, wide, (batch, heads, length, width))


@dataclass(frozen=True)
class Window:
    """Which keys a query at position p = offset + i may attend to, by position.

    Attributes:
        offset: Keys before the first query: a dimension, or an operand [B, 1, 1, 1].
        causal: Only keys up to p.
        left: Only keys from p - left on, -1 for all.
        right: Only keys up to p + right, -1 for all.
    """

    offset: Dim | Operand
    causal: bool
    left: int
    right: int


def window_mask(build: Builder, queries: Dim, keys: Dim, window: Window) -> Operand | None:
    """Bool mask [1 or B, 1, queries, keys], `None` when every key is allowed."""
    position, column = positions(build, queries, keys, window.offset)
    mask: Operand | None = None
    for limit, op in ((0 if window.causal else -1, "less_equal"), (window.right, "less_equal")):
        if limit >= 0:
            mask = both(build, mask, build.emit(op, [column, shifted(build, position, limit)]))
    if window.left >= 0:
        mask = both(build, mask, build.emit("greater_equal", [column, shifted(build, position, -window.left)]))
    return mask


def positions(build: Builder, queries: Dim, keys: Dim, offset: Dim | Operand) -> tuple[Operand, Operand]:
    """Positions of the queries [.., queries, 1] and of the keys [keys]."""
    start: Dim = 0 if isinstance(offset, Operand) else offset
    row = build.emit("range", [], {"start": start, "stop": start + queries, "step": 1, "to": "int64"})
    row = reshaped(build, row, (1, 1, queries, 1))
    if isinstance(offset, Operand):
        row = build.emit("add", [row, offset])
    return row, build.emit("range", [], {"start": 0, "stop": keys, "step": 1, "to": "int64"})


def shifted(build: Builder, x: Operand, distance: int) -> Operand:
    """Integers moved by a distance; nothing is emitted for 0."""
    return x if distance == 0 else build.emit("add", [x, build.scalar(distance, x.type.dtype)])


def both(build: Builder, a: Operand | None, b: Operand) -> Operand:
    """The conjunction of masks; `None` allows all."""
    return b if a is None else build.emit("and", [a, b])


def widened_mask(build: Builder, mask: Operand, keys: Dim) -> Operand:
    """A mask whose last axis is shorter than the keys forbids the rest."""
    shape = build.shape(mask)
    if shape[-1] in (1, keys) or build.symbols.resolve(keys) == shape[-1]:
        return mask
    if not (isinstance(keys, int) and isinstance(shape[-1], int)):
        build.symbols.unify(shape[-1], keys, "the attention mask")
        return mask
    blocked = build.scalar(False, "bool") if mask.type.dtype == "bool" else build.scalar(-math.inf, mask.type.dtype)
    rest = expanded(build, blocked, (*shape[:-1], keys - shape[-1]))
    return build.emit("concat", [mask, rest], {"axis": len(shape) - 1})


@dataclass(frozen=True)
class _Heads:
    """Operands of an Attention with the heads on axis 1."""

    query: Operand
    key: Operand
    value: Operand
    present_key: Operand
    present_value: Operand
    past: Dim
    joined: bool


def _heads(node: OnnxNode) -> _Heads:
    build = node.builder
    query, key, value = (node.operand(index) for index in range(3))
    joined = build.rank(query) == 3
    if joined:
        query = heads_apart(build, query, node.integer("q_num_heads"))
        key, value = (heads_apart(build, x, node.integer("kv_num_heads")) for x in (key, value))
    past: Dim = 0
    past_key, past_value = node.optional(4), node.optional(5)
    if past_key is not None and past_value is not None:
        past = build.shape_of_rank(past_key, 4)[2]
        key = build.emit("concat", [past_key, key], {"axis": 2})
        value = build.emit("concat", [past_value, value], {"axis": 2})
    heads = build.shape_of_rank(query, 4)[1]
    return _Heads(query, repeated(build, key, heads), repeated(build, value, heads), key, value, past, joined)


def _allowed(node: OnnxNode, queries: Dim, keys: Dim, past: Dim) -> Operand | None:
    """The masks that say yes or no: position, valid length, and a bool mask operand."""
    build, valid = node.builder, node.optional(6)
    offset: Dim | Operand = past
    mask: Operand | None = None
    if valid is not None:
        count = reshaped(build, cast(build, valid, "int64"), (*build.shape_of_rank(valid, 1), 1, 1, 1))
        mask = build.emit("less", [positions(build, queries, keys, 0)[1], count])
        here = build.emit("reshape", [build.dims([queries])], {"shape": ()})
        offset = build.emit("sub", [count, here])
    left, right = node.integer("left_window_size", -1), node.integer("right_window_size", -1)
    window = window_mask(build, queries, keys, Window(offset, bool(node.integer("is_causal", 0)), left, right))
    mask = mask if window is None else both(build, mask, window)
    given = node.optional(3)
    if given is not None and given.type.dtype == "bool":
        mask = both(build, mask, widened_mask(build, given, keys))
    return mask


@dataclass(frozen=True)
class Scoring:
    """How scores become weights.

    Attributes:
        scale: Factor on the scores; its root goes to the query and to the keys.
        softcap: Bound on the scores by tanh, 0 for none.
        allowed: Bool mask that broadcasts to [B, H, S, T], or `None`.
        bias: Added to the scores; broadcasts to [B, H, S, T], or `None`.
        precision: Element type of the softmax, `None` for that of the scores.
    """

    scale: float
    softcap: float = 0.0
    allowed: Operand | None = None
    bias: Operand | None = None
    precision: str | None = None


def weighted_values(
    build: Builder, query: Operand, key: Operand, value: Operand, scoring: Scoring
) -> tuple[Operand, tuple[Operand, ...]]:
    """Attention of query [B, H, S, D] to key [B, H, T, D] and value [B, H, T, E].

    Returns:
        The result [B, H, S, E], and the products, the capped scores, the masked scores and the weights.
    """
    root = math.sqrt(abs(scoring.scale))
    factor = math.copysign(root, scoring.scale)
    raw = build.emit("matmul", [scaled(build, query, factor), scaled(build, transposed(build, key), root)])
    capped = _soft_capped(build, raw, scoring.softcap)
    scores = capped if scoring.bias is None else build.emit("add", [capped, scoring.bias])
    if scoring.allowed is not None:
        scores = build.emit("where", [scoring.allowed, scores, build.scalar(-math.inf, scores.type.dtype)])
    weights = _softmax(build, scores, scoring)
    return build.emit("matmul", [weights, value]), (raw, capped, scores, weights)


def _softmax(build: Builder, scores: Operand, scoring: Scoring) -> Operand:
    """Softmax in the wanted precision; a row that is fully masked gives 0."""
    dtype = scores.type.dtype
    weights = build.emit("softmax", [cast(build, scores, scoring.precision or dtype)], {"axis": 3})
    if scoring.allowed is not None or scoring.bias is not None:
        zero = build.scalar(0, weights.type.dtype)
        weights = build.emit("where", [build.emit("is_nan", [weights]), zero, weights])
    return cast(build, weights, dtype)


def _attention(node: OnnxNode) -> Results:
    build, parts = node.builder, _heads(node)
    queries, keys = build.shape(parts.query)[2], build.shape(parts.key)[2]
    bias, precision = node.optional(3), node.integer("softmax_precision", 0)
    is_added = bias is not None and bias.type.dtype != "bool"
    scoring = Scoring(
        scale=node.number("scale", usual_scale(node, parts.query)),
        softcap=node.number("softcap", 0.0),
        allowed=_allowed(node, queries, keys, parts.past),
        bias=widened_mask(build, bias, keys) if bias is not None and is_added else None,
        precision=dtype_name(precision, Place(node=node.name)) if precision else None,
    )
    result, stages = weighted_values(build, parts.query, parts.key, parts.value, scoring)
    joined = heads_joined(build, result) if parts.joined else result
    return (joined, parts.present_key, parts.present_value, _shown(node, stages))


def usual_scale(node: OnnxNode, query: Operand) -> float:
    """Factor on the scores of query [B, H, S, D] where none is given: 1 / sqrt(D)."""
    width = node.builder.shape(query)[3]
    if not isinstance(width, int) or width < 1:
        raise UnsupportedError(f"the head size '{width}' must be a number", help=dimensions_help([width]))
    return 1 / math.sqrt(width)


def _shown(node: OnnxNode, stages: tuple[Operand, ...]) -> Operand:
    """The stage of the scores that the model wants to see."""
    mode = node.integer("qk_matmul_output_mode", 0)
    if mode not in range(len(stages)):
        raise InputError(f"the attribute 'qk_matmul_output_mode' of Attention is {mode}, but must be 0, 1, 2 or 3")
    return stages[mode]


def _soft_capped(build: Builder, scores: Operand, cap: float) -> Operand:
    if cap == 0:
        return scores
    return scaled(build, build.emit("tanh", [scaled(build, scores, 1 / cap)]), cap)


ATTENTION: dict[str, Importer] = {"Attention": _attention}
