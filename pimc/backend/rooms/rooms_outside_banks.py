"""Rooms of KV caches in crossbars and in the CAM."""

from __future__ import annotations

from dataclasses import replace

from isa import Machine, MachineError, Region, UnsupportedError
from passes import Cache, Graph, Node
from pimc.backend.caches.choice import mechanism_of, selection_of
from pimc.backend.cam.search_plan import KEY_SPACE, VALUE_SPACE, cam_of, search_plan
from pimc.backend.crossbar.cache_arrays import ARRAY_SPACE, array_rooms
from pimc.backend.lowering import CacheRooms
from pimc.backend.rooms.cache_sizes import CacheSizes
from pimc.backend.rooms.host_rooms import HostRooms, symbol_name
from pimc.kv_layout import KvLayout


def rooms_in_arrays(
    graph: Graph, machine: Machine, cache: Cache, size: CacheSizes, rooms: HostRooms, earlier: CacheRooms | None
) -> CacheRooms:
    """Groups of arrays behind those that are taken, unless an earlier graph has placed the cache."""
    if machine.crossbar is None:
        raise MachineError(f"the machine '{machine.name}' has no crossbars for the cache '{cache.name}'")
    if earlier is not None:
        return _as_earlier(cache, size, earlier, "crossbar")
    first_group = _end(rooms, ARRAY_SPACE) // machine.crossbar.columns
    arrays = array_rooms(_attention(graph, cache), cache, machine, first_group, size.most_tokens)
    region = rooms.named(f"arrays.{symbol_name(cache.name)}")
    size_in_columns = arrays.groups * machine.crossbar.columns
    rooms.regions.append(Region(region, ARRAY_SPACE, first_group * machine.crossbar.columns, size_in_columns, "cache"))
    return replace(_outside(cache, size, "crossbar"), arrays=arrays)


def rooms_in_cam(
    graph: Graph, machine: Machine, cache: Cache, size: CacheSizes, rooms: HostRooms, earlier: CacheRooms | None
) -> CacheRooms:
    """Rows of key and value memory behind those that are taken, unless an earlier graph has placed the cache."""
    if earlier is not None:
        return _as_earlier(cache, size, earlier, "cam")
    first_row = _end(rooms, KEY_SPACE)
    plan = search_plan(graph, _attention(graph, cache), cam_of(machine), size.most_tokens, first_row)
    for space, what in ((KEY_SPACE, "keys"), (VALUE_SPACE, "values")):
        region = rooms.named(f"cam_{what}.{symbol_name(cache.name)}")
        rooms.regions.append(Region(region, space, first_row, plan.rows, "cache"))
    return replace(_outside(cache, size, "cam"), search=plan)


def _attention(graph: Graph, cache: Cache) -> Node:
    return next(node for node in graph.nodes if node.attributes.get("cache") == cache.name)


def _end(rooms: HostRooms, space: str) -> int:
    """First address that no region has."""
    return max((region.address + region.size for region in rooms.regions if region.space == space), default=0)


def _outside(cache: Cache, size: CacheSizes, unit: str) -> CacheRooms:
    """Rooms without a place yet."""
    keys, values = _layouts(cache, size)
    length = (size.first, size.tokens, size.most_tokens, mechanism_of(cache), selection_of(cache), 0)
    return CacheRooms(keys, 0, values, 0, *length, unit=unit)


def _layouts(cache: Cache, size: CacheSizes) -> tuple[KvLayout, KvLayout]:
    """Heads and tokens of keys and values."""
    keys, values = (
        KvLayout(kind, cache.kv_heads, width, 1, 1, 1, width, size.most_tokens, size.sequences)
        for kind, width in (("key", cache.head_dim), ("value", cache.value_dim))
    )
    return keys, values


def _as_earlier(cache: Cache, size: CacheSizes, earlier: CacheRooms, unit: str) -> CacheRooms:
    """The rooms that an earlier graph of the program has given the cache."""
    if (earlier.keys, earlier.values) != _layouts(cache, size) or earlier.unit != unit:
        raise UnsupportedError(f"the models hold keys and values of '{cache.name}' in different places or shapes")
    return replace(earlier, first=size.first, tokens=size.tokens)
