"""A program as tables and JSON values."""

from __future__ import annotations

from typing import Any

from isa import Machine, Program
from pimc.report.compilation import memory_rows
from pimc.report.policies import cache_rows
from pimc.report.quantities import byte_size, count
from pimc.report.terminal import Terminal
from pimc.report.units import blocks_of, print_blocks

_CACHES, _BLOCKS = "compressed_cache", "blocks"
"""Metadata that are described in words."""


def print_program(terminal: Terminal, program: Program, machine: Machine | None) -> None:
    """Entries, code, memory, ports and symbols of a program."""
    terminal.facts("", _facts(program, machine))
    terminal.line()
    rows = [
        (
            f"{p.entry}/{p.name}" if p.entry else p.name,
            p.direction,
            f"{p.dtype}[{', '.join(str(dim) for dim in p.shape)}]",
            p.kind,
            p.symbol,
        )
        for p in program.ports
    ]
    terminal.table("", ("port", "direction", "type", "kind", "symbol"), rows)
    terminal.line()
    regions = [(r.name, r.space, count(r.address), count(r.size), r.role) for r in program.regions]
    terminal.table("", ("region", "space", "address", "size", "role"), regions, right=("address", "size"))
    terminal.line()
    symbols = [(s.name, s.space, count(s.address), count(s.size)) for s in program.symbols]
    terminal.table("", ("symbol", "space", "address", "size"), symbols, right=("address", "size"))
    print_blocks(terminal, blocks_of(program))


def program_summary(program: Program) -> dict[str, Any]:
    """A program without its code and data as JSON values."""
    return {
        "machine": program.machine,
        "machine_sha256": program.machine_sha256,
        "numerics": program.numerics,
        "instructions": len(program.code),
        "data_bytes": _data_bytes(program),
        "entries": {e.name: {"address": e.address, "registers": list(e.registers)} for e in program.entries.values()},
        "registers": [
            {"name": r.name, "register": r.register, "low": r.low, "high": r.high, "meaning": r.meaning}
            for r in program.registers
        ],
        "ports": [
            {"name": p.name, "direction": p.direction, "dtype": p.dtype, "shape": list(p.shape), "kind": p.kind}
            | ({"entry": p.entry} if p.entry else {})
            | ({"filled_by": p.filled_by} if p.filled_by else {})
            for p in program.ports
        ],
        "regions": [
            {"name": r.name, "space": r.space, "address": r.address, "size": r.size, "role": r.role}
            for r in program.regions
        ],
        "symbols": [{"name": s.name, "space": s.space, "address": s.address, "size": s.size} for s in program.symbols],
        "metadata": dict(program.metadata),
    }


def _facts(program: Program, machine: Machine | None) -> list[tuple[str, str]]:
    facts = [
        ("machine", f"{program.machine}, numerics {program.numerics}"),
        ("code", f"{count(len(program.code))} instructions of 32 bytes"),
        ("data", byte_size(_data_bytes(program))),
        *((f"entry {entry.name}", f"at {entry.address}") for entry in program.entries.values()),
    ]
    for register in program.registers:
        text = f"r{register.register}, {register.low} to {register.high}: {register.meaning}"
        facts.append((f"register {register.name}", text))
    facts += memory_rows(program, machine)
    facts += cache_rows(program.metadata.get(_CACHES, ()))
    told = (_CACHES, _BLOCKS)
    scalars = {key: value for key, value in program.metadata.items() if key not in told and not isinstance(value, dict)}
    facts += [(key, str(value)) for key, value in sorted(scalars.items())]
    return facts


def _data_bytes(program: Program) -> int:
    return sum(segment.data.nbytes for segment in program.segments)
