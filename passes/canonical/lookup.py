"""Rules that turn general lookups into `gather` where they take whole rows; none of them changes a result."""

from __future__ import annotations

import numpy as np

from passes.ir import Graph, Node, Value
from passes.recognition.matching import producer
from passes.rewriting import add, reshape


def gather_nd_of_rows(graph: Graph, node: Node) -> Value | None:
    """gather_nd by indices [..., 1] -> gather of the first axis."""
    x, indices = node.operand(0), node.operand(1)
    if node.attributes["batch_dims"] != 0 or indices.shape[-1] != 1:
        return None
    places = reshape(graph, indices, indices.shape[:-1], node.origins)
    return add(graph, "gather", [x, places], node.output.type, node.origins, {"axis": 0})


def gather_elements_of_rows(graph: Graph, node: Node) -> Value | None:
    """gather_elements from a constant [B, N, W] that is the same for all B, by indices that are the same for all W.

    It becomes a gather of rows of [N, W]; rotary tables are looked up like that.
    """
    x, indices = node.operand(0), node.operand(1)
    if x.constant is None or x.type.rank != 3 or node.attributes["axis"] not in (1, -2):
        return None
    array = np.asarray(x.constant)
    places = _one_a_row(indices)
    if places is None or x.shape[2] != indices.shape[2] or not np.all(array == array[:1]):
        return None
    table = graph.add_constant(array[0], x.name, x.type.dtype)
    rows = reshape(graph, places, indices.shape[:2], node.origins)
    return add(graph, "gather", [table, rows], node.output.type, node.origins, {"axis": 0})


def _one_a_row(indices: Value) -> Value | None:
    """What [B, S] was repeated along a new last axis, when `indices` [B, S, W] is that."""
    node = producer(indices, "reshape")
    repeat = producer(indices if node is None else node.operand(0), "expand")
    if repeat is None:
        return None
    source, target = list(repeat.operand(0).shape), list(repeat.output.shape)
    while len(target) > 1 and target[-1] == source[-1] == 1:
        del source[-1], target[-1]
    fits = [dim for dim in target if dim != 1] == [dim for dim in indices.shape if dim != 1]
    is_row = source[-1] == 1 and target[-1] == indices.shape[-1] and source[:-1] == target[:-1]
    return repeat.operand(0) if fits and is_row else None
