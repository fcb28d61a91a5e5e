"""What keeps keys and values of an attention out of the columns of crossbars."""

from __future__ import annotations

from isa import Crossbar
from passes.ir import Cache, Node


def columns_problem(crossbar: Crossbar, node: Node, cache: Cache, is_filled: bool = False) -> str | None:
    """Why columns of arrays cannot hold the tokens of an attention's cache, whatever its size; `None` when they can.

    Args:
        crossbar: The arrays.
        node: The `cached_attention`.
        cache: Its cache.
        is_filled: Whether another graph of the program writes the keys and values that are given to the node.
    """
    if not crossbar.dual_access:
        return "values are used from the columns, and the arrays have no dual access"
    if node.optional(1) is None and not is_filled:
        return "its keys and values are given, not written token by token"
    if cache.is_compressed:
        return "its cache is compressed"
    if node.operand(0).shape[0] != 1:
        return "columns hold the tokens of one sequence: give --dim batch=1"
    return None
