"""`pimc disasm`: program to text."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from pimc.commands.command import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("program", metavar="P.pim", help="the program")
    parser.add_argument("-o", "--output", metavar="FILE.pimasm", help="text to write (default: standard output)")
    parser.add_argument("--entry", metavar="NAME", help="only the instructions of this entry")
    parser.add_argument("--encoding", action="store_true", help="show number and 32-byte word of each instruction")


def _run(options: Namespace) -> int:
    from isa import InputError, disassemble, load_program, save_assembly
    from pimc.file_kinds import FileKind, check_kind
    from pimc.files import check_output
    from pimc.report.terminal import Terminal, print_json

    if options.output is not None:
        check_output(options.output)
        if options.entry is not None:
            raise InputError(
                "one entry alone is no program, so no text of it is written",
                help="leave --entry out, or -o: pimc disasm P.pim --entry NAME > FILE writes it for reading",
            )
    check_kind(options.program, FileKind.PROGRAM)
    program = load_program(options.program)
    if options.entry is not None and options.entry not in program.entries:
        raise InputError(f"no entry '{options.entry}'", notes=[f"entries: {', '.join(program.entries)}"])
    if options.output is not None:
        save_assembly(program, options.output, options.program, options.encoding)
        Terminal(options.color, options.quiet).note(f"wrote {options.output}: {len(program.code)} instructions")
        return 0
    text = disassemble(program, options.program, options.entry, options.encoding)
    if options.json:
        print_json({"assembly": text})
    else:
        sys.stdout.write(text)
    return 0


COMMAND = Command(
    name="disasm",
    summary="print a program as assembly text",
    description="Prints a program as text that 'pimc asm' turns into the same bytes again.\n"
    "Weights stay in the .pim file, to which the text refers; beside a text in another folder they are\n"
    "copied to FILE.pimasm.data, because a text may only name files of its own folder.",
    examples=("pimc disasm t.pim | head -60", "pimc disasm t.pim --entry decode", "pimc disasm t.pim -o a.pimasm"),
    add_arguments=_add_arguments,
    run=_run,
)
