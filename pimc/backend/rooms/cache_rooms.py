"""Rooms of KV caches, with the symbols and ports by which the host finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from isa import Machine, NearBank, Region, ResourceLimitError, Symbol, UnsupportedError
from passes import Cache, Graph
from pimc.backend.caches.choice import mechanism_of, selection_of
from pimc.backend.chosen_units import attention_unit
from pimc.backend.lowering import CacheRooms
from pimc.backend.rooms.cache_sizes import CacheSizes
from pimc.backend.rooms.host_rooms import HostRooms, check_columns, symbol_name
from pimc.backend.rooms.rooms_outside_banks import rooms_in_arrays, rooms_in_cam
from pimc.kv_layout import KvLayout, choose_groups


@dataclass
class SharedCaches:
    """KV caches that several graphs of a program use, by what the names of their inputs and outputs have in common.

    Attributes:
        most_tokens: Tokens for which each is reserved.
        rooms: Where each lies.
        filled: `ENTRY/OUTPUT` that returns its keys, and its values.
    """

    most_tokens: dict[str, int] = field(default_factory=dict[str, int])
    rooms: dict[str, CacheRooms] = field(default_factory=dict[str, CacheRooms])
    filled: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


def place_caches(
    graph: Graph,
    machine: Machine,
    near_bank: NearBank,
    first_column: int,
    sizes: Mapping[str, CacheSizes],
    rooms: HostRooms,
    shared: SharedCaches,
) -> dict[str, CacheRooms]:
    """Give every KV cache its place in banks, arrays or CAM; one that an earlier graph of the program has keeps it.

    Raises:
        ResourceLimitError: weights and caches need more columns than a bank has, or more arrays than there are, or
            more rows than the CAM has.
        UnsupportedError: graphs of the program disagree about the heads or sequences of a cache, or its unit cannot
            hold it.
    """
    caches: dict[str, CacheRooms] = {}
    column = first_column
    for cache in graph.caches.values():
        name, own = cache.shared_name, sizes[cache.name]
        earlier = shared.rooms.get(name) if name else None
        unit = attention_unit(graph, cache) if earlier is None else earlier.unit
        if unit != "banks":
            size = replace(own, most_tokens=max(own.most_tokens, shared.most_tokens.get(name, 0) if name else 0))
            outside = rooms_in_arrays if unit == "crossbar" else rooms_in_cam
            caches[cache.name] = outside(graph, machine, cache, size, rooms, earlier)
            continue
        _check_head(near_bank, cache)
        caches[cache.name], column = _exact_rooms(near_bank, cache, own, column, rooms, shared)
    end_of_exact = column
    for each, place in caches.items():
        columns = 0 if place.code_column else place.mechanism.code_columns(place)
        caches[each] = replace(place, code_column=column) if columns else place
        column += columns
    for cache in graph.caches.values():
        _cache_ports(graph, cache, caches[cache.name], rooms, shared)
        _own_symbols(cache, caches[cache.name], rooms)
    longest = max((size.most_tokens for size in sizes.values()), default=0)
    check_columns(near_bank, first_column, column, longest, column - end_of_exact)
    if end_of_exact > first_column:
        name = rooms.named("kv_cache")
        rooms.regions.append(Region(name, "bank", first_column, end_of_exact - first_column, "cache"))
    if column > end_of_exact:
        name = rooms.named("kv_codes")
        rooms.regions.append(Region(name, "bank", end_of_exact, column - end_of_exact, "cache", "code"))
    return caches


def _exact_rooms(
    near_bank: NearBank, cache: Cache, size: CacheSizes, column: int, rooms: HostRooms, shared: SharedCaches
) -> tuple[CacheRooms, int]:
    """Where the exact keys and values of a cache lie, from `column` on unless an earlier graph has them; its end."""
    name, mechanism = cache.shared_name, mechanism_of(cache)
    context = max(size.most_tokens, shared.most_tokens.get(name, 0) if name else 0)
    held = mechanism.capacity(context)
    groups, width = choose_groups(cache.kv_heads, near_bank.channels, held)
    numbers = (groups, width, near_bank.banks, near_bank.columns_per_row, held, size.sequences)
    keys, values = (
        KvLayout(kind, cache.kv_heads, dim, *numbers)
        for kind, dim in (("key", cache.head_dim), ("value", cache.value_dim))
    )
    earlier = shared.rooms.get(name) if name else None
    if earlier is not None:
        if (earlier.keys, earlier.values, earlier.unit) != (keys, values, "banks"):
            raise UnsupportedError(f"the models hold keys and values of '{name}' in different shapes")
        return replace(earlier, first=size.first, tokens=size.tokens), column
    value_column = column + keys.columns * size.sequences
    code, length = (mechanism, selection_of(cache)), (size.first, size.tokens, context)
    end, state = value_column + values.columns * size.sequences, rooms.cache_state.get(cache.name, 0)
    exact, table = (keys, column, values, value_column), rooms.selection_tables.get(cache.name, 0)
    no_codes = 0
    place = CacheRooms(*exact, *length, *code, near_bank.channels, state, no_codes, end, table)
    return place, end + place.selection.columns(place)


def _check_head(near_bank: NearBank, cache: Cache) -> None:
    """A head must fit a row, the accumulators and the global buffer; so must the probabilities of a row's slots."""
    most = min(near_bank.columns_per_row, near_bank.accumulators, near_bank.global_buffer_columns) * near_bank.banks
    widest, narrowest = selection_of(cache).most_elements(cache), min(cache.head_dim, cache.value_dim)
    slots = near_bank.columns_per_row // -(-narrowest // near_bank.banks)
    if widest > most or slots > near_bank.global_buffer_columns:
        raise ResourceLimitError(
            f"the heads of the cache '{cache.name}' do not fit the banks",
            notes=[
                f"demand: heads of {narrowest} to {widest} elements, {slots} slots a row",
                f"bound: {most} elements, {near_bank.global_buffer_columns} columns of the global buffer",
            ],
            help="choose a machine with more accumulators and a larger global buffer",
        )


