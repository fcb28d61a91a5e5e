"""Rows of the instruction table for extension L: transfers between the shared buffer and off-chip memory.

A byte of the memory is an INT8 of a word of the shared buffer, or of a record of codes that are not 0 (`kappend`).
Time and energy of records are those of the bytes that the program declares, in runs with data, too.
"""

from __future__ import annotations

from isa.operands import value, words
from isa.spec import InstructionSpec, Kind, Operand

_ADDRESS = value("addr", 32, "byte of the off-chip memory")
_VALUES = (value("bytes", 24, "values, a byte each"),)
_RECORDS = (
    Operand("channels", Kind.UNSIGNED, 15, meaning="codes of a record"),
    Operand("split", Kind.UNSIGNED, 15, meaning="codes of `bits` bits; those behind have `bits2`"),
    Operand("bits", Kind.UNSIGNED, 4, meaning="bits of a code, 1 to 8"),
    Operand("bits2", Kind.UNSIGNED, 4, meaning="bits of a code behind `split`, 1 to 8"),
    value("rows", 16, "records", 1),
    Operand("slot", Kind.UNSIGNED, 16, meaning="bytes from one record to the next"),
    Operand("bytes", Kind.UNSIGNED, 16, meaning="declared bytes of a record"),
    Operand(
        "content",
        Kind.CHOICE,
        1,
        default="codes",
        choices=("codes", "values"),
        meaning="values: INT8 of words instead of codes; `bits` and `bits2` are 8",
    ),
)


def _row(mnemonic: str, opcode: int, meaning: str, *operands: Operand) -> InstructionSpec:
    return InstructionSpec(mnemonic, opcode, "L", "memory", meaning, operands)


OFF_CHIP = (
    _row("ldoff", 0xC0, "dst = INT8 values of the memory", words("dst", "result, consecutive"), _ADDRESS, *_VALUES),
    _row("stoff", 0xC1, "memory = INT8 of the words src", _ADDRESS, words("src", "values, consecutive"), *_VALUES),
    _row(
        "ldnz",
        0xC2,
        "codes of records that stnz wrote; a channel without a code has 0",
        words("dst", "codes (int32) or values, rows of `channels` consecutive words"),
        _ADDRESS,
        *_RECORDS,
    ),
    _row(
        "stnz",
        0xC3,
        "write a record for each row of codes, as kappend does with flags of 0, at slots of the memory",
        _ADDRESS,
        words("src", "codes (int32) or values, rows of `channels` consecutive words"),
        *_RECORDS,
    ),
)
"""In the order of opcodes."""
