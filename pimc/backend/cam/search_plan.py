"""What a search of all keys takes: tiles, candidates, merges, checked against the CAM."""

from __future__ import annotations

from dataclasses import dataclass

from isa import Cam, Machine, ResourceLimitError, Symbol, UnsupportedError
from passes import BinaryKeys, Cache, Graph, Node, search_demands, size_problems

KEY_SPACE, VALUE_SPACE = "key", "value"
"""Spaces of symbols and regions whose addresses are rows of the CAM's memories."""


@dataclass(frozen=True)
class SearchPlan:
    """An attention on a CAM.

    Attributes:
        node: The attention.
        cache: Its keys and values.
        selection: How keys are scored and chosen.
        cam: The CAM.
        context: Tokens of the longest context, which every key/value head has room for.
        first_row: First row of its keys and values in their memories.
    """

    node: Node
    cache: Cache
    selection: BinaryKeys
    cam: Cam
    context: int
    first_row: int = 0

    @property
    def heads(self) -> int:
        """Query heads."""
        return int(self.node.attributes["heads"])

    @property
    def most_tiles(self) -> int:
        """Tiles of the longest context."""
        return -(-self.context // self.cam.rows)

    @property
    def first_tiles(self) -> int:
        """Tiles before the first merge."""
        return min(self.cam.first_merge_tiles, self.most_tiles)

    @property
    def rows(self) -> int:
        """Rows of its keys, and of its values."""
        return self.cache.kv_heads * self.context

    def row(self, head: int) -> int:
        """Row of the first key and value of a key/value head."""
        return self.first_row + head * self.context

    def symbols(self, name: str) -> tuple[Symbol, Symbol]:
        """Keys and values for the host."""
        return self._symbol(name, KEY_SPACE, self.cache.head_dim), self._symbol(name, VALUE_SPACE, self.cache.value_dim)

    def _symbol(self, name: str, space: str, width: int) -> Symbol:
        layout: dict[str, object] = {"kind": f"cam_{space}", "kv_heads": self.cache.kv_heads, "head_dim": width}
        layout |= {"max_tokens": self.context, "sequences": 1}
        return Symbol(f"{name}.{space}", space, self.first_row, self.rows, layout)


def cam_of(machine: Machine) -> Cam:
    """The CAM; raises `UnsupportedError` when the machine has none."""
    if machine.cam is None:
        raise UnsupportedError(f"the machine '{machine.name}' has no CAM (extension C)")
    return machine.cam


def search_plan(graph: Graph, node: Node, cam: Cam, context: int, first_row: int = 0) -> SearchPlan:
    """The plan of a search.

    Args:
        graph: The graph of the attention.
        node: The attention.
        cam: The CAM.
        context: Tokens of the longest context.
        first_row: First row of the memories that no other attention uses.

    Raises:
        UnsupportedError: the CAM cannot do what the attention's selection asks for.
        ResourceLimitError: the longest context does not fit.
    """
    cache = graph.caches[str(node.attributes["cache"])]
    selection = cache.compression.selection if cache.compression is not None else None
    if not isinstance(selection, BinaryKeys) or cache.compression is None or cache.compression.encoding is not None:
        raise UnsupportedError(
            f"the attention '{node.name}' does not search its keys by signs alone",
            help="run the pass binarize_attention, or give --kv cam",
        )
    if cache.compression.retention is not None:
        raise UnsupportedError(
            f"the cache '{cache.name}' forgets tokens, which a CAM does not",
            help="give --kv cam without other policies",
        )
    problems = list(size_problems(cam, cache, selection))
    if problems:
        raise UnsupportedError(f"the attention '{node.name}' does not fit the CAM", notes=problems)
    plan = SearchPlan(node, cache, selection, cam, context, first_row)
    _check_capacity(plan)
    return plan


def _check_capacity(plan: SearchPlan) -> None:
    notes = search_demands(plan.cam, plan.cache, plan.first_row + plan.rows, plan.context)
    if notes:
        raise ResourceLimitError(
            f"a context of {plan.context} tokens does not fit the CAM",
            notes=notes,
            help="lower --max-context, leave attention in the banks where there are any (--units attention=banks), or"
            " choose a machine with a larger CAM",
        )
