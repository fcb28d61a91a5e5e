"""A program as `.pimasm` text that assembles to the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from isa.assembly.data_files import reaches_data_file
from isa.assembly.instruction_text import InstructionFormat, format_instruction, labels_of
from isa.container import SegmentPlace, save_program, segment_places
from isa.encoding import encode_instructions
from isa.output_files import write_atomically
from isa.program import Program, Segment
from isa.program_facts import port_facts, sorted_entries
from isa.spec import Kind
from isa.strict_json import canonical_json

INLINE_BYTES = 4096
"""Larger segments stand in a data file."""

_DTYPE_NAMES = {"uint16": "bf16", "float32": "f32", "uint32": "u32"}
_WORDS_PER_LINE = 8


def disassemble(
    program: Program,
    data_file: str | Path | None = None,
    entry: str | None = None,
    encoding: bool = False,
    text_folder: str | Path = ".",
) -> str:
    """The assembly text of a program.

    Args:
        program: The program.
        data_file: A `.pim` file of this very program; the text refers to it for segments above 4 KiB. Without it the
            text states such segments without their data, and does not assemble.
        entry: Show only the instructions of this entry, without the other sections.
        encoding: Whether to add the number and the 32-byte word of each instruction as a comment.
        text_folder: Folder where the text will lie; the name of the data file is relative to it.

    Raises:
        KeyError: the program has no entry of that name.
        InputError: the data file cannot be read.
    """
    if entry is not None:
        return "\n".join(_text_section(program, encoding, _extent(program, entry))) + "\n"
    places: Mapping[str, SegmentPlace] = segment_places(data_file) if data_file is not None else {}
    name = _relative_name(data_file, text_folder) if data_file is not None else ""
    lines = [
        *_machine_section(program),
        *_symbol_section(program),
        *_data_section(program, name, places),
        *_text_section(program, encoding, range(len(program.code))),
    ]
    return "\n".join(lines) + "\n"


def save_assembly(
    program: Program, path: str | Path, data_file: str | Path | None = None, encoding: bool = False
) -> None:
    """Write assembly text that `assemble` reads by itself.

    Large segments stand in `data_file`, a `.pim` file of this very program, when the text may refer to it: it lies in
    the folder of the text or below, and not behind a symbolic link. Otherwise they go to `PATH.data` beside the text.

    Raises:
        InputError: a file cannot be written, or the data file not read.
        ProgramError: the sections of the program contradict each other.
    """
    target = Path(path)
    is_large = any(segment.data.nbytes > INLINE_BYTES for segment in program.segments)
    if data_file is None or not reaches_data_file(target.parent, _relative_name(data_file, target.parent)):
        data_file = target.with_name(target.name + ".data") if is_large else None
        if data_file is not None:
            save_program(program, data_file)
    text = disassemble(program, data_file, None, encoding, target.parent)
    with write_atomically(target) as stream:
        stream.write(text.encode())


def _relative_name(data_file: str | Path, folder: str | Path) -> str:
    return os.path.relpath(data_file, folder).replace(os.sep, "/")


def _channel_count(program: Program) -> int | None:
    """Channels of the machine, when it is a bundled one and the program has masks."""
    if not any(operand.kind is Kind.CHANNELS for built in program.code for operand in built.spec.operands):
        return None
    from isa.machine_loader import load_machine, machine_names

    if program.machine not in machine_names():
        return None
    near_bank = load_machine(program.machine).near_bank
    return near_bank.channels if near_bank else None


def _machine_section(program: Program) -> Iterator[str]:
    channels = _channel_count(program)
    parts = [canonical_json(program.machine), f'sha256="{program.machine_sha256}"', f"numerics={program.numerics}"]
    if channels is not None:
        parts.append(f"channels={channels}")
    yield f".machine {', '.join(parts)}"


def _symbol_section(program: Program) -> Iterator[str]:
    yield ""
    yield ".symbols"
    for each in program.registers:
        meaning = f", meaning={canonical_json(each.meaning)}" if each.meaning else ""
        yield f"  .register {each.name}, r{each.register}, low={each.low}, high={each.high}{meaning}"
    for limit in program.limits:
        yield f"  .limit {', '.join(limit.registers)}, high={limit.high}"
    for region in program.regions:
        extent = f"address={region.address}, size={region.size}"
        element = "" if region.element == "number" else f", element={region.element}"
        yield f"  .region {region.name}, {region.space}, {extent}, role={region.role}{element}"
    for symbol in program.symbols:
        layout = f", layout={canonical_json(dict(symbol.layout))}" if symbol.layout else ""
        yield f"  .symbol {symbol.name}, {symbol.space}, address={symbol.address}, size={symbol.size}{layout}"
    for port in program.ports:
        yield f"  .port {canonical_json(port_facts(port))}"
    for index, source in enumerate(program.sources):
        yield f"  .source {', '.join(canonical_json(name) for name in (source.node, *source.onnx_nodes))} ; {index}"
    for key in sorted(program.metadata):
        yield f"  .metadata {canonical_json(key)}, {canonical_json(program.metadata[key])}"


def _data_section(program: Program, file: str, places: Mapping[str, SegmentPlace]) -> Iterator[str]:
    if program.segments:
        yield ""
        yield ".data"
    for segment in program.segments:
        head = f"  .segment {segment.region}, {_DTYPE_NAMES[segment.data.dtype.name]}"
        head += f", shape={canonical_json(list(segment.data.shape))}"
        if segment.data.nbytes <= INLINE_BYTES:
            yield head
            yield from _words(segment)
        elif segment.region in places:
            place = places[segment.region]
            yield f'{head}, file={canonical_json(file)}, offset={place.offset}, sha256="{place.sha256}"'
        else:
            yield f"{head} ; {segment.data.nbytes} bytes, not shown"


def _words(segment: Segment) -> Iterator[str]:
    width = segment.data.dtype.itemsize
    bits = np.ascontiguousarray(segment.data).view(f"<u{width}").ravel()
    words = [f"{int(value):#0{2 + 2 * width}x}" for value in bits]
    for first in range(0, len(words), _WORDS_PER_LINE):
        yield f"    .words {', '.join(words[first : first + _WORDS_PER_LINE])}"


def _extent(program: Program, name: str) -> range:
    """Instructions of an entry: up to its `halt`; it may run through the addresses of other entries."""
    address = program.entries[name].address
    halts = (n for n in range(address, len(program.code)) if program.code[n].mnemonic == "halt")
    return range(address, next(halts, len(program.code) - 1) + 1)


def _text_section(program: Program, encoding: bool, extent: range) -> Iterator[str]:
    style = InstructionFormat(program.symbols, labels_of(program.code), _channel_count(program))
    entries = sorted_entries(program)
    location: int | None = None
    depth = 0
    yield ""
    yield ".text"
    for number in extent:
        built = program.code[number]
        depth = max(0, depth - (built.mnemonic == "end"))
        for entry in entries:
            if entry.address == number:
                yield f".entry {', '.join((entry.name, *entry.registers))}"
        if number in style.labels:
            yield f"{style.labels[number]}:"
        if program.debug and program.debug[number] != location:
            location = program.debug[number]
            yield f"  .loc {location} ; {canonical_json(program.sources[location].node)}"
        text = f"{'  ' * (depth + 1)}{format_instruction(built, style)}"
        yield f"{text:<100} ; {_encoding_text(program, number)}" if encoding else text
        depth += built.mnemonic == "loop"
    if extent.stop in style.labels and extent.stop == len(program.code):
        yield f"{style.labels[extent.stop]}:"


def _encoding_text(program: Program, number: int) -> str:
    return f"{number}: {encode_instructions((program.code[number],)).hex()}"
