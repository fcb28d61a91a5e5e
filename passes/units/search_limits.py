"""What keeps an attention out of an associative memory."""

from __future__ import annotations

from collections.abc import Iterator

from isa import Cam
from passes.ir import Cache, Node
from passes.kv_policies import BinaryKeys
from passes.recognition.mask_sources import mask_input


def searching(cache: Cache | None) -> BinaryKeys | None:
    """How a cache's keys are searched by their signs; `None` when they are not."""
    compression = cache.compression if cache is not None else None
    selection = compression.selection if compression is not None else None
    return selection if isinstance(selection, BinaryKeys) else None


def search_problem(cam: Cam, node: Node, cache: Cache) -> str | None:
    """Why the memory cannot search the keys of an attention whose cache may be compressed; `None` when it can.

    Only what tells the memory from the banks is looked at: what no compressed cache can do is refused everywhere.
    Whether all keys of a context have room depends on the other attentions (`search_demands`).

    Args:
        cam: The memory.
        node: The `cached_attention`.
        cache: Its cache.
    """
    return "; ".join(_problems(cam, node, cache)) or None


def _problems(cam: Cam, node: Node, cache: Cache) -> Iterator[str]:
    compression, selection = cache.compression, searching(cache)
    if compression is None or selection is None:
        yield "its keys are not searched by signs, as --kv cam does"
        return
    if compression.encoding is not None or compression.retention is not None:
        yield "its cache forgets or encodes tokens, besides"
    mask = node.optional(3)
    if mask is not None and mask_input(mask) is None:
        yield "the model computes which keys are masked, and a search leaves no key out"
    yield from size_problems(cam, cache, selection)


def size_problems(cam: Cam, cache: Cache, selection: BinaryKeys) -> Iterator[str]:
    """What of a search is larger than the memory's circuits."""
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


def search_demands(cam: Cam, cache: Cache | None, rows: int, tokens: int) -> list[str]:
    """What is missing for searches over a context, as demand and bound; empty when there is room or nothing to search.

    Args:
        cam: The memory.
        cache: The cache that is searched.
        rows: Rows of key and value memory for all heads that lie in it.
        tokens: Tokens of the longest context.
    """
    selection = searching(cache)
    if selection is None:
        return []
    tiles, top = -(-tokens // cam.rows), selection.tile_top
    entries = min(cam.first_merge_tiles, tiles) * top
    if tiles > cam.first_merge_tiles:
        entries = max(entries, cam.kept + cam.merge_tiles * top)
    demands = (
        ("keys", rows, cam.keys),
        ("values", rows, cam.values),
        ("rows of the value buffer", tiles * top, cam.value_rows),
        ("candidates", entries, cam.candidates),
    )
    return [f"demand: {found} {what}; bound: {most}" for what, found, most in demands if found > most]
