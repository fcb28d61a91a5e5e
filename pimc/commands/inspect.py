"""`pimc inspect`: what is in a model, a program or a machine description."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimc.commands.command import Command
from pimc.commands.model_options import add_dimensions, add_policies, bound_dimensions, bound_values, chosen_policies

if TYPE_CHECKING:
    from isa import Machine
    from passes import Graph
    from pimc.file_kinds import FileKind
    from pimc.report.terminal import Terminal


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "subject", metavar="FILE", help="model (.onnx or folder), program (.pim) or machine (name or .yaml)"
    )
    parser.add_argument("-m", "--machine", default="gddr6-aim", help="machine that a model should fit")
    add_dimensions(parser)
    add_policies(parser)


def _run(options: Namespace) -> int:
    from pimc.file_kinds import FileKind
    from pimc.report.terminal import Terminal, print_json

    terminal = Terminal(options.color, options.quiet)
    if Path(options.subject).is_dir() and any(Path(options.subject).glob("*.onnx")):
        return _inspect_folder(options, terminal)
    kind = _kind(options.subject)
    if kind is FileKind.MODEL:
        return _inspect_model(options, terminal)
    if kind is FileKind.PROGRAM:
        return _inspect_program(options, terminal)
    from isa import load_machine
    from pimc.report.machines import print_machine

    machine = load_machine(options.subject)
    print_json(machine.model_dump(mode="json")) if options.json else print_machine(terminal, machine)
    return 0


def _kind(subject: str) -> FileKind:
    """What to show: an existing file by suffix or content, else a machine by its name.

    Raises:
        InputError: there is no such file or machine, or the file is of another kind.
    """
    from isa import InputError, Place, machine_names
    from pimc.file_kinds import FileKind, kind_of

    suffixes = {".onnx": FileKind.MODEL, ".pim": FileKind.PROGRAM, ".yaml": FileKind.MACHINE, ".yml": FileKind.MACHINE}
    found = suffixes.get(Path(subject).suffix.lower()) or kind_of(subject)
    if found in (FileKind.MODEL, FileKind.PROGRAM, FileKind.MACHINE):
        return found
    if subject in machine_names():
        return FileKind.MACHINE
    machines = f"bundled machines: {', '.join(machine_names())}"
    if not Path(subject).exists():
        raise InputError(f"there is no file and no machine '{subject}'", notes=[machines])
    what = "a folder" if Path(subject).is_dir() else found.value if found else "nothing of that"
    raise InputError(f"expected a model, a program or a machine; this is {what}", Place(subject), notes=[machines])


def _inspect_program(options: Namespace, terminal: Terminal) -> int:
    """What the program holds; its machine adds what it could hold, and may be unknown."""
    from isa import MachineError, load_program, program_machine
    from pimc.file_kinds import FileKind, check_kind
    from pimc.report.program import print_program, program_summary
    from pimc.report.terminal import print_json

    check_kind(options.subject, FileKind.PROGRAM)
    program = load_program(options.subject)
    if options.json:
        print_json(program_summary(program))
        return 0
    try:
        machine = program_machine(program)
    except MachineError as problem:
        terminal.note(problem.message)
        machine = None
    print_program(terminal, program, machine)
    return 0


def _inspect_model(options: Namespace, terminal: Terminal) -> int:
    """What the model holds, then what becomes of it; a model that cannot be compiled ends with its diagnostic."""
    from isa import load_machine
    from pimc.compiler import fuse_model
    from pimc.file_kinds import FileKind, check_kind
    from pimc.frontend import load_model
    from pimc.report.fusion import fusion_facts
    from pimc.report.model import fit_facts, model_facts, print_model
    from pimc.report.terminal import print_json

    machine = load_machine(options.machine)
    check_kind(options.subject, FileKind.MODEL)
    model = load_model(options.subject)
    if options.json:
        graph = fuse_model(model, bound_dimensions(options), bind=bound_values(options), kv=chosen_policies(options))
        print_json({**model_facts(model), **fusion_facts(graph), **fit_facts(graph, machine)})
        return 0
    print_model(terminal, model)
    graph = fuse_model(model, bound_dimensions(options), bind=bound_values(options), kv=chosen_policies(options))
    _print_result(terminal, graph, machine)
    return 0


def _inspect_folder(options: Namespace, terminal: Terminal) -> int:
    """What each file of the folder holds and what becomes of it, by entry."""
    from isa import load_machine
    from pimc.compiler import fuse_folder
    from pimc.model_folder import load_folder
    from pimc.report.fusion import fusion_facts
    from pimc.report.model import fit_facts, model_facts, print_model
    from pimc.report.terminal import print_json

    machine = load_machine(options.machine)
    folder = load_folder(options.subject)
    graphs = fuse_folder(folder, bound_dimensions(options), bind=bound_values(options), kv=chosen_policies(options))
    facts: dict[str, Any] = {}
    for file, graph in zip(folder.files, graphs, strict=True):
        if options.json:
            own = {**model_facts(file.model), **fusion_facts(graph), **fit_facts(graph, machine)}
            facts[file.entry] = {"file": file.name, **own}
            continue
        terminal.line(f"{file.entry}: {file.name}")
        print_model(terminal, file.model)
        _print_result(terminal, graph, machine)
        terminal.line()
    if options.json:
        print_json(facts)
    return 0


def _print_result(terminal: Terminal, graph: Graph, machine: Machine) -> None:
    """What became of a model."""
    from pimc.report.fusion import print_fusion
    from pimc.report.model import print_fit

    terminal.line()
    print_fusion(terminal, graph)
    print_fit(terminal, graph, machine)


COMMAND = Command(
    name="inspect",
    summary="show what is in a model, a program or a machine",
    description="Shows of a model: inputs, outputs, operators, what fuses, what does not and why, whether it fits;\n"
    "of a program: entries, instructions, memory regions, symbols, ports; of a machine: its numbers.",
    examples=("pimc inspect models/tiny-shakespeare.onnx", "pimc inspect t.pim", "pimc inspect gddr6-aim"),
    add_arguments=_add_arguments,
    run=_run,
)
