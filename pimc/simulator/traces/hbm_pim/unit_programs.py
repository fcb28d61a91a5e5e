"""Programs of HBM-PIM units: a column access in PIM mode executes the next instruction in every unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BURSTS = 8
"""Column accesses that one instruction takes: one for each register of a register file."""


@dataclass(frozen=True)
class Operation:
    """An instruction that takes `BURSTS` column accesses.

    Attributes:
        text: The instruction, as the published simulator prints it.
    """

    text: str


@dataclass(frozen=True)
class Jump:
    """Goes back, in no time.

    Attributes:
        count: How often it does; after that the program goes on behind it.
        back: Distance to its target, counted from the instruction behind it.
    """

    count: int
    back: int

    @property
    def text(self) -> str:
        """The instruction, as the published simulator prints it."""
        return f"JUMP {self.count}x [PC - {self.back}]"


Program = Sequence[Operation | Jump]


class ProgramCounter:
    """Where the units stand in their program; all units of a channel stand at the same place."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._place = 0
        self._accesses = 0
        self._jumps: dict[int, int] = {}

    def access(self) -> list[str]:
        """Execute the next column access; return the instructions that it took, jumps first, with their places."""
        texts: list[str] = []
        while self._place < len(self._program):
            instruction = self._program[self._place]
            texts.append(f"[{self._place}] {instruction.text}")
            if isinstance(instruction, Operation):
                self._accesses = (self._accesses + 1) % BURSTS
                self._place += self._accesses == 0
                break
            self._take(instruction)
        return texts

    def _take(self, jump: Jump) -> None:
        taken = self._jumps.get(self._place, 0)
        self._jumps[self._place] = taken + 1
        self._place += 1
        if taken < jump.count:
            self._place -= jump.back


def gemv_program(input_tiles: int) -> Program:
    """Accumulate the products of the even banks' columns, then of the odd banks', then store the sums."""
    even, odd = -(-input_tiles // 2), input_tiles // 2
    program: list[Operation | Jump] = [
        Operation("MAC GRF_B[0], GRF_A[0], EVEN_BANK, auto"),
        Jump(BURSTS * even - 1, 2),
    ]
    if odd:
        program += [Operation("MAC GRF_B[0], GRF_A[0], ODD_BANK, auto"), Jump(BURSTS * odd - 1, 2)]
    return (*program, Operation("NOP 8x"))


def element_wise_program(operation: str, tiles: int) -> Program:
    """Fill a register file from a bank, apply `operation` with another row of it, store; even banks, then odd ones."""
    half = [
        (
            Operation(f"FILL GRF_{file}[0], {bank}"),
            Operation(f"{operation} GRF_{file}[0], GRF_{file}[0], {bank}, auto"),
            Operation("NOP 8x"),
        )
        for file, bank in (("A", "EVEN_BANK"), ("B", "ODD_BANK"))
    ]
    return (*half[0], *half[1], Jump(tiles - 1, 7))


def relu_program(tiles: int) -> Program:
    """Fill a register file from a bank through the activation function, store; even banks, then odd ones."""
    return (
        Operation("FILL GRF_A[0], EVEN_BANK, relu"),
        Operation("NOP 8x"),
        Operation("FILL GRF_B[0], ODD_BANK, relu"),
        Operation("NOP 8x"),
        Jump(tiles - 1, 5),
    )
