"""Rooms that the host knows: inputs, outputs and KV caches, with their symbols and ports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from isa import Machine, NearBank, Port, Region, ResourceLimitError, Symbol
from passes import Cache, Dim, Graph, Value
from pimc.backend.lowering import CacheRooms
from pimc.backend.storage import Room, Storage
from pimc.backend.token_rows import TokenRows, row_columns
from pimc.kv_layout import KvLayout, choose_groups


@dataclass
class HostRooms:
    """What the program shows to the host.

    Attributes:
        regions: Memory that the program owns.
        symbols: Named addresses.
        ports: The model's signature.
        spilled: Outputs that lie in the banks.
    """

    regions: list[Region] = field(default_factory=list[Region])
    symbols: list[Symbol] = field(default_factory=list[Symbol])
    ports: list[Port] = field(default_factory=list[Port])
    spilled: dict[Value, TokenRows] = field(default_factory=dict[Value, TokenRows])

    def add_symbol(self, wish: str, space: str, address: int, size: int) -> None:
        """Name an address; the name is `wish`, made a symbol and unique."""
        taken = {symbol.name for symbol in self.symbols}
        name, number = symbol_name(wish), 1
        while name in taken:
            name, number = f"{symbol_name(wish)}.{number}", number + 1
        self.symbols.append(Symbol(name, space, address, size))

    def add_port(self, graph: Graph, name: str, direction: str, kind: str, symbol: Symbol | None) -> None:
        """Note the port of a model input or output."""
        if symbol is not None and symbol not in self.symbols:
            self.symbols.append(symbol)
        kind_of = graph.signature[name]
        shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in kind_of.shape)
        self.ports.append(Port(name, direction, kind_of.dtype, shape, kind, symbol.name if symbol else ""))


def symbol_name(name: str) -> str:
    """`name` with everything replaced that a symbol may not contain."""
    clean = re.sub(r"[^A-Za-z0-9_.]", "_", name)
    return clean if re.match(r"[A-Za-z_]", clean) else f"_{clean}"


@dataclass(frozen=True)
class CacheSizes:
    """How much a KV cache holds.

    Attributes:
        sequences: Sequences of a batch.
        tokens: Number of keys of a run in the end, past ones included.
        most_tokens: Its largest value.
        first: Register with the number of past tokens, `None` when there are none.
    """

    sequences: int
    tokens: Dim
    most_tokens: int
    first: int | None


def place_caches(
    graph: Graph, machine: Machine, first_column: int, sizes: Mapping[str, CacheSizes], rooms: HostRooms
) -> dict[str, CacheRooms]:
    """Give every KV cache its columns in the banks.

    Raises:
        ResourceLimitError: weights and caches need more columns than a bank has.
    """
    near_bank = _near_bank(machine)
    caches: dict[str, CacheRooms] = {}
    column = first_column
    for cache in graph.caches.values():
        _check_head(near_bank, cache)
        size = sizes[cache.name]
        groups, width = choose_groups(cache.kv_heads, near_bank.channels, size.most_tokens)
        numbers = (groups, width, near_bank.banks, near_bank.columns_per_row, size.most_tokens, size.sequences)
        keys, values = (
            KvLayout(kind, cache.kv_heads, dim, *numbers)
            for kind, dim in (("key", cache.head_dim), ("value", cache.value_dim))
        )
        value_column = column + keys.columns * size.sequences
        caches[cache.name] = CacheRooms(keys, column, values, value_column, size.first, size.tokens)
        column = value_column + values.columns * size.sequences
        _cache_ports(graph, cache, caches[cache.name], rooms)
    check_columns(near_bank, first_column, column, max((size.most_tokens for size in sizes.values()), default=0))
    if column > first_column:
        rooms.regions.append(Region("kv_cache", "bank", first_column, column - first_column, "cache"))
    return caches


def _check_head(near_bank: NearBank, cache: Cache) -> None:
    """A head must fit a row, the accumulators and the global buffer; so must the probabilities of a row's slots."""
    most = min(near_bank.columns_per_row, near_bank.accumulators, near_bank.global_buffer_columns) * near_bank.banks
    widest, narrowest = max(cache.head_dim, cache.value_dim), min(cache.head_dim, cache.value_dim)
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


def _cache_ports(graph: Graph, cache: Cache, place: CacheRooms, rooms: HostRooms) -> None:
    name = symbol_name(cache.name)
    layouts = ((place.keys, place.key_column), (place.values, place.value_column))
    keys, values = (
        Symbol(f"{name}.{layout.kind}", "bank", column, layout.columns * layout.sequences, layout.to_json())
        for layout, column in layouts
    )
    rooms.symbols += [keys, values]
    past = "given" if place.first is None else "past"
    ports = (
        (cache.past_key, "input", past, keys),
        (cache.past_value, "input", past, values),
        (cache.present_key, "output", "present", keys),
        (cache.present_value, "output", "present", values),
    )
    for port, direction, kind, symbol in ports:
        if port is not None:
            rooms.add_port(graph, port, direction, kind, symbol)


