"""Attention in terms of products, softmax and masks, where it cannot work on a resident cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from passes.canonical.arithmetic import broadcast_shape
from passes.dims import Dim
from passes.explain import record
from passes.ir import Graph, Node, TensorType, Value
from passes.layout import head_major, token_major
from passes.ops import EXCLUDED_BELOW
from passes.recognition.attention_operands import Heads
from passes.rewriting import add, cast, prune, reshape, transpose

_WIDE = "float32"
_LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class ExpandAttention:
    """Replace every `attention` by operations that know nothing of heads, masks and caches.

    Precondition: what can be is `cached_attention` (`kv_cache`).
    Effect: scores are products per key head, which broadcasts to the query heads that share it; masks and windows
    are comparisons of positions. Excluded keys get the weight 0, so that a query without any gives zeros.
    Half precision operands are computed in float32. Present keys and values become the concatenated ones.
    Postcondition: there is no `attention`.
    """

    name: ClassVar[str] = "expand_attention"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        """Expand every attention; returns whether there was one."""
        nodes = [node for node in graph.nodes if node.op == "attention"]
        for node in nodes:
            _Expansion(graph, node).replace()
        record(graph, self.name, {"attention without a cache": len(nodes)})
        return bool(nodes)


class _Expansion:
    """The new nodes for one attention; `origins` is what they all come from."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node, self.origins = graph, node, node.origins
        self.heads, self.kv_heads = int(node.attributes["heads"]), int(node.attributes["kv_heads"])

    def replace(self) -> None:
        """Compute the results and let users take them."""
        keys, values = self._joined(1, 3), self._joined(2, 4)
        for old, new in zip(self.node.outputs[1:], (keys, values), strict=False):
            self.graph.replace_uses(old, new)
        batch, length, width = self.node.operand(0).shape
        query = head_major(
            self.graph, self._wide(self.node.operand(0)), (batch, self.heads, length, width // self.heads), self.origins
        )
        shape: Heads = (batch, self.heads, length, keys.shape[2])
        columns = transpose(self.graph, self._wide(keys), (0, 1, 3, 2), self.origins)
        scores = self._limited(self._by_key_head(query, columns))
        weights = self._weights(reshape(self.graph, scores, shape, self.origins))
        mixed = self._by_key_head(weights, self._wide(values))
        apart = reshape(self.graph, mixed, (batch, self.heads, length, values.shape[3]), self.origins)
        tokens = token_major(self.graph, apart, self.origins)
        result = cast(self.graph, tokens, self.node.output.type.dtype, self.origins)
        self.graph.replace_uses(self.node.output, result)
        prune(self.graph, self.node)

    def _wide(self, value: Value) -> Value:
        return cast(self.graph, value, _WIDE, self.origins)

    def _constant(self, number: float, dtype: str = _WIDE) -> Value:
        return self.graph.add_constant(np.asarray(number, dtype), "number")

    def _op(self, op: str, *operands: Value, dtype: str = _WIDE) -> Value:
        """An elementwise operation of operands that broadcast."""
        choices = operands[1:] if op == "where" else operands
        shape = broadcast_shape(list(operands)) or choices[0].shape
        return add(self.graph, op, operands, TensorType(dtype, tuple(shape)), self.origins)  # type: ignore[arg-type]

    def _joined(self, new: int, past: int) -> Value:
        """All keys or values [B, G, T, D]."""
        pieces = [] if self.node.optional(past) is None else [self.node.operand(past)]
        if self.node.optional(new) is not None:
            batch, length, width = self.node.operand(new).shape
            apart = (batch, self.kv_heads, length, width // self.kv_heads)
            pieces.append(head_major(self.graph, self.node.operand(new), apart, self.origins))
        if len(pieces) == 1:
            return pieces[0]
        batch, groups, length, width = pieces[1].shape
        kind = TensorType(pieces[1].type.dtype, (batch, groups, pieces[0].shape[2] + length, width))
        return add(self.graph, "concat", pieces, kind, self.origins, {"axis": 2})

    def _by_key_head(self, left: Value, right: Value) -> Value:
        """[B, H, S, X] times [B, G, X, Y] of the key head of each query head: [B, G, H/G, S, Y], or [B, H, S, Y]."""
        batch, _, length, inner = left.shape
        shared = self.heads // self.kv_heads
        if shared > 1:
            left = reshape(self.graph, left, (batch, self.kv_heads, shared, length, inner), self.origins)
            right = reshape(self.graph, right, (*right.shape[:2], 1, *right.shape[2:]), self.origins)
        kind = TensorType(_WIDE, (*left.shape[:-1], right.shape[-1]))
        return add(self.graph, "matmul", [left, right], kind, self.origins)

    def _limited(self, product: Value) -> Value:
        """Products times the scale, limited by the soft cap."""
        scores = self._op("mul", product, self._constant(float(self.node.attributes["scale"])))
        cap = float(self.node.attributes["softcap"])
        if cap == 0:
            return scores
        bent = self._op("tanh", self._op("div", scores, self._constant(cap)))
        return self._op("mul", bent, self._constant(cap))

    def _weights(self, scores: Value) -> Value:
        bias = self.node.optional(6)
        if bias is not None:
            scores = self._op("add", scores, self._wide(bias))
        allowed = self._allowed(scores.shape)
        if allowed is None:
            return add(self.graph, "softmax", [scores], scores.type, self.origins, {"axis": 3})
        masked = self._op("where", allowed, scores, self._constant(_LOWEST))
        weights = add(self.graph, "softmax", [masked], scores.type, self.origins, {"axis": 3})
        return self._op("where", allowed, weights, self._constant(0.0))

    def _allowed(self, scores: tuple[Dim, ...]) -> Value | None:
        """Which key serves which query; `None` when all do."""
        _, _, length, total = scores
        past = self.node.operand(3).shape[2] if self.node.optional(3) is not None else 0
        found: list[Value] = []
        if self.node.attributes["causal"] or self.node.attributes["window"]:
            keys = self._positions(0, total, (1, 1, 1, total))
            queries = self._positions(past, past + length, (1, 1, length, 1))
            if self.node.attributes["causal"]:
                found.append(self._op("less_equal", keys, queries, dtype="bool"))
            if window := int(self.node.attributes["window"]):
                lowest = self._op("sub", queries, self._constant(window, "int64"), dtype="int64")
                found.append(self._op("greater", keys, lowest, dtype="bool"))
        mask, bias = self.node.optional(5), self.node.optional(6)
        if mask is not None:
            found.append(reshape(self.graph, mask, (mask.shape[0], 1, 1, total), self.origins))
        if bias is not None:
            found.append(self._op("greater", self._wide(bias), self._constant(EXCLUDED_BELOW), dtype="bool"))
        result: Value | None = None
        for each in found:
            result = each if result is None else self._op("and", result, each, dtype="bool")
        return result

    def _positions(self, start: Dim, stop: Dim, shape: tuple[Dim, ...]) -> Value:
        attributes = {"start": start, "stop": stop, "step": 1, "to": "int64"}
        kind = TensorType("int64", (stop - start,))
        return reshape(self.graph, add(self.graph, "range", [], kind, self.origins, attributes), shape, self.origins)
