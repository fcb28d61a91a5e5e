"""Rooms that the host knows: inputs, outputs and KV caches, with their symbols and ports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from isa import NearBank, Port, Region, ResourceLimitError, Symbol
from passes import Dim, Graph, Value
from pimc.backend.rooms.storage import Room, Storage
from pimc.backend.rooms.token_rows import TokenRows, row_columns


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
        selection_tables: First word of the constants that its selection reads, by name of the cache.
    """

    regions: list[Region] = field(default_factory=list[Region])
    symbols: list[Symbol] = field(default_factory=list[Symbol])
    ports: list[Port] = field(default_factory=list[Port])
    spilled: dict[Value, TokenRows] = field(default_factory=dict[Value, TokenRows])
    entry: str = ""
    cache_state: dict[str, int] = field(default_factory=dict[str, int])
    selection_tables: dict[str, int] = field(default_factory=dict[str, int])

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
    graph: Graph, storage: Storage, near_bank: NearBank, first_column: int, chunk: int, rooms: HostRooms
) -> dict[str, Symbol]:
    """Rooms in the banks for one part of every output and token: token t in bank t mod banks, spread over channels."""
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


def check_columns(near_bank: NearBank, weights: int, total: int, max_context: int, codes: int = 0) -> None:
    """Raise `ResourceLimitError` when `total` linear columns exceed a bank.

    Args:
        near_bank: The banks.
        weights: Columns for weights.
        total: All columns.
        max_context: Tokens of the caches, for the message.
        codes: Columns for what caches hold in codes.
    """
    if total <= near_bank.columns_per_bank:
        return
    column_bytes = near_bank.channels * near_bank.banks * near_bank.lanes * near_bank.element_bits // 8
    in_codes = f", {codes * column_bytes} of them for codes and their scales" if codes else ""
    raise ResourceLimitError(
        "weights and KV cache do not fit the banks",
        notes=[
            f"demand: {weights * column_bytes} bytes of weights, {(total - weights) * column_bytes} bytes for"
            f" {max_context} tokens{in_codes}",
            f"bound: {near_bank.columns_per_bank * column_bytes} bytes in {near_bank.channels} channels",
        ],
        help=f"lower --max-context{' or the bits of codes' if codes else ''}, or choose a machine with more channels or"
        " rows",
    )