def _cache_ports(graph: Graph, cache: Cache, place: CacheRooms, rooms: HostRooms, shared: SharedCaches) -> None:
    key, value = _cache_symbols(cache, place, rooms)
    name = cache.shared_name
    from_key, from_value = shared.filled.get(name, ("", ""))
    past = "given" if place.first is None else "past"
    ports = (
        (cache.past_key, "input", past, key, from_key),
        (cache.past_value, "input", past, value, from_value),
        (cache.present_key, "output", "present", key, ""),
        (cache.present_value, "output", "present", value, ""),
    )
    for port, direction, kind, symbol, filled_by in ports:
        if port is not None:
            rooms.add_port(graph, port, direction, kind, symbol, filled_by)
    if rooms.entry and name and name not in shared.rooms:
        shared.rooms[name] = place
        shared.filled[name] = (f"{rooms.entry}/{cache.present_key}", f"{rooms.entry}/{cache.present_value}")


def _own_symbols(cache: Cache, place: CacheRooms, rooms: HostRooms) -> None:
    """Name what mechanism and selection keep, once for all graphs that use the cache."""
    name = rooms.named(symbol_name(cache.name))
    known = {(each.space, each.address, each.size) for each in rooms.symbols}
    for symbol in (*place.mechanism.symbols(place), *place.selection.symbols(place)):
        if (symbol.space, symbol.address, symbol.size) not in known:
            layout = {**symbol.layout, "cache": cache.name} if symbol.layout else symbol.layout
            rooms.symbols.append(replace(symbol, name=f"{name}.{symbol.name}", layout=layout))


def _cache_symbols(cache: Cache, place: CacheRooms, rooms: HostRooms) -> list[Symbol]:
    """Symbols of the keys and the values: those that an earlier graph has made, or new ones."""
    name = rooms.named(symbol_name(cache.name))
    layouts = ((place.keys, place.key_column), (place.values, place.value_column))
    wanted: Sequence[Symbol]
    if place.arrays is not None:
        wanted = place.arrays.symbols(name)
    elif place.search is not None:
        wanted = place.search.symbols(name)
    else:
        wanted = [
            Symbol(f"{name}.{layout.kind}", "bank", column, layout.columns * layout.sequences, layout.to_json())
            for layout, column in layouts
        ]
    found: list[Symbol] = []
    for new in wanted:
        same = (new.space, new.address, new.layout)
        known = [each for each in rooms.symbols if (each.space, each.address, each.layout) == same]
        if not known:
            rooms.symbols.append(new)
        found.append(known[0] if known else new)
    return found
