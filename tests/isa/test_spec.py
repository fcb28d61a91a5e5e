from __future__ import annotations

import pytest

from isa import INSTRUCTIONS, InstructionSpec, Kind, Operand, instruction
from isa.spec import OPCODE_BITS, OPCODE_RANGES, WORD_BITS, InstructionTable


def _row(*operands: Operand, mnemonic: str = "x", opcode: int = 0, extension: str = "I") -> InstructionSpec:
    return InstructionSpec(mnemonic, opcode, extension, "sequencer", "a row", operands)


@pytest.mark.parametrize("row", tuple(INSTRUCTIONS), ids=lambda row: row.mnemonic)
def test_every_bit_belongs_to_one_field(row: InstructionSpec) -> None:
    taken = [bit for field in row.fields for bit in range(field.low, field.low + field.operand.width)]
    assert sorted(taken) == list(range(OPCODE_BITS, row.used_bits))
    assert row.used_bits <= WORD_BITS
    assert row.opcode in OPCODE_RANGES[row.extension]
    assert row.meaning
    assert all(operand.meaning for operand in row.operands)


def test_defaults_fit_their_fields() -> None:
    for row in INSTRUCTIONS:
        written = {operand.name: _sample(operand) for operand in row.operands if operand.default is None}
        assert instruction(row.mnemonic, **written).spec is row


def _sample(operand: Operand) -> int | str:
    return operand.choices[0] if operand.kind is Kind.CHOICE else 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((_row(), _row(mnemonic="y")), "two rows share a mnemonic or an opcode"),
        ((_row(opcode=0x40),), "x: opcode 0x40 is outside the range of extension I"),
        ((_row(*(Operand(str(n), Kind.UNSIGNED, 32) for n in range(8))),), "x: 264 bits do not fit a 256-bit word"),
        ((_row(Operand("a", Kind.UNSIGNED, 4), Operand("a", Kind.UNSIGNED, 4)),), "x: two operands share a name"),
        ((_row(Operand("a", Kind.REGISTER, 4)),), "x.a: a register operand has no immediate"),
        ((_row(Operand("a", Kind.UNSIGNED)),), "x.a: no bits"),
        ((_row(Operand("a", Kind.FLOAT, 16)),), "x.a: a float has 32 bits"),
        ((_row(Operand("a", Kind.CHOICE, 1, choices=("p", "q", "r"))),), "x.a: 3 choices do not fit 1 bits"),
        ((_row(Operand("a", Kind.LABEL, 8, indexed=True)),), "x.a: a label cannot be indexed"),
    ],
)
def test_a_bad_row_is_refused(rows: tuple[InstructionSpec, ...], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        InstructionTable(rows)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rd": 32, "ra": 0, "b": 0}, "add: rd=32 is not a register r0 to r31"),
        ({"rd": 0, "ra": 0, "b": 1 << 31}, "add: b=2147483648 is outside -2147483648 to 2147483647"),
        ({"rd": 0, "ra": 0, "b": 1.5}, "add: b=1.5 is not an integer"),
        ({"rd": 0, "ra": 0}, "add: operand 'b' is missing"),
    ],
)
def test_an_operand_that_does_not_fit_is_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        instruction("add", **arguments)
    assert str(caught.value) == message


def test_a_float_must_fit_binary32() -> None:
    with pytest.raises(ValueError, match=r"vfill: value=1e\+39 is outside the range of binary32"):
        instruction("vfill", dst=0, value=1e39, len=1)
    assert instruction("vfill", dst=0, value=float("inf"), len=1)["value"] == float("inf")
