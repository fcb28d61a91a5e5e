"""`.pimasm` text to a program."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from isa.assembly.data_section import read_segment
from isa.assembly.directives import MachineLine, ProgramDraft, take_line
from isa.assembly.operands import Scope, assemble_instruction
from isa.assembly.syntax import parse_line
from isa.errors import AssemblyError, MachineError, Place, joined
from isa.program import Instruction, Program, Segment
from isa.structure import structure_errors


def assemble(
    text: str,
    file: str | None = None,
    base_folder: str | Path | None = None,
    data_file: str | Path | None = None,
) -> Program:
    """Assemble a program.

    Args:
        text: The assembly text.
        file: Its name, for diagnostics.
        base_folder: Where the data files that it names lie; the folder of `file` when left out. A name that leads out
            of this folder, or over a symbolic link, is refused.
        data_file: The one data file that may lie elsewhere.

    Raises:
        AssemblyError: with the place and everything that is wrong.
    """
    draft = ProgramDraft()
    errors = _read_lines(draft, text, file)
    machine = draft.machine
    if machine is None:
        hint = 'write .machine "gddr6-aim"'
        errors.append(AssemblyError("there is no .machine directive", Place(file), help=hint))
        raise joined(errors)
    machine = _complete(machine, errors)
    code = _assemble_code(draft, machine, errors)
    if errors:
        raise joined(sorted(errors, key=lambda error: error.place.line if error.place else 0))
    folder = Path(base_folder) if base_folder is not None else Path(file or ".").parent
    segments = _read_segments(draft, folder, Path(data_file) if data_file is not None else None)
    return _program(draft, machine, code, segments, file)


def _read_lines(draft: ProgramDraft, text: str, file: str | None) -> list[AssemblyError]:
    errors: list[AssemblyError] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        written = raw.rstrip("\r")
        try:
            take_line(draft, parse_line(written, Place(file, number, text=written)))
        except AssemblyError as problem:
            errors.append(problem)
    return errors


def _complete(machine: MachineLine, errors: list[AssemblyError]) -> MachineLine:
    """Fill in the hash and the number of channels that the text leaves to the bundled machine."""
    if machine.sha256 is not None and machine.channels is not None:
        return machine
    from isa.machine_loader import load_machine

    try:
        loaded = load_machine(machine.name)
    except MachineError as problem:
        if machine.sha256 is None:
            errors.append(AssemblyError(problem.message, machine.line.place, problem.notes, problem.help))
        return machine
    channels = machine.channels or (loaded.near_bank.channels if loaded.near_bank else None)
    return replace(machine, name=loaded.name, sha256=machine.sha256 or loaded.sha256, channels=channels)


def _assemble_code(draft: ProgramDraft, machine: MachineLine, errors: list[AssemblyError]) -> list[Instruction]:
    scope = Scope(draft.symbols, draft.labels, machine.channels)
    code: list[Instruction] = []
    for line in draft.pending:
        built, found = assemble_instruction(line, scope)
        errors += found
        if built is not None:
            code.append(built)
    without = [line for line, source in zip(draft.pending, draft.debug, strict=True) if source is None]
    if without and len(without) < len(draft.debug):
        hint = "give all instructions a .loc, or none"
        errors.append(without[0].error("an instruction before the first .loc", 1, hint))
    return code


def _read_segments(draft: ProgramDraft, folder: Path, allowed: Path | None) -> tuple[Segment, ...]:
    errors: list[AssemblyError] = []
    segments = [read_segment(segment, folder, allowed, errors) for segment in draft.segments]
    if errors:
        raise joined(errors)
    return tuple(segment for segment in segments if segment is not None)


def _program(
    draft: ProgramDraft, machine: MachineLine, code: list[Instruction], segments: tuple[Segment, ...], file: str | None
) -> Program:
    program = Program(
        machine=machine.name,
        machine_sha256=machine.sha256 or "",
        numerics=machine.numerics,
        code=tuple(code),
        entries=draft.entries,
        registers=tuple(draft.registers),
        limits=tuple(draft.limits),
        regions=tuple(draft.regions),
        symbols=tuple(draft.symbols.values()),
        ports=tuple(draft.ports),
        segments=segments,
        sources=tuple(draft.sources),
        debug=tuple(source for source in draft.debug if source is not None),
        metadata=draft.metadata,
    )
    wrong = structure_errors(program)
    if wrong:
        raise AssemblyError("the program is not well formed", Place(file), notes=wrong)
    return program
