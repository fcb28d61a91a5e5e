"""Rooms that the host knows: inputs, outputs and KV caches, with their symbols and ports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from isa import Machine, NearBank, Port, Region, ResourceLimitError, Symbol, UnsupportedError
from passes import Cache, Dim, Graph, Value
from pimc.backend.caches import mechanism_of
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
        entry: The entry that further names and ports belong to; empty when they belong to all.
        cache_state: First word of what the mechanism of a KV cache keeps in the shared buffer, by name of the cache.
    """

    regions: list[Region] = field(default_factory=list[Region])
    symbols: list[Symbol] = field(default_factory=list[Symbol])
    ports: list[Port] = field(default_factory=list[Port])
    spilled: dict[Value, TokenRows] = field(default_factory=dict[Value, TokenRows])
    entry: str = ""
    cache_state: dict[str, int] = field(default_factory=dict[str, int])

    def of_entry(self, entry: str) -> HostRooms:
        """The same regions, symbols and ports, for a graph that becomes one entry of several."""
        return HostRooms(self.regions, self.symbols, self.ports, {}, entry)

    def named(self, name: str) -> str:
        """The name of a region or symbol, qualified by the entry when there are several."""
        return f"{self.entry}.{name}" if self.entry else name

    def add_symbol(self, wish: str, space: str, address: int, size: int) -> None:
        """Name an address; the name is `wish`, made a symbol and unique."""
        self.symbols.append(Symbol(self._unused(symbol_name(wish)), space, address, size))

    def _unused(self, wish: str) -> str:
        taken = {symbol.name for symbol in self.symbols}
        name, number = wish, 1
        while name in taken:
            name, number = f"{wish}.{number}", number + 1
        return name

    def add_port(
        self, graph: Graph, name: str, direction: str, kind: str, symbol: Symbol | None, filled_by: str = ""
    ) -> None:
        """Note the port of a model input or output; `filled_by` is the output that leaves an input's contents."""
        if symbol is not None and symbol not in self.symbols:
            symbol = replace(symbol, name=self._unused(self.named(symbol.name)))
            self.symbols.append(symbol)
        kind_of = graph.signature[name]
        shape = tuple(dim if isinstance(dim, int) else str(dim) for dim in kind_of.shape)
        held = symbol.name if symbol else ""
        self.ports.append(Port(name, direction, kind_of.dtype, shape, kind, held, self.entry, filled_by))


def symbol_name(name: str) -> str:
    """`name` with everything replaced that a symbol may not contain; it must not look like a register either."""
    clean = re.sub(r"[^A-Za-z0-9_.]", "_", name)
    return clean if re.match(r"(?!r[0-9]+\Z)[A-Za-z_]", clean) else f"_{clean}"


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


def shared_name(cache: Cache) -> str:
    """What the names of a cache's past inputs and present outputs have in common; empty without such names."""
    return cache_stem(cache.past_key or cache.present_key or "")


def cache_stem(name: str) -> str:
    """The name of a past input or present output without what tells past from present: `0.decoder.key`."""
    return re.sub(r"^(past_key_values|past|present)[._/]?", "", name)


def place_caches(
    graph: Graph,
    machine: Machine,
    first_column: int,
    sizes: Mapping[str, CacheSizes],
    rooms: HostRooms,
    shared: SharedCaches,
) -> dict[str, CacheRooms]:
    """Give every KV cache its columns in the banks; one that an earlier graph of the program has keeps them.

    Raises:
        ResourceLimitError: weights and caches need more columns than a bank has.
        UnsupportedError: graphs of the program disagree about the heads or sequences of a cache.
    """
    near_bank = _near_bank(machine)
    caches: dict[str, CacheRooms] = {}
    column = first_column
    for cache in graph.caches.values():
        _check_head(near_bank, cache)
        size, name = sizes[cache.name], shared_name(cache)
        most = max(size.most_tokens, shared.most_tokens.get(name, 0) if name else 0)
        mechanism = mechanism_of(cache)
        held = mechanism.capacity(most)
        groups, width = choose_groups(cache.kv_heads, near_bank.channels, held)
        numbers = (groups, width, near_bank.banks, near_bank.columns_per_row, held, size.sequences)
        keys, values = (
            KvLayout(kind, cache.kv_heads, dim, *numbers)
            for kind, dim in (("key", cache.head_dim), ("value", cache.value_dim))
        )
        earlier = shared.rooms.get(name) if name else None
        if earlier is not None and (earlier.keys, earlier.values) != (keys, values):
            raise UnsupportedError(f"the models hold keys and values of '{name}' in different shapes")
        if earlier is not None:
            place = replace(earlier, first=size.first, tokens=size.tokens)
        else:
            value_column = column + keys.columns * size.sequences
            place = CacheRooms(keys, column, values, value_column, size.first, size.tokens, mechanism)
            place = replace(place, state_word=rooms.cache_state.get(cache.name, 0))
            column = value_column + values.columns * size.sequences
        caches[cache.name] = place
    end_of_exact = column
    for name, place in caches.items():
        columns = place.mechanism.code_columns(place.keys, place.values, sizes[name].most_tokens)
        caches[name] = replace(place, code_column=column) if columns else place
        column += columns
    for cache in graph.caches.values():
        _cache_ports(graph, cache, caches[cache.name], rooms, shared)
    check_columns(near_bank, first_column, column, max((size.most_tokens for size in sizes.values()), default=0))
    for wish, start, end in (("kv_cache", first_column, end_of_exact), ("kv_codes", end_of_exact, column)):
        if end > start:
            rooms.regions.append(Region(rooms.named(wish), "bank", start, end - start, "cache"))
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


