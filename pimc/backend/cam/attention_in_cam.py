"""Attention over keys and values in a CAM, as the standard backend does it token by token.

A head's keys and values have a row for each token of the longest context, one head behind the other. Query heads use
the halves of value buffer and output buffer in turn.
"""

from __future__ import annotations

from functools import partial

from passes import Node
from pimc.backend.attention.attention_in_banks import ceil_div
from pimc.backend.cam.attention_code import QueryHead, SearchedKeys, emit_head
from pimc.backend.cam.search_plan import SearchPlan
from pimc.backend.emitter import Words, indexed
from pimc.backend.lowering import CacheRooms, Lowering


def append_signs(low: Lowering, node: Node) -> None:
    """Store the signs of the current token's key of every head."""
    rooms, plan = _rooms(low, node)
    width, position = plan.cache.head_dim, low.position(rooms.first)
    with low.contiguous(low.storage.row_part(node.operand(1))) as key:
        for head in range(plan.cache.kv_heads):
            low.emitter.emit("cstore", indexed(plan.row(head), position), (key + head * width).operand, width)


def append_searched_value(low: Lowering, node: Node) -> None:
    """Store the current token's value of every head."""
    rooms, plan = _rooms(low, node)
    width, position = plan.cache.value_dim, low.position(rooms.first)
    with low.contiguous(low.storage.row_part(node.operand(2))) as value:
        for head in range(plan.cache.kv_heads):
            low.emitter.emit("cvalue", indexed(plan.row(head), position), (value + head * width).operand, width)


def attend_in_cam(low: Lowering, node: Node, value_waits: bool) -> None:
    """Emit the attention of the current token; arguments as for `attend` in the banks."""
    rooms, plan = _rooms(low, node)
    if value_waits:
        append_searched_value(low, node)
    result = low.storage.define(node.output).words
    count = rooms.mechanism.end(low, rooms, is_causal=True)
    tiles = low.once(("tiles", count, plan.cam.rows), partial(ceil_div, low, count, plan.cam.rows))
    with low.contiguous(low.storage.aligned(node.operand(0), node)) as query:
        for head in range(plan.heads):
            row = plan.row(head // (plan.heads // plan.cache.kv_heads))
            places = QueryHead(
                (query + head * plan.cache.head_dim).operand,
                (result + head * plan.cache.value_dim).operand,
                head % 2,
            )
            emit_head(low.emitter, plan, SearchedKeys(Words(row), count, tiles), places)


def _rooms(low: Lowering, node: Node) -> tuple[CacheRooms, SearchPlan]:
    rooms = low.caches[str(node.attributes["cache"])]
    assert rooms.search is not None
    return rooms, rooms.search
