"""Directives, labels and instructions of `.pimasm` text, gathered line by line into a draft of the program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from isa.assembly.arguments import Arguments
from isa.assembly.data_section import SegmentDraft
from isa.assembly.operands import did_you_mean
from isa.assembly.syntax import Line, Name
from isa.errors import EncodingError
from isa.program import Entry, Port, Region, RegisterLimit, RegisterSymbol, Source, Symbol
from isa.program_facts import Record, port_from_record
from isa.strict_json import as_object
from isa.structure import ELEMENTS, NUMERICS, REGION_SPACES, ROLES, SPACES


@dataclass(frozen=True)
class MachineLine:
    """A `.machine` directive; `None` stands for what the text leaves to the bundled machine."""

    line: Line
    name: str
    numerics: str
    sha256: str | None
    channels: int | None


@dataclass
class ProgramDraft:
    """The program while its text is read.

    Attributes:
        section: Section that the next line belongs to.
        labels: Instruction number of each label.
        pending: Lines with an instruction; their operands are read when all names are known.
        debug: Source of each instruction, `None` before the first `.loc`.
        location: Source of the next instruction.
    """

    section: str | None = None
    machine: MachineLine | None = None
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    registers: list[RegisterSymbol] = field(default_factory=list[RegisterSymbol])
    limits: list[RegisterLimit] = field(default_factory=list[RegisterLimit])
    regions: list[Region] = field(default_factory=list[Region])
    symbols: dict[str, Symbol] = field(default_factory=dict[str, Symbol])
    ports: list[Port] = field(default_factory=list[Port])
    segments: list[SegmentDraft] = field(default_factory=list[SegmentDraft])
    sources: list[Source] = field(default_factory=list[Source])
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    labels: dict[str, int] = field(default_factory=dict[str, int])
    pending: list[Line] = field(default_factory=list[Line])
    debug: list[int | None] = field(default_factory=list["int | None"])
    location: int | None = None


def take_line(draft: ProgramDraft, line: Line) -> None:
    """Take in one line; raises `AssemblyError`."""
    if line.label is not None:
        _need_section(draft, line, ".text", line.label)
        if line.label.text in draft.labels:
            raise line.error(f"label '{line.label.text}' is defined twice", line.label.column)
        draft.labels[line.label.text] = len(draft.pending)
    if line.mnemonic is not None:
        _need_section(draft, line, ".text", line.mnemonic)
        draft.pending.append(line)
        draft.debug.append(draft.location)
    if line.directive is not None:
        _take_directive(draft, line, line.directive)


def _need_section(draft: ProgramDraft, line: Line, section: str, name: Name) -> None:
    if draft.section != section:
        raise line.error(f"'{name.text}' belongs into section {section}", name.column)


def _take_directive(draft: ProgramDraft, line: Line, directive: Name) -> None:
    if directive.text in _SECTIONS:
        Arguments(line).finish()
        draft.section = directive.text
        return
    if directive.text not in _DIRECTIVES:
        hint = did_you_mean(directive.text, [*_SECTIONS, *_DIRECTIVES])
        raise line.error(f"unknown directive '{directive.text}'", directive.column, hint)
    section, take = _DIRECTIVES[directive.text]
    if section is not None:
        _need_section(draft, line, section, directive)
    arguments = Arguments(line)
    take(draft, line, arguments)
    arguments.finish()


def _take_machine(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    if draft.machine is not None:
        raise line.error(".machine is given twice", 1)
    draft.machine = MachineLine(
        line,
        arguments.quoted(arguments.next('the name of a machine as "text"')),
        arguments.choice(arguments.named("numerics"), NUMERICS) if arguments.has("numerics") else "machine",
        arguments.text("sha256") if arguments.has("sha256") else None,
        arguments.integer("channels") if arguments.has("channels") else None,
    )


def _take_register(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    name, register = arguments.name("the name of a register symbol"), arguments.register()
    low, high = arguments.integer("low"), arguments.integer("high")
    meaning = arguments.text("meaning") if arguments.has("meaning") else ""
    draft.registers.append(RegisterSymbol(name, register, low, high, meaning))


def _take_limit(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    names = [arguments.name("the name of a register symbol")]
    while arguments.left:
        names.append(arguments.name("the name of a register symbol"))
    draft.limits.append(RegisterLimit(tuple(names), arguments.integer("high")))


def _take_region(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    name = arguments.name("the name of a region")
    space = arguments.choice(arguments.next("a memory space"), REGION_SPACES)
    address, size = arguments.integer("address"), arguments.integer("size")
    role = arguments.choice(arguments.named("role"), ROLES)
    element = arguments.choice(arguments.named("element"), ELEMENTS) if arguments.has("element") else "number"
    draft.regions.append(Region(name, space, address, size, role, element))


def _take_symbol(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    name = arguments.name("the name of a symbol")
    space = arguments.choice(arguments.next("a memory space"), SPACES)
    address, size = arguments.integer("address"), arguments.integer("size")
    layout = as_object(arguments.json(arguments.named("layout"))) if arguments.has("layout") else {}
    if name in draft.symbols:
        raise line.error(f"symbol '{name}' is defined twice", 1)
    if layout is None:
        raise line.error("'layout=' is a JSON object", 1)
    draft.symbols[name] = Symbol(name, space, address, size, layout)


def _take_port(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    argument = arguments.next("a JSON object")
    try:
        draft.ports.append(port_from_record(Record(arguments.json(argument), "port")))
    except EncodingError as problem:
        raise line.error(problem.message, argument.column) from None


def _take_source(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    names = [arguments.quoted(arguments.next('the name of a node as "text"'))]
    while arguments.left:
        names.append(arguments.quoted(arguments.next("a name")))
    draft.sources.append(Source(names[0], tuple(names[1:])))


def _take_metadata(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    key = arguments.quoted(arguments.next('a key as "text"'))
    if key in draft.metadata:
        raise line.error(f'metadata "{key}" is given twice', 1)
    draft.metadata[key] = arguments.json(arguments.next("a JSON value"))


def _take_segment(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    draft.segments.append(SegmentDraft.read(line, arguments))


def _take_words(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    if not draft.segments:
        raise line.error(".words without a .segment before it", 1)
    draft.segments[-1].take_words(line, arguments)


def _take_entry(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    name = arguments.name("the name of an entry")
    if name in draft.entries:
        raise line.error(f"entry '{name}' is defined twice", 1)
    registers: list[str] = []
    while arguments.left:
        registers.append(arguments.name("the name of a register symbol"))
    draft.entries[name] = Entry(name, len(draft.pending), tuple(registers))


def _take_location(draft: ProgramDraft, line: Line, arguments: Arguments) -> None:
    argument = arguments.next("the number of a .source")
    if not argument.text.isdigit() or int(argument.text) >= len(draft.sources):
        message = f"there are {len(draft.sources)} sources, counted from 0; found '{argument.text}'"
        raise line.error(message, argument.column)
    draft.location = int(argument.text)


_SECTIONS = (".symbols", ".data", ".text")
_Taker = Callable[[ProgramDraft, Line, Arguments], None]
_DIRECTIVES: dict[str, tuple[str | None, _Taker]] = {
    ".machine": (None, _take_machine),
    ".register": (".symbols", _take_register),
    ".limit": (".symbols", _take_limit),
    ".region": (".symbols", _take_region),
    ".symbol": (".symbols", _take_symbol),
    ".port": (".symbols", _take_port),
    ".source": (".symbols", _take_source),
    ".metadata": (".symbols", _take_metadata),
    ".segment": (".data", _take_segment),
    ".words": (".data", _take_words),
    ".entry": (".text", _take_entry),
    ".loc": (".text", _take_location),
}
