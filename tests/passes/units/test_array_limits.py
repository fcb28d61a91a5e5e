"""What columns of crossbars cannot hold, by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from isa import load_machine
from passes import Cache, Compression, Graph, Node, Ring, TensorType, columns_problem

CACHE = Cache("cache", 2, 16, 16)
CROSSBAR = load_machine("reram-retransformer").crossbar


def _attention(batch: int, has_keys: bool) -> Node:
    graph = Graph("attention")
    query = graph.add_input("query", TensorType("float32", (batch, 5, 32)))
    facts: dict[str, Any] = {"heads": 2, "kv_heads": 2, "scale": 1.0, "causal": True, "window": 0, "softcap": 0.0}
    operands = [query, query, query] if has_keys else [query, None, None]
    return graph.add_node("cached_attention", operands, [query.type], {**facts, "cache": "cache"})


@pytest.mark.parametrize(
    ("node", "cache", "dual_access", "problem"),
    [
        (_attention(1, True), CACHE, True, None),
        (_attention(1, True), CACHE, False, "no dual access"),
        (_attention(1, False), CACHE, True, "given, not written"),
        (_attention(2, True), CACHE, True, "--dim batch=1"),
        (_attention(1, True), replace(CACHE, compression=Compression(Ring(8, 2))), True, "compressed"),
    ],
)
def test_what_columns_cannot_hold(node: Node, cache: Cache, dual_access: bool, problem: str | None) -> None:
    assert CROSSBAR is not None
    found = columns_problem(CROSSBAR.model_copy(update={"dual_access": dual_access}), node, cache)
    assert found is None if problem is None else found is not None and problem in found
