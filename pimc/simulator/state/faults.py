"""What an instruction may do wrong while it runs, and how the user is told."""

from __future__ import annotations

from collections.abc import Sequence

from isa import Indexed, Instruction, Place, Program, ProgramError


class FaultError(Exception):
    """An instruction cannot be executed; whoever runs the program adds where it stands.

    Attributes:
        message: What is wrong, in one sentence without a final full stop.
        notes: Facts: what is allowed.
    """

    def __init__(self, message: str, *notes: str) -> None:
        super().__init__(message)
        self.message = message
        self.notes = notes


def program_error(fault: FaultError, program: Program, index: int, operands: Sequence[int | float]) -> ProgramError:
    """The error of the instruction `index` of `program`, with its origin and its operands."""
    instruction = program.code[index]
    node = program.sources[program.debug[index]].node if program.debug else None
    values = ", ".join(_operand_text(instruction, number, operands) for number in range(len(operands)))
    return ProgramError(
        f"instruction {index} ({instruction.mnemonic}): {fault.message}",
        Place(node=node),
        notes=(f"operands: {values}", *fault.notes) if values else fault.notes,
        help="pimc check shows which addresses a program can reach",
    )


def _operand_text(instruction: Instruction, number: int, operands: Sequence[int | float]) -> str:
    operand, value = instruction.spec.operands[number], instruction.values[number]
    if isinstance(value, Indexed):
        return f"{operand.name}={operands[number]} ({value.immediate} + r{value.register})"
    return f"{operand.name}={value}"
