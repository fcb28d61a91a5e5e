from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from program_strategies import instructions

import isa
from isa.encoding import WORD_BYTES


@given(st.lists(instructions(), max_size=5))
def test_words_decode_to_the_same_bytes(code: list[isa.Instruction]) -> None:
    data = isa.encode_instructions(code)
    decoded = isa.decode_instructions(data)
    assert len(data) == WORD_BYTES * len(code)
    assert repr(decoded) == repr(tuple(code))
    assert isa.encode_instructions(decoded) == data


@given(st.binary(max_size=3 * WORD_BYTES))
def test_any_bytes_are_a_program_or_an_error(data: bytes) -> None:
    try:
        code = isa.decode_instructions(data)
    except isa.EncodingError:
        return
    assert isa.encode_instructions(code) == data


@given(instructions(), st.integers(0, 255))
def test_a_flipped_bit_is_another_instruction_or_an_error(built: isa.Instruction, bit: int) -> None:
    word = int.from_bytes(isa.encode_instructions([built]), "little") ^ (1 << bit)
    data = word.to_bytes(WORD_BYTES, "little")
    try:
        decoded = isa.decode_instructions(data)
    except isa.EncodingError:
        return
    assert isa.encode_instructions(decoded) == data


def test_the_bits_of_an_instruction_stand_where_the_manual_says() -> None:
    word = int.from_bytes(isa.encode_instructions([isa.instruction("add", 3, 4, isa.Indexed(-1, 5))]), "little")
    assert word == 0x09 | 4 << 8 | 5 << 14 | 0xFFFFFFFF << 20 | 6 << 52


def test_words_of_programs_from_before_integer_arithmetic_mean_what_they_meant() -> None:
    built = isa.instruction("vadd", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
    word = 0x20 | 1 << 8 | 2 << 38 | 3 << 68 | 4 << 98 | 5 << 126 | 6 << 148 | 7 << 168 | 8 << 188
    word |= 9 << 208 | 10 << 219 | 11 << 230
    assert isa.encode_instructions([built]) == word.to_bytes(WORD_BYTES, "little")
    assert isa.decode_instructions(word.to_bytes(WORD_BYTES, "little"))[0]["type"] == "f32"
    integers = built.with_value("type", "i32")
    assert isa.encode_instructions([integers]) == (word | 1 << 241).to_bytes(WORD_BYTES, "little")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\0" * 31, "code has 31 bytes, which is no multiple of 32"),
        (b"\0" * 32 + b"\xff" + b"\0" * 31, "instruction 1 (byte 0x20): 0xff is no opcode"),
        (b"\0" + b"\1" + b"\0" * 30, "instruction 0 (byte 0x0): reserved bits of halt are not zero"),
        (b"\x08" + b"\0" * 31, "instruction 0 (byte 0x0): li.rd: 0 is no register code"),
    ],
)
def test_the_message_names_the_place(data: bytes, message: str) -> None:
    with pytest.raises(isa.EncodingError) as caught:
        isa.decode_instructions(data)
    assert caught.value.message == message


def test_a_signalling_nan_is_refused() -> None:
    word = int.from_bytes(isa.encode_instructions([isa.instruction("vfill", dst=0, len=1)]), "little")
    low = next(field.low for field in isa.INSTRUCTIONS["vfill"].fields if field.operand.name == "value")
    with pytest.raises(isa.EncodingError, match=r"vfill\.value: a signalling NaN"):
        isa.decode_instructions((word | 0x7F800001 << low).to_bytes(WORD_BYTES, "little"))
