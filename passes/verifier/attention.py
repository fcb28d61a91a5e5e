"""Type rules of attention, with keys from a past or from a resident cache."""

from __future__ import annotations

from passes.dims import Dim
from passes.ir import Graph, Node, TensorType, Value
from passes.verifier.rules import floating, per_head, require


def attention(graph: Graph, node: Node) -> list[TensorType]:
    """The types of the result and of the present keys and values."""
    query, head_dim = _query(node)
    new, past = _new_values(node, head_dim), node.optional(4)
    require((node.optional(3) is None) == (past is None), "past_key and past_value must be given together")
    require(new is not None or past is not None, "there are neither new nor past keys")
    value_dim = _value_dim(node, new, past)
    past_length = _past_length(node, head_dim, value_dim)
    total = past_length + (0 if new is None else new.shape[1])
    _check_masks(node, 5, total)
    kept = node.operand(3 if new is None else 1).type.dtype
    shape = (query.shape[0], node.attributes["kv_heads"], total)
    return [_result(node, value_dim), *(TensorType(kept, (*shape, width)) for width in (head_dim, value_dim))]


def cached_attention(graph: Graph, node: Node) -> list[TensorType]:
    """The type of the result."""
    _, head_dim = _query(node)
    cache = graph.caches[node.attributes["cache"]]
    new = _new_values(node, head_dim)
    require(new is not None or cache.past_key is not None, "there are neither new nor past keys")
    value_dim = cache.value_dim if new is None else per_head(new.shape[2], node.attributes["kv_heads"], "value")
    said = (cache.kv_heads, cache.head_dim, cache.value_dim)
    found = (node.attributes["kv_heads"], head_dim, value_dim)
    require(said == found, f"the cache has (heads, key width, value width) {said}, but the operands have {found}")
    past = graph.signature.get(cache.past_key or "")
    total = None if past is None else past.shape[2] + (0 if new is None else new.shape[1])
    _check_masks(node, 3, total)
    return [_result(node, value_dim)]


def _query(node: Node) -> tuple[TensorType, int]:
    """The query's type and the elements of a head."""
    query, heads, kv_heads = floating(node.operand(0), "query"), node.attributes["heads"], node.attributes["kv_heads"]
    require(heads % kv_heads == 0, f"{heads} heads do not share {kv_heads} key heads evenly")
    require(query.rank == 3, f"query is {query}, but must have rank 3")
    return query, per_head(query.shape[2], heads, "query")


def _result(node: Node, value_dim: int) -> TensorType:
    query = node.operand(0).type
    return TensorType(query.dtype, (*query.shape[:2], node.attributes["heads"] * value_dim))


def _new_values(node: Node, head_dim: int) -> TensorType | None:
    """The type of the operand `value`, `None` when there are no new keys."""
    keys, values = node.optional(1), node.optional(2)
    require((keys is None) == (values is None), "key and value must be given together")
    if keys is None or values is None:
        return None
    query, key, value = node.operand(0).type, floating(keys, "key"), floating(values, "value")
    require(key.rank == value.rank == 3, f"key and value are {key} and {value}, but must have rank 3")
    width = per_head(key.shape[2], node.attributes["kv_heads"], "key")
    require(width == head_dim, f"heads of query and key differ: {query}, {key}")
    require(key.shape[:2] == value.shape[:2], f"key and value have different lengths: {key}, {value}")
    require(query.shape[0] == key.shape[0], f"query and key have different batches: {query}, {key}")
    return value


def _value_dim(node: Node, new: TensorType | None, past: Value | None) -> int:
    if new is not None:
        return per_head(new.shape[2], node.attributes["kv_heads"], "value")
    width = past.shape[-1] if past is not None and past.type.rank == 4 else None
    require(isinstance(width, int), f"past_value is {past}, but must be [batch, kv_heads, P, D]")
    assert isinstance(width, int)
    return width


def _past_length(node: Node, head_dim: int, value_dim: int) -> Dim:
    """P, after a check of the past keys and values."""
    past_key, past_value = node.optional(3), node.optional(4)
    if past_key is None or past_value is None:
        return 0
    length = floating(past_key, "past_key").shape[2] if past_key.type.rank == 4 else 0
    batch, kv_heads = node.operand(0).shape[0], node.attributes["kv_heads"]
    for value, width in ((past_key, head_dim), (past_value, value_dim)):
        wanted = (batch, kv_heads, length, width)
        text = ", ".join(str(dim) for dim in wanted)
        require(value.shape == wanted, f"'{value.name}' is {value.type}, but must have the shape [{text}]")
    return length


def _check_masks(node: Node, index: int, total: Dim | None) -> None:
    """The key mask at operand `index`, and the bias behind it."""
    mask, bias, batch = node.optional(index), node.optional(index + 1), node.operand(0).shape[0]
    if mask is not None:
        said = f"key_mask is {mask.type}"
        require(mask.type.dtype == "bool" and mask.type.rank == 2, f"{said}, but must be bool[batch, T]")
        require(mask.shape[0] in (1, batch), f"{said}, but the batch is {batch}")
        require(total is None or mask.shape[1] == total, f"{said}, but there are {total} keys")
    if bias is not None:
        scores = (batch, node.attributes["heads"], node.operand(0).shape[1], total)
        fits = floating(bias, "bias").rank == 4 and all(
            size in (1, whole) or whole is None for size, whole in zip(bias.shape, scores, strict=False)
        )
        text = ", ".join("T" if dim is None else str(dim) for dim in scores)
        require(fits, f"bias is {bias.type}, but must broadcast to [{text}]")
