"""The instruction table as tables and JSON values."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from textwrap import fill
from typing import Any

from isa import EXTENSIONS, INSTRUCTIONS, InputError, InstructionSpec, Kind, Operand, syntax
from pimc.report.terminal import LINE_WIDTH, Terminal


def find_instruction(mnemonic: str) -> InstructionSpec:
    """The row called `mnemonic`.

    Raises:
        InputError: there is none.
    """
    if mnemonic in INSTRUCTIONS.by_mnemonic:
        return INSTRUCTIONS[mnemonic]
    close = difflib.get_close_matches(mnemonic, INSTRUCTIONS.by_mnemonic, 1)
    meant = f"did you mean '{close[0]}'?" if close else "'pimc isa' lists them"
    raise InputError(f"unknown instruction '{mnemonic}'", help=meant)


def print_instructions(terminal: Terminal) -> None:
    """One line an instruction, by extension, with the operands that must be written."""
    for extension, meaning in EXTENSIONS.items():
        rows = [
            (row.mnemonic, f"{row.opcode:#04x}", row.unit, " ".join(_required(row)), row.meaning)
            for row in INSTRUCTIONS
            if row.extension == extension
        ]
        if rows:
            columns = ("mnemonic", "opcode", "unit", "operands", "meaning")
            terminal.table(f"extension {extension}: {meaning}", columns, rows)
            terminal.line()
    terminal.line("Further operands have defaults: pimc isa MNEMONIC shows them, and the bits.")


def _required(row: InstructionSpec) -> Iterator[str]:
    return (operand.name for operand in row.operands if operand.default is None)


def print_instruction(terminal: Terminal, row: InstructionSpec) -> None:
    """Operands and bit fields of one instruction."""
    terminal.line(fill(f"{row.mnemonic}: {row.meaning}", LINE_WIDTH, subsequent_indent="  "))
    terminal.line(f"opcode {row.opcode:#04x}, extension {row.extension}, unit {row.unit}")
    terminal.line(fill(f"written {syntax(row)}", LINE_WIDTH, subsequent_indent=" " * len("written ")))
    rows = [
        (
            field.operand.name,
            f"{field.low}..{field.low + field.operand.width - 1}",
            field.operand.kind.value + (" + register" if field.operand.indexed else ""),
            "required" if field.operand.default is None else str(field.operand.default),
            _meaning(field.operand),
        )
        for field in row.fields
    ]
    if rows:
        terminal.line()
        terminal.table("", ("operand", "bits", "kind", "default", "meaning"), rows)


def instruction_facts(row: InstructionSpec) -> dict[str, Any]:
    """One row as JSON values."""
    return {
        "mnemonic": row.mnemonic,
        "opcode": row.opcode,
        "extension": row.extension,
        "unit": row.unit,
        "meaning": row.meaning,
        "operands": [
            {
                "name": field.operand.name,
                "kind": field.operand.kind.value,
                "low_bit": field.low,
                "width_bits": field.operand.width,
                "indexed": field.operand.indexed,
                "default": field.operand.default,
                "choices": list(field.operand.choices),
                "meaning": field.operand.meaning,
            }
            for field in row.fields
        ],
    }


def _meaning(operand: Operand) -> str:
    if operand.kind is Kind.CHOICE:
        return f"{operand.meaning}: {', '.join(operand.choices)}"
    return operand.meaning