def check_columns(near_bank: NearBank, weights: int, total: int, max_context: int) -> None:
    """Raise `ResourceLimitError` when `total` linear columns, `weights` of them for weights, exceed a bank."""
    if total <= near_bank.columns_per_bank:
        return
    column_bytes = near_bank.channels * near_bank.banks * near_bank.lanes * near_bank.element_bits // 8
    raise ResourceLimitError(
        "weights and KV cache do not fit the banks",
        notes=[
            f"demand: {weights * column_bytes} bytes of weights, {(total - weights) * column_bytes} bytes for"
            f" {max_context} tokens",
            f"bound: {near_bank.columns_per_bank * column_bytes} bytes in {near_bank.channels} channels",
        ],
        help="lower --max-context, or choose a machine with more channels or rows",
    )


def place_inputs(graph: Graph, storage: Storage, masked_keys: Mapping[Value, Dim]) -> list[Symbol]:
    """Rooms for the graph's inputs: a padded row a token of the main space, whole tensors for all others.

    Args:
        graph: The graph.
        storage: Receives the rooms.
        masked_keys: Number of keys of the attention, for every input that is a key mask.
    """
    symbols: list[Symbol] = []
    for value in graph.inputs:
        own = storage.map.rows.get(value)
        words = storage.part_words(value)
        size = words if words == 1 and own is not None else storage.row_room(value)
        rows = 1 if own is None else storage.rows_of(own)
        word = storage.allocator.allocate(max(size * rows, 1), f"the input '{value.name}'")
        storage.keep(value, Room(word, size, own is not None))
        layout: dict[str, object] = {**_layout(storage, value, words, size), **_default(value.name)}
        if value in masked_keys:
            strides = list(storage.whole_strides(value, size))
            layout = {"kind": "keys", "strides": strides, "keys": str(masked_keys[value]), "default": 1}
        symbols.append(Symbol(symbol_name(value.name), "sb", word, max(size * rows, 1), layout))
    return symbols


def _layout(storage: Storage, value: Value, words: int, size: int) -> dict[str, object]:
    """How the host finds the elements: by rows of the tokens that it counts, else by strides."""
    own = storage.map.rows.get(value)
    if own is not None and own.space == storage.map.main:
        sequences = own.space.batch if own.batch is not None else 1
        return {"kind": "tokens", "words": words, "words_per_token": size, "sequences": sequences}
    strides = storage.whole_strides(value, size)
    return {"kind": "whole", "strides": list(strides)}


def _default(name: str) -> dict[str, object]:
    """What the host gives when the input is left out: running positions, segment 0; token numbers have no default."""
    if re.fullmatch(r"(.*[./])?position_ids?", name):
        return {"default": "position"}
    return {"default": 0} if re.fullmatch(r"(.*[./])?(token_type|segment)_ids?", name) else {}


def place_outputs(graph: Graph, storage: Storage) -> dict[str, Symbol]:
    """Rooms in the shared buffer for every output."""
    symbols: dict[str, Symbol] = {}
    for name, value in graph.outputs.items():
        own = storage.map.rows.get(value)
        size = storage.row_room(value)
        rows = 1 if own is None else storage.rows_of(own)
        word = storage.allocator.allocate(max(size * rows, 1), f"the output '{name}'")
        if storage.root(value) is value and value.producer is not None and not storage.is_kept(value):
            storage.keep(value, Room(word, size, own is not None))
        layout = _layout(storage, value, storage.part_words(value), size)
        symbols[name] = Symbol(symbol_name(name), "sb", word, max(size * rows, 1), layout)
    return symbols


def spill_outputs(
    graph: Graph, storage: Storage, machine: Machine, first_column: int, chunk: int, rooms: HostRooms
) -> dict[str, Symbol]:
    """Rooms in the banks for one part of every output and token: token t in bank t mod banks, spread over channels."""
    near_bank = _near_bank(machine)
    symbols: dict[str, Symbol] = {}
    column = first_column
    for name, value in graph.outputs.items():
        words = storage.map.words(value)
        columns = row_columns(near_bank, words)
        size = columns * -(-chunk // near_bank.banks)
        layout = {"kind": "token_rows", "words": words, "columns": columns}
        symbols[name] = Symbol(symbol_name(name), "bank", column, size, layout)
        rooms.spilled[value] = TokenRows(column, columns)
        column += size
    check_columns(near_bank, first_column, column, chunk)
    rooms.regions.append(Region("spilled_outputs", "bank", first_column, column - first_column, "output"))
    return symbols


def _near_bank(machine: Machine) -> NearBank:
    if machine.near_bank is None:
        raise ResourceLimitError(f"the machine '{machine.name}' has no banks for a KV cache")
    return machine.near_bank
