"""`pimc check`: the static program verifier."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pimc.commands.command import Command

if TYPE_CHECKING:
    from isa import Diagnostic
    from pimc.report.terminal import Terminal


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("program", metavar="P.pim", help="the program")
    parser.add_argument("-m", "--machine", metavar="MACHINE", help="another machine than the program's own")


def _run(options: Namespace) -> int:
    from isa import check_program, load_machine, load_program, program_machine
    from pimc.file_kinds import FileKind, check_kind
    from pimc.report.terminal import Terminal, print_json

    check_kind(options.program, FileKind.PROGRAM)
    program = load_program(options.program)
    machine = load_machine(options.machine) if options.machine else program_machine(program)
    found = check_program(program, machine)
    if program.machine_sha256 != machine.sha256:
        same = "another description of it" if program.machine == machine.name else f"'{machine.name}'"
        note = f"the program was compiled for the machine '{program.machine}', this is {same}"
        Terminal(options.color, options.quiet).note(note)
    if options.json:
        rows = [{"message": each.message, "instruction": each.instruction, "node": each.node} for each in found]
        print_json({"ok": not found, "findings": rows})
    elif found:
        print_findings(Terminal(options.color, options.quiet), options.program, found)
    else:
        entries = ", ".join(program.entries)
        line = f"{options.program}: ok: {len(program.code)} instructions, entries {entries}, machine {machine.name}"
        Terminal(options.color, options.quiet).line(line)
    return 1 if found else 0


def print_findings(terminal: Terminal, file: str, found: Sequence[Diagnostic]) -> None:
    """Everything that is wrong, one line each."""
    for each in found:
        node = f" (node '{each.node}')" if each.node else ""
        terminal.line(f"{file}: error: {each}{node}")


COMMAND = Command(
    name="check",
    summary="prove a program safe without running it",
    description="Proves for every allowed value of the host's registers: addresses lie inside the machine and the\n"
    "program's regions, weights are never written, nothing is read before it is written, loops are balanced,\n"
    "the machine has every instruction.",
    examples=("pimc check t.pim", "pimc check t.pim --json"),
    add_arguments=_add_arguments,
    run=_run,
)