def _cache_ports(graph: Graph, cache: Cache, place: CacheRooms, rooms: HostRooms, shared: SharedCaches) -> None:
    key, value = _cache_symbols(cache, place, rooms)
    name = shared_name(cache)
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


def _cache_symbols(cache: Cache, place: CacheRooms, rooms: HostRooms) -> list[Symbol]:
    """Symbols of the keys and the values: those that an earlier graph has made, or new ones."""
    name = rooms.named(symbol_name(cache.name))
    layouts = ((place.keys, place.key_column), (place.values, place.value_column))
    found: list[Symbol] = []
    for layout, column in layouts:
        new = Symbol(f"{name}.{layout.kind}", "bank", column, layout.columns * layout.sequences, layout.to_json())
        known = [
            each for each in rooms.symbols if (each.space, each.address, each.layout) == ("bank", column, new.layout)
        ]
        if not known:
            rooms.symbols.append(new)
        found.append(known[0] if known else new)
    return found


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


@dataclass(frozen=True)
class LinkedRoom:
    """The room of an output that later graphs of the program read.

    Attributes:
        word: First word.
        words: Size.
        strides: Words from element to element along every axis.
    """

    word: int
    words: int
    strides: tuple[int, ...]

    def symbol(self, name: str) -> Symbol:
        """The room for the host, as that of the input `name`."""
        layout = {"kind": "whole", "strides": list(self.strides)}
        return Symbol(symbol_name(name), "sb", self.word, self.words, layout)


def place_inputs(
    graph: Graph,
    storage: Storage,
    masked_keys: Mapping[Value, Dim],
    sources: Mapping[str, LinkedRoom],
) -> list[Symbol]:
    """Rooms for the graph's inputs: a padded row a token of the main space, whole tensors for all others.

    Args:
        graph: The graph.
        storage: Receives the rooms.
        masked_keys: Number of keys of the attention, for every input that is a key mask.
        sources: Rooms of the outputs of earlier graphs that fill inputs, by input name; the input gets a room of its
            own all the same where it is read with other strides.
    """
    symbols: list[Symbol] = []
    for value in graph.inputs:
        own = storage.map.rows.get(value)
        words = storage.part_words(value)
        size = words if words == 1 and own is not None else storage.row_room(value)
        rows = 1 if own is None else storage.rows_of(own)
        strides = storage.whole_strides(value, size)
        source = sources.get(value.name)
        if source is not None and source.strides == strides:
            word = source.word
        else:
            word = storage.allocator.allocate(max(size * rows, 1), f"the input '{value.name}'")
        storage.keep(value, Room(word, size, own is not None))
        if source is not None:
            symbols.append(source.symbol(value.name))
            continue
        layout: dict[str, object] = {**_layout(storage, value, words, size), **_default(value.name)}
        if value in masked_keys:
            layout = {"kind": "keys", "strides": list(strides), "keys": str(masked_keys[value]), "default": 1}
        symbols.append(Symbol(symbol_name(value.name), "sb", word, max(size * rows, 1), layout))
    return symbols


def _layout(storage: Storage, value: Value, words: int, size: int) -> dict[str, object]:
    """How the host finds the elements: by rows of the tokens that it counts, else by strides."""
    own = storage.map.rows.get(value)
    if own is not None and own.space == storage.map.main:
        sequences = own.space.batch if own.batch is not None else 1
        layout = {"kind": "tokens", "words": words, "words_per_token": size, "sequences": sequences, "axis": own.token}
        return layout if own.batch in (None, 0) else {**layout, "batch_axis": own.batch}
    strides = storage.whole_strides(value, size)
    return {"kind": "whole", "strides": list(strides)}


def _default(name: str) -> dict[str, object]:
    """What the host gives when the input is left out: running positions, segment 0; token numbers have no default."""
    if re.fullmatch(r"(.*[./])?position_ids?", name):
        return {"default": "position"}
    return {"default": 0} if re.fullmatch(r"(.*[./])?(token_type|segment)_ids?", name) else {}


def place_outputs(graph: Graph, storage: Storage, reserved: Mapping[str, int]) -> dict[str, Symbol]:
    """Rooms in the shared buffer for every output; `reserved` are the words of those that have one, by name."""
    symbols: dict[str, Symbol] = {}
    for name, value in graph.outputs.items():
        own = storage.map.rows.get(value)
        size = storage.row_room(value)
        rows = 1 if own is None else storage.rows_of(own)
        word = reserved.get(name)
        if word is None:
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
        layout = {"kind": "token_rows", "words": words, "columns": columns, "axis": storage.map.rows[value].token}
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
