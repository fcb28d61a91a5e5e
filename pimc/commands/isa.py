"""`pimc isa`: the instruction set, printed from its table."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from pimc.commands.command import Command


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("mnemonic", nargs="?", metavar="MNEMONIC", help="show the operands and bits of one instruction")
    parser.add_argument("--manual", action="store_true", help="print the manual as Markdown")


def _run(options: Namespace) -> int:
    from isa import INSTRUCTIONS, manual
    from pimc.report.instructions import find_instruction, instruction_facts, print_instruction, print_instructions
    from pimc.report.terminal import Terminal, print_json

    if options.manual:
        print(manual(find_instruction(options.mnemonic).mnemonic if options.mnemonic else None))
        return 0
    terminal = Terminal(options.color, options.quiet)
    if options.mnemonic is None:
        if options.json:
            print_json([instruction_facts(row) for row in INSTRUCTIONS])
        else:
            print_instructions(terminal)
        return 0
    row = find_instruction(options.mnemonic)
    print_json(instruction_facts(row)) if options.json else print_instruction(terminal, row)
    return 0


COMMAND = Command(
    name="isa",
    summary="list the instructions, or show one",
    description="Prints the instruction table; with MNEMONIC the operands and bit fields of one instruction.",
    examples=("pimc isa", "pimc isa mac", "pimc isa --manual > isa.md"),
    add_arguments=_add_arguments,
    run=_run,
)
