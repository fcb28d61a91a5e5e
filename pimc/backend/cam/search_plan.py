"""What a search of all keys takes: tiles, candidates, merges, checked against the CAM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isa import Cam, Machine, ResourceLimitError, UnsupportedError
from passes import BinaryKeys, Cache, Graph, Node


@dataclass(frozen=True)
class SearchPlan:
    """An attention on a CAM.

    Attributes:
        node: The attention.
        cache: Its keys and values.
        selection: How keys are scored and chosen.
        cam: The CAM.
        context: Tokens of the longest context, which every key/value head has room for.
    """

    node: Node
    cache: Cache
    selection: BinaryKeys
    cam: Cam
    context: int

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


def cam_of(machine: Machine) -> Cam:
    """The CAM; raises `UnsupportedError` when the machine has none."""
    if machine.cam is None:
        raise UnsupportedError(f"the machine '{machine.name}' has no CAM (extension C)")
    return machine.cam


def search_plan(graph: Graph, node: Node, cam: Cam, context: int) -> SearchPlan:
    """The plan of a search.

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
    problems = list(_problems(cache, selection, cam))
    if problems:
        raise UnsupportedError(f"the attention '{node.name}' does not fit the CAM", notes=problems)
    plan = SearchPlan(node, cache, selection, cam, context)
    _check_capacity(plan)
    return plan


def _problems(cache: Cache, selection: BinaryKeys, cam: Cam) -> Iterator[str]:
    if selection.tile != cam.rows:
        yield f"tiles of {selection.tile} keys; the array holds {cam.rows}"
    bounds = (
        ("candidates of a tile", selection.tile_top, cam.tile_top),
        ("bits of a code", selection.code_bits, cam.code_bits),
        ("winners", selection.count, cam.kept),
        ("channels of a key", cache.head_dim, cam.columns),
        ("elements of a value", cache.value_dim, cam.value_elements),
    )
    yield from (f"{found} {what}; the CAM has {most}" for what, found, most in bounds if found > most)


def _check_capacity(plan: SearchPlan) -> None:
    cam, top = plan.cam, plan.selection.tile_top
    rows = plan.cache.kv_heads * plan.context
    entries = plan.first_tiles * top
    if plan.most_tiles > cam.first_merge_tiles:
        entries = max(entries, cam.kept + cam.merge_tiles * top)
    demands = (
        ("keys", rows, cam.keys),
        ("values", rows, cam.values),
        ("rows of the value buffer", plan.most_tiles * top, cam.value_rows),
        ("candidates", entries, cam.candidates),
    )
    notes = [f"demand: {found} {what}; bound: {most}" for what, found, most in demands if found > most]
    if notes:
        raise ResourceLimitError(
            f"a context of {plan.context} tokens does not fit the CAM",
            notes=notes,
            help="lower --max-context, or choose a machine with a larger CAM",
        )
