from __future__ import annotations

import pytest

import isa


def test_the_manual_has_a_section_for_every_instruction() -> None:
    text = isa.manual()
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        f"### `{row.mnemonic}`" for row in sorted(isa.INSTRUCTIONS, key=lambda row: row.opcode)
    ]


def test_a_section_shows_syntax_and_bits() -> None:
    assert (
        isa.manual("sts")
        == """\
### `sts`

int32 word of the shared buffer = ra.

    sts dst=[address], ra=register

Opcode 0x19, unit vector, 44 bits used.

| operand | bits | kind | default | meaning |
|---|---|---|---|---|
| dst | 8-31, register 32-37 | address in sb + register |  | word |
| ra | 38-43 | register |  | value |
"""
    )


def test_an_unknown_instruction_has_no_section() -> None:
    with pytest.raises(KeyError):
        isa.manual("nop")
