"""A program without its arrays as JSON values, there and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from isa.errors import EncodingError
from isa.program import Entry, Port, Program, Region, RegisterLimit, RegisterSymbol, Source, Symbol
from isa.strict_json import as_list, as_object

FORMAT_VERSION = 2
"""Of `.pim` files: 2 since symbols say where arrays lie by strides and sequences."""


def program_facts(program: Program) -> dict[str, Any]:
    """Everything of `program` but code, debug lines and data, as JSON values."""
    return {
        "format_version": FORMAT_VERSION,
        "machine": program.machine,
        "machine_sha256": program.machine_sha256,
        "numerics": program.numerics,
        "entries": [_entry_facts(entry) for entry in sorted_entries(program)],
        "registers": [_register_facts(symbol) for symbol in program.registers],
        "limits": [{"registers": list(limit.registers), "high": limit.high} for limit in program.limits],
        "regions": [_region_facts(region) for region in program.regions],
        "symbols": [_symbol_facts(symbol) for symbol in program.symbols],
        "ports": [port_facts(port) for port in program.ports],
        "segments": [segment.region for segment in program.segments],
        "sources": [[source.node, *source.onnx_nodes] for source in program.sources],
        "metadata": dict(program.metadata),
    }


def sorted_entries(program: Program) -> list[Entry]:
    """Entries by address, then by name."""
    return sorted(program.entries.values(), key=lambda entry: (entry.address, entry.name))


def _entry_facts(entry: Entry) -> dict[str, Any]:
    return {"name": entry.name, "address": entry.address, "registers": list(entry.registers)}


def _register_facts(symbol: RegisterSymbol) -> dict[str, Any]:
    return {
        "name": symbol.name,
        "register": symbol.register,
        "low": symbol.low,
        "high": symbol.high,
        "meaning": symbol.meaning,
    }


def _region_facts(region: Region) -> dict[str, Any]:
    facts = {
        "name": region.name,
        "space": region.space,
        "address": region.address,
        "size": region.size,
        "role": region.role,
    }
    return facts if region.element == "number" else facts | {"element": region.element}


def _symbol_facts(symbol: Symbol) -> dict[str, Any]:
    return {
        "name": symbol.name,
        "space": symbol.space,
        "address": symbol.address,
        "size": symbol.size,
        "layout": dict(symbol.layout),
    }


def port_facts(port: Port) -> dict[str, Any]:
    """A port as a JSON object; what only programs of several models have stands there when it is not empty."""
    facts = {
        "name": port.name,
        "direction": port.direction,
        "dtype": port.dtype,
        "shape": list(port.shape),
        "kind": port.kind,
        "symbol": port.symbol,
    }
    further = {"entry": port.entry, "filled_by": port.filled_by}
    return facts | {key: value for key, value in further.items() if value}


class Record:
    """A JSON object whose members are read with their type, and whose every member must be read.

    Raises:
        EncodingError: from every method, when a member is missing, of another type, or left over.
    """

    def __init__(self, value: Any, where: str) -> None:
        members = as_object(value)
        if members is None:
            raise EncodingError(f"{where} is not an object")
        self._members = dict(members)
        self._where = where

    def _take(self, key: str) -> Any:
        if key not in self._members:
            raise EncodingError(f"{self._where}: '{key}' is missing")
        return self._members.pop(key)

    def text(self, key: str) -> str:
        """A string."""
        value = self._take(key)
        if not isinstance(value, str):
            raise EncodingError(f"{self._where}.{key} is not a text")
        return value

    def optional_text(self, key: str) -> str:
        """A string, empty when it is absent."""
        return self.text(key) if key in self._members else ""

    def integer(self, key: str) -> int:
        """An integer."""
        value = self._take(key)
        if type(value) is not int:
            raise EncodingError(f"{self._where}.{key} is not an integer")
        return value

    def items(self, key: str) -> list[Any]:
        """A list of anything."""
        value = as_list(self._take(key))
        if value is None:
            raise EncodingError(f"{self._where}.{key} is not a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self.items(key)
        if not all(isinstance(value, str) for value in values):
            raise EncodingError(f"{self._where}.{key} is not a list of texts")
        return tuple(values)

    def mapping(self, key: str) -> dict[str, Any]:
        """A nested object, unread."""
        value = as_object(self._take(key))
        if value is None:
            raise EncodingError(f"{self._where}.{key} is not an object")
        return value

    def records(self, key: str) -> list[Record]:
        """A list of objects."""
        return [Record(value, f"{self._where}.{key}[{index}]") for index, value in enumerate(self.items(key))]

    def finish(self) -> None:
        """Refuse members that nobody read."""
        if self._members:
            raise EncodingError(f"{self._where}: unknown member '{min(self._members)}'")


def program_from_facts(facts: Mapping[str, Any]) -> tuple[Program, tuple[str, ...]]:
    """The program without code, debug lines and data, and the names of its segments.

    Raises:
        EncodingError: the facts lack a member, have one too many, or one of another type.
    """
    record = Record(facts, "program")
    version = record.integer("format_version")
    if version != FORMAT_VERSION:
        raise EncodingError(
            f"format version {version}; this version of pimc reads {FORMAT_VERSION}", help="compile the model again"
        )
    program = Program(
        machine=record.text("machine"),
        machine_sha256=record.text("machine_sha256"),
        numerics=record.text("numerics"),
        code=(),
        entries=_entries(record.records("entries")),
        registers=tuple(_register(each) for each in record.records("registers")),
        limits=tuple(_limit(each) for each in record.records("limits")),
        regions=tuple(_region(each) for each in record.records("regions")),
        symbols=tuple(_symbol(each) for each in record.records("symbols")),
        ports=tuple(port_from_record(each) for each in record.records("ports")),
        sources=_sources(record.items("sources")),
        metadata=record.mapping("metadata"),
    )
    segments = record.texts("segments")
    record.finish()
    return program, segments


def _entries(records: Iterable[Record]) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for record in records:
        entry = Entry(record.text("name"), record.integer("address"), record.texts("registers"))
        record.finish()
        if entry.name in entries:
            raise EncodingError(f"two entries are called '{entry.name}'")
        entries[entry.name] = entry
    return entries


def _register(record: Record) -> RegisterSymbol:
    symbol = RegisterSymbol(
        record.text("name"),
        record.integer("register"),
        record.integer("low"),
        record.integer("high"),
        record.text("meaning"),
    )
    record.finish()
    return symbol


def _limit(record: Record) -> RegisterLimit:
    limit = RegisterLimit(record.texts("registers"), record.integer("high"))
    record.finish()
    return limit


def _region(record: Record) -> Region:
    region = Region(
        record.text("name"),
        record.text("space"),
        record.integer("address"),
        record.integer("size"),
        record.text("role"),
        record.optional_text("element") or "number",
    )
    record.finish()
    return region


def _symbol(record: Record) -> Symbol:
    symbol = Symbol(
        record.text("name"),
        record.text("space"),
        record.integer("address"),
        record.integer("size"),
        record.mapping("layout"),
    )
    record.finish()
    return symbol


def port_from_record(record: Record) -> Port:
    """A port from its JSON object; raises `EncodingError` when the object is not one."""
    shape = record.items("shape")
    if not all(isinstance(size, int | str) and not isinstance(size, bool) for size in shape):
        raise EncodingError("the shape of a port holds integers and texts")
    port = Port(
        record.text("name"),
        record.text("direction"),
        record.text("dtype"),
        tuple(shape),
        record.text("kind"),
        record.text("symbol"),
        record.optional_text("entry"),
        record.optional_text("filled_by"),
    )
    record.finish()
    return port


def _sources(items: list[Any]) -> tuple[Source, ...]:
    sources: list[Source] = []
    for index, item in enumerate(items):
        names = as_list(item)
        if not names or not all(isinstance(name, str) for name in names):
            raise EncodingError(f"program.sources[{index}] is not a list of names")
        sources.append(Source(names[0], tuple(names[1:])))
    return tuple(sources)
