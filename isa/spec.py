"""What a row of the instruction table may say, checked when the table is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

WORD_BITS = 256
OPCODE_BITS = 8
REGISTER_COUNT = 32
REGISTER_BITS = 6  # 0 means no register, n + 1 means register n


class Kind(Enum):
    """What the value of an operand means."""

    REGISTER = "register"  # a scalar register, destination or source
    SIGNED = "signed"  # two's complement integer
    UNSIGNED = "unsigned"
    FLOAT = "float"  # IEEE 754 binary32
    CHOICE = "choice"  # one name out of `Operand.choices`
    LABEL = "label"  # index of an instruction in the code section
    CHANNELS = "channels"  # bit mask of channels
    SHARED_BUFFER = "sb"  # word address in the shared buffer
    BANK = "bank"  # linear column address, row * columns_per_row + column
    GLOBAL_BUFFER = "gb"  # column of the channel's global buffer
    ACCUMULATOR = "acc"  # accumulator of a bank


SPACE_OF_KIND = {
    Kind.SHARED_BUFFER: "sb",
    Kind.BANK: "bank",
    Kind.GLOBAL_BUFFER: "gb",
    Kind.ACCUMULATOR: "acc",
}
"""Memory space of each kind of address."""


@dataclass(frozen=True)
class Operand:
    """One operand of an instruction.

    Attributes:
        name: Keyword in assembly text and attribute of the decoded instruction.
        kind: What the value means.
        bits: Width of the immediate field (0 for `REGISTER`, whose field is `REGISTER_BITS` wide).
        indexed: Whether a scalar register may be added to the immediate (`imm + reg`).
        default: Value that text may leave out; `None` means the operand must be written.
        choices: Names of a `CHOICE`, in the order of their codes.
        meaning: One line for the manual.
    """

    name: str
    kind: Kind
    bits: int = 0
    indexed: bool = False
    default: int | float | str | None = None
    choices: tuple[str, ...] = ()
    meaning: str = ""

    @property
    def width(self) -> int:
        """Bits that the operand takes in the word."""
        if self.kind is Kind.REGISTER:
            return REGISTER_BITS
        return self.bits + (REGISTER_BITS if self.indexed else 0)


@dataclass(frozen=True)
class BitField:
    """Place of an operand in the 256-bit word: bits `low` to `low + width - 1`, bit 0 is the first byte's lowest."""

    operand: Operand
    low: int

    @property
    def register_low(self) -> int:
        """Lowest bit of the register part of an indexed operand, which follows the immediate."""
        return self.low + self.operand.bits


@dataclass(frozen=True)
class InstructionSpec:
    """One row of the instruction table.

    Attributes:
        mnemonic: Name in assembly text.
        opcode: Code in the lowest eight bits of the word.
        extension: Letter of the ISA extension that a machine must have.
        unit: Unit that executes it: a name of `isa.units.UNITS`.
        meaning: One line for the manual.
        operands: In the order of assembly text and of bit fields.
    """

    mnemonic: str
    opcode: int
    extension: str
    unit: str
    meaning: str
    operands: tuple[Operand, ...] = ()
    fields: tuple[BitField, ...] = field(init=False)

    def __post_init__(self) -> None:
        low = OPCODE_BITS
        fields: list[BitField] = []
        for operand in self.operands:
            fields.append(BitField(operand, low))
            low += operand.width
        object.__setattr__(self, "fields", tuple(fields))

    @property
    def used_bits(self) -> int:
        """Bits of the word that carry meaning; the rest are reserved and must be zero."""
        return OPCODE_BITS + sum(operand.width for operand in self.operands)

    def operand(self, name: str) -> Operand:
        """The operand called `name`; raises `KeyError` when the row has none."""
        for operand in self.operands:
            if operand.name == name:
                return operand
        raise KeyError(f"{self.mnemonic} has no operand '{name}'")


OPCODE_RANGES = {
    "I": range(0x00, 0x40),
    "B": range(0x40, 0x60),
    "X": range(0x60, 0x80),
    "K": range(0x80, 0xA0),
    "C": range(0xA0, 0xC0),
    "L": range(0xC0, 0xE0),
}


class InstructionTable:
    """All rows, by mnemonic and by opcode. Building it checks every rule, so an import fails on a bad row."""

    def __init__(self, rows: Iterable[InstructionSpec]) -> None:
        self._rows = tuple(rows)
        self.by_mnemonic = {row.mnemonic: row for row in self._rows}
        self.by_opcode = {row.opcode: row for row in self._rows}
        if len(self.by_mnemonic) != len(self._rows) or len(self.by_opcode) != len(self._rows):
            raise ValueError("two rows share a mnemonic or an opcode")
        for row in self._rows:
            _check_row(row)

    def __iter__(self) -> Iterator[InstructionSpec]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, mnemonic: str) -> InstructionSpec:
        return self.by_mnemonic[mnemonic]


def _check_row(row: InstructionSpec) -> None:
    if row.opcode not in OPCODE_RANGES[row.extension]:
        raise ValueError(f"{row.mnemonic}: opcode {row.opcode:#04x} is outside the range of extension {row.extension}")
    if row.used_bits > WORD_BITS:
        raise ValueError(f"{row.mnemonic}: {row.used_bits} bits do not fit a {WORD_BITS}-bit word")
    names = [operand.name for operand in row.operands]
    if len(set(names)) != len(names):
        raise ValueError(f"{row.mnemonic}: two operands share a name")
    for operand in row.operands:
        _check_operand(row, operand)


def _check_operand(row: InstructionSpec, operand: Operand) -> None:
    where = f"{row.mnemonic}.{operand.name}"
    if operand.kind is Kind.REGISTER:
        if operand.bits or operand.indexed:
            raise ValueError(f"{where}: a register operand has no immediate")
        return
    if operand.bits <= 0:
        raise ValueError(f"{where}: no bits")
    if operand.kind is Kind.FLOAT and operand.bits != 32:
        raise ValueError(f"{where}: a float has 32 bits")
    if operand.kind is Kind.CHOICE and len(operand.choices) > 1 << operand.bits:
        raise ValueError(f"{where}: {len(operand.choices)} choices do not fit {operand.bits} bits")
    if operand.indexed and operand.kind in (Kind.FLOAT, Kind.CHOICE, Kind.LABEL):
        raise ValueError(f"{where}: a {operand.kind.value} cannot be indexed")
