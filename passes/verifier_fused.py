"""Type rules of norms and of the operations that fusion makes."""

from __future__ import annotations

from passes.dims import Affine, Dim
from passes.ir import Graph, Node, TensorType, Value
from passes.ops import FLOAT_DTYPES
from passes.verifier_rules import Rule, require


def _float(value: Value, what: str) -> TensorType:
    require(value.type.dtype in FLOAT_DTYPES, f"{what} is {value.type}, but must be floating point")
    return value.type


def _optional(node: Node, index: int) -> Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _vector(node: Node, index: int, what: str, size: Dim) -> None:
    """An optional floating point vector of the given size."""
    value = _optional(node, index)
    if value is not None:
        require(_float(value, what).shape == (size,), f"{what} is {value.type}, but must have the shape [{size}]")


def _norm(graph: Graph, node: Node) -> list[TensorType]:
    kind = _float(node.operand(0), "x")
    require(kind.rank > 0, "x has rank 0")
    _vector(node, 1, "weight", kind.shape[-1])
    _vector(node, 2, "bias", kind.shape[-1])
    return [kind]


def _matrix(node: Node, index: int, what: str, inputs: Dim) -> Dim:
    """Number of outputs of a weight matrix with the given number of inputs."""
    kind = _float(node.operand(index), what)
    require(kind.rank == 2 and kind.shape[0] == inputs, f"{what} is {kind}, but must have the shape [{inputs}, N]")
    return kind.shape[1]


def _linear(graph: Graph, node: Node) -> list[TensorType]:
    kind = _float(node.operand(0), "x")
    require(kind.rank > 0, "x has rank 0")
    outputs = _matrix(node, 1, "weight", kind.shape[-1])
    _vector(node, 2, "bias", outputs)
    return [TensorType(kind.dtype, (*kind.shape[:-1], outputs))]


def _feed_forward(graph: Graph, node: Node) -> list[TensorType]:
    kind = _float(node.operand(0), "x")
    require(kind.rank > 0, "x has rank 0")
    hidden = _matrix(node, 1, "up", kind.shape[-1])
    _vector(node, 2, "up_bias", hidden)
    if _optional(node, 3) is not None:
        require(_matrix(node, 3, "gate", kind.shape[-1]) == hidden, "gate and up have different numbers of outputs")
    else:
        require(_optional(node, 4) is None, "gate_bias is given without gate")
    _vector(node, 4, "gate_bias", hidden)
    outputs = _matrix(node, 5, "down", hidden)
    _vector(node, 6, "down_bias", outputs)
    return [TensorType(kind.dtype, (*kind.shape[:-1], outputs))]


def _rotary(graph: Graph, node: Node) -> list[TensorType]:
    kind, cos, sin = (_float(node.operand(i), name) for i, name in enumerate(("x", "cos", "sin")))
    require(kind.rank == 3, f"x is {kind}, but must have rank 3")
    width = _per_head(kind.shape[2], node.attributes["heads"], "x")
    require(cos.shape == sin.shape, f"cos is {cos}, but sin is {sin}")
    require(cos.rank == 3 and cos.shape[0] in (1, kind.shape[0]), f"cos is {cos}, but must be [batch, length, half]")
    require(cos.shape[1] == kind.shape[1], f"cos is {cos}, but x has {kind.shape[1]} rows")
    half = cos.shape[2]
    require(isinstance(half, int) and 2 * half <= width, f"cos is {cos}, but a head has {width} elements")
    return [kind]


def _per_head(width: Dim, heads: int, what: str) -> int:
    require(not isinstance(width, Affine) and width % heads == 0, f"{what} of width {width} has no {heads} equal heads")
    assert isinstance(width, int)
    return width // heads


def _attention_shapes(node: Node) -> tuple[TensorType, int, int, TensorType]:
    """The query's type, elements of a key head and of a value head, and the result's type."""
    query, key, value = (_float(node.operand(i), name) for i, name in enumerate(("query", "key", "value")))
    heads, kv_heads = node.attributes["heads"], node.attributes["kv_heads"]
    require(heads % kv_heads == 0, f"{heads} heads do not share {kv_heads} key heads evenly")
    require(query.rank == key.rank == value.rank == 3, f"query, key and value are {query}, {key} and {value}")
    head_dim, value_dim = _per_head(key.shape[2], kv_heads, "key"), _per_head(value.shape[2], kv_heads, "value")
    require(_per_head(query.shape[2], heads, "query") == head_dim, f"heads of query and key differ: {query}, {key}")
    require(key.shape[:2] == value.shape[:2], f"key and value have different lengths: {key}, {value}")
    require(query.shape[0] == key.shape[0], f"query and key have different batches: {query}, {key}")
    return query, head_dim, value_dim, TensorType(query.dtype, (*query.shape[:2], heads * value_dim))


def _mask(node: Node, index: int, batch: Dim, total: Dim | None) -> None:
    mask = _optional(node, index)
    if mask is None:
        return
    require(mask.type.dtype == "bool" and mask.type.rank == 2, f"key_mask is {mask.type}, but must be bool[batch, T]")
    require(mask.shape[0] in (1, batch), f"key_mask is {mask.type}, but the batch is {batch}")
    require(total is None or mask.shape[1] == total, f"key_mask is {mask.type}, but there are {total} keys")


def _attention(graph: Graph, node: Node) -> list[TensorType]:
    query, head_dim, value_dim, result = _attention_shapes(node)
    key, batch, kv_heads = node.operand(1).type, query.shape[0], node.attributes["kv_heads"]
    pasts = [_optional(node, 3), _optional(node, 4)]
    require((pasts[0] is None) == (pasts[1] is None), "past_key and past_value must be given together")
    past: Dim = 0
    if pasts[0] is not None and pasts[1] is not None:
        past = _float(pasts[0], "past_key").shape[2] if pasts[0].type.rank == 4 else 0
        for value, width in zip(pasts, (head_dim, value_dim), strict=True):
            assert value is not None
            wanted = (batch, kv_heads, past, width)
            require(value.shape == wanted, f"'{value.name}' is {value.type}, but must have the shape {_text(wanted)}")
    total = past + key.shape[1]
    _mask(node, 5, batch, total)
    presents = [TensorType(key.dtype, (batch, kv_heads, total, width)) for width in (head_dim, value_dim)]
    return [result, *presents]


def _cached_attention(graph: Graph, node: Node) -> list[TensorType]:
    query, head_dim, value_dim, result = _attention_shapes(node)
    cache = graph.caches[node.attributes["cache"]]
    said = (cache.kv_heads, cache.head_dim, cache.value_dim)
    found = (node.attributes["kv_heads"], head_dim, value_dim)
    require(said == found, f"the cache has (heads, key width, value width) {said}, but the operands have {found}")
    past = graph.signature.get(cache.past_key or "")
    total = None if past is None else past.shape[2] + node.operand(1).shape[1]
    _mask(node, 3, query.shape[0], total)
    return [result]


def _text(shape: tuple[Dim, ...]) -> str:
    return f"[{', '.join(str(dim) for dim in shape)}]"


FUSED_RULES: dict[str, Rule] = {
    "layer_norm": _norm,
    "rms_norm": _norm,
    "linear": _linear,
    "feed_forward": _feed_forward,
    "rotary": _rotary,
    "attention": _attention,
    "cached_attention": _cached_attention,
}
