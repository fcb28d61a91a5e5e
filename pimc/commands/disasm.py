"""`pimc disasm`: program to text."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from pimc.commands.command import Command
from pimc.commands.registers import add_set, entry_registers

if TYPE_CHECKING:
    from isa import Program


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("program", metavar="P.pim", help="the program")
    parser.add_argument("-o", "--output", metavar="FILE.pimasm", help="text to write (default: standard output)")
    parser.add_argument("--entry", metavar="NAME", help="only the instructions of this entry")
    parser.add_argument("--encoding", action="store_true", help="show number and 32-byte word of each instruction")
    parser.add_argument(
        "--format",
        choices=("pimasm", "aim-isr"),
        default="pimasm",
        help="pimasm, or aim-isr: what one run of an entry does, as a trace for the published AiM simulator",
    )
    add_set(parser, "aim-isr: value of a host register (default: its lowest)")


def _run(options: Namespace) -> int:
    from isa import InputError, load_program
    from pimc.file_kinds import FileKind, check_kind
    from pimc.files import check_output

    if options.output is not None:
        check_output(options.output)
    check_kind(options.program, FileKind.PROGRAM)
    program = load_program(options.program)
    if options.entry is not None and options.entry not in program.entries:
        raise InputError(f"no entry '{options.entry}'", notes=[f"entries: {', '.join(program.entries)}"])
    return _print_trace(options, program) if options.format == "aim-isr" else _print_assembly(options, program)


def _print_assembly(options: Namespace, program: Program) -> int:
    from isa import InputError, disassemble, save_assembly
    from pimc.report.terminal import Terminal, print_json

    if options.set:
        raise InputError("--set has no meaning for assembly text", help="give --format aim-isr")
    if options.output is not None:
        if options.entry is not None:
            raise InputError(
                "one entry alone is no program, so no text of it is written",
                help="leave --entry out, or -o: pimc disasm P.pim --entry NAME > FILE writes it for reading",
            )
        save_assembly(program, options.output, options.program, options.encoding)
        Terminal(options.color, options.quiet).note(f"wrote {options.output}: {len(program.code)} instructions")
        return 0
    text = disassemble(program, options.program, options.entry, options.encoding)
    if options.json:
        print_json({"assembly": text})
    else:
        sys.stdout.write(text)
    return 0


def _print_trace(options: Namespace, program: Program) -> int:
    from isa import program_machine
    from pimc.files import write_text
    from pimc.report.terminal import Terminal, print_json
    from pimc.simulator import Simulator, aim_isr_lines

    machine = program_machine(program)
    entry = options.entry or ("decode" if "decode" in program.entries else next(iter(program.entries)))
    simulator = Simulator(machine)
    simulator.load(program)
    simulator.record()
    statistics = simulator.run(entry, entry_registers(program, entry, options.set), timing_only=True)
    lines = list(aim_isr_lines(simulator.recording(), program, machine))
    text = "\n".join([*lines, ""])
    if options.output is not None:
        write_text(options.output, text)
    elif options.json:
        print_json({"trace": text})
    else:
        sys.stdout.write(text)
    where = f"wrote {options.output}: " if options.output is not None else ""
    terminal = Terminal(options.color, options.quiet)
    terminal.note(f"{where}{len(lines):,} lines of '{entry}', which takes {statistics.cycles:,} cycles")
    return 0


COMMAND = Command(
    name="disasm",
    summary="print a program as assembly text, or as a trace for another simulator",
    description="Prints a program as text that 'pimc asm' turns into the same bytes again.\n"
    "Weights stay in the .pim file, to which the text refers; beside a text in another folder they are\n"
    "copied to FILE.pimasm.data, because a text may only name files of its own folder.\n"
    "With --format aim-isr: one run of an entry, loops unrolled; see docs/aim-isr-export.md.",
    examples=(
        "pimc disasm t.pim | head -60",
        "pimc disasm t.pim --entry decode",
        "pimc disasm t.pim -o a.pimasm",
        "pimc disasm t.pim --format aim-isr --set kv_length=128 -o t.trace",
    ),
    add_arguments=_add_arguments,
    run=_run,
)
