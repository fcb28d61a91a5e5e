"""What holds for every program whatever the machine: names, references, shapes of the data."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

import numpy as np

from isa.host_layouts import host_errors
from isa.program import PORT_KINDS, Program, Region, Segment
from isa.spec import REGISTER_COUNT

SPACES = ("sb", "bank", "gb", "acc", "key", "value", "xb")
REGION_SPACES = ("sb", "bank", "key", "value", "xb")
ROLES = ("weights", "cache", "output", "constants", "inputs", "scratch")
ELEMENTS = ("number", "code")
NUMERICS = ("machine", "fp32")
DIRECTIONS = ("input", "output")
NAME = re.compile(r"(?!r[0-9]+\Z)[A-Za-z_][A-Za-z0-9_.]*\Z")
"""Names of entries, regions, symbols; `r0`, `r1`, ... are registers."""


def structure_errors(program: Program) -> list[str]:
    """Everything that is wrong with the sections of a program; empty when it is well formed."""
    return [
        *_header_errors(program),
        *_entry_errors(program),
        *_register_errors(program),
        *_region_errors(program),
        *_symbol_errors(program),
        *_port_errors(program),
        *_segment_errors(program),
        *_debug_errors(program),
        *host_errors(program),
    ]


def _header_errors(program: Program) -> Iterator[str]:
    if program.numerics not in NUMERICS:
        yield f"numerics '{program.numerics}' is not one of {', '.join(NUMERICS)}"


def _duplicates(kind: str, names: Iterable[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"two {kind} are called '{name}'"
        elif not NAME.match(name):
            yield f"'{name}' is not a name for one of the {kind}"
        seen.add(name)


def _entry_errors(program: Program) -> Iterator[str]:
    yield from _duplicates("entries", program.entries)
    known = {symbol.name for symbol in program.registers}
    for name, entry in program.entries.items():
        if entry.name != name:
            yield f"entry '{name}' says that it is called '{entry.name}'"
        if not 0 <= entry.address < len(program.code):
            yield f"entry '{name}': instruction {entry.address} does not exist"
        for register in entry.registers:
            if register not in known:
                yield f"entry '{name}': unknown register symbol '{register}'"


def _register_errors(program: Program) -> Iterator[str]:
    yield from _duplicates("register symbols", (symbol.name for symbol in program.registers))
    for symbol in program.registers:
        if not 0 <= symbol.register < REGISTER_COUNT:
            yield f"register symbol '{symbol.name}': r{symbol.register} does not exist"
        if symbol.low > symbol.high:
            yield f"register symbol '{symbol.name}': the range {symbol.low} to {symbol.high} is empty"
    known = {symbol.name for symbol in program.registers}
    for limit in program.limits:
        for name in limit.registers:
            if name not in known:
                yield f"limit of {' + '.join(limit.registers)}: unknown register symbol '{name}'"


def _region_errors(program: Program) -> Iterator[str]:
    yield from _duplicates("regions", (region.name for region in program.regions))
    for region in program.regions:
        if region.space not in REGION_SPACES:
            yield f"region '{region.name}': space '{region.space}' is not one of {', '.join(REGION_SPACES)}"
        if region.role not in ROLES:
            yield f"region '{region.name}': role '{region.role}' is not one of {', '.join(ROLES)}"
        if region.element not in ELEMENTS:
            yield f"region '{region.name}': element '{region.element}' is not one of {', '.join(ELEMENTS)}"
        if region.element == "code" and region.space != "bank":
            yield f"region '{region.name}': only regions of the banks hold codes"
        if region.address < 0 or region.size < 0:
            yield f"region '{region.name}': address and size must not be negative"
    yield from _overlaps(program.regions)


def _overlaps(regions: tuple[Region, ...]) -> Iterator[str]:
    ordered = sorted((region for region in regions if region.size > 0), key=lambda each: (each.space, each.address))
    for first, second in itertools.pairwise(ordered):
        if first.space == second.space and first.address + first.size > second.address:
            yield f"regions '{first.name}' and '{second.name}' overlap"


def _symbol_errors(program: Program) -> Iterator[str]:
    yield from _duplicates("symbols", (symbol.name for symbol in program.symbols))
    for symbol in program.symbols:
        if symbol.space not in SPACES:
            yield f"symbol '{symbol.name}': space '{symbol.space}' is not one of {', '.join(SPACES)}"
        if symbol.address < 0 or symbol.size < 0:
            yield f"symbol '{symbol.name}': address and size must not be negative"


def _port_errors(program: Program) -> Iterator[str]:
    known = {symbol.name for symbol in program.symbols}
    for port in program.ports:
        if port.direction not in DIRECTIONS:
            yield f"port '{port.name}': direction '{port.direction}' is not one of {', '.join(DIRECTIONS)}"
        if port.kind not in PORT_KINDS:
            yield f"port '{port.name}': kind '{port.kind}' is not one of {', '.join(PORT_KINDS)}"
        if port.symbol not in known and (port.kind != "ignored" or port.symbol):
            yield f"port '{port.name}': unknown symbol '{port.symbol}'"
        if port.entry and port.entry not in program.entries:
            yield f"port '{port.name}': unknown entry '{port.entry}'"
    yield from _link_errors(program)


def _link_errors(program: Program) -> Iterator[str]:
    """An input that is filled by an output lies where the output does."""
    symbols = {symbol.name: symbol for symbol in program.symbols}
    outputs = {f"{port.entry}/{port.name}": port for port in program.ports if port.direction == "output"}
    for port in program.ports:
        if not port.filled_by:
            continue
        output = outputs.get(port.filled_by)
        if output is None or port.direction != "input":
            yield f"port '{port.name}': it cannot be filled by '{port.filled_by}'"
            continue
        places = [symbols.get(each.symbol) for each in (port, output)]
        if len({(each.space, each.address) for each in places if each is not None}) > 1:
            yield f"port '{port.name}': it does not lie where '{port.filled_by}' does"


def _segment_errors(program: Program) -> Iterator[str]:
    regions = {region.name: region for region in program.regions}
    yield from _duplicates("segments", (segment.region for segment in program.segments))
    for segment in program.segments:
        region = regions.get(segment.region)
        if region is None:
            yield f"segment '{segment.region}': there is no such region"
        else:
            yield from _shape_errors(region, segment, program.numerics)


def _shape_errors(region: Region, segment: Segment, numerics: str) -> Iterator[str]:
    shape, dtype = segment.data.shape, segment.data.dtype
    found = f"segment '{region.name}': {dtype} {list(shape)}"
    if region.space == "xb":
        yield f"{found}: arrays are written by programs"
    if region.space == "sb" and (shape != (region.size,) or dtype != np.uint32):
        yield f"{found}, expected uint32 [{region.size}]"
    if region.space == "bank":
        expected = np.dtype(np.float32 if numerics == "fp32" and region.element == "number" else np.uint16)
        fits = len(shape) == 3 and region.size > 0 and shape[2] % region.size == 0
        if dtype != expected or not fits:
            yield f"{found}, expected {expected} [channels, banks, {region.size} columns * lanes]"


def _debug_errors(program: Program) -> Iterator[str]:
    if len(program.debug) not in (0, len(program.code)):
        yield f"{len(program.debug)} debug lines for {len(program.code)} instructions"
    if any(not 0 <= line < len(program.sources) for line in program.debug):
        yield f"a debug line names a source outside 0 to {len(program.sources) - 1}"
