"""`pimc asm`: text to program."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from pimc.commands.command import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", metavar="FILE.pimasm", help="assembly text")
    parser.add_argument("-o", "--output", metavar="P.pim", help="program to write (default: FILE.pim here)")
    parser.add_argument("--data", metavar="P.pim", help="a data file outside the folder of the text that it may name")


def _run(options: Namespace) -> int:
    from isa import assemble, save_program
    from pimc.file_kinds import FileKind, check_kind
    from pimc.files import check_output, read_text
    from pimc.report.terminal import Terminal, print_json

    output = Path(options.output or Path(options.source).with_suffix(".pim").name)
    check_output(output)
    check_kind(options.source, FileKind.ASSEMBLY)
    program = assemble(read_text(options.source), options.source, data_file=options.data)
    save_program(program, output)
    facts = {"program": str(output), "machine": program.machine, "instructions": len(program.code)}
    if options.json:
        print_json(facts)
    else:
        Terminal(options.color, options.quiet).note(f"wrote {output}: {len(program.code)} instructions")
    return 0


COMMAND = Command(
    name="asm",
    summary="assemble text to a program",
    description="Assembles .pimasm text to a .pim program. Weights come from the file that its .data section names,\n"
    "which lies in the folder of the text or below, unless --data names it.",
    examples=("pimc asm a.pimasm -o b.pim",),
    add_arguments=_add_arguments,
    run=_run,
)
