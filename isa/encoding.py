"""Instructions to 32-byte little-endian words, by the table."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache

from isa.errors import EncodingError
from isa.instructions import INSTRUCTIONS
from isa.program import Indexed, Instruction, OperandValue
from isa.spec import OPCODE_BITS, REGISTER_BITS, REGISTER_COUNT, WORD_BITS, BitField, InstructionSpec, Kind

WORD_BYTES = WORD_BITS // 8
_REGISTER_MASK = (1 << REGISTER_BITS) - 1
_BINARY32 = struct.Struct("<f")
_BITS32 = struct.Struct("<I")

_FieldReader = Callable[[int], OperandValue]


class _BadField(Exception):
    """A bit field holds a code that means nothing."""


def encode_instructions(code: Sequence[Instruction]) -> bytes:
    """One 32-byte word for each instruction. Floats are rounded to binary32."""
    return b"".join(_encode(built).to_bytes(WORD_BYTES, "little") for built in code)


def _encode(built: Instruction) -> int:
    word = built.spec.opcode
    for bit_field, value in zip(built.spec.fields, built.values, strict=True):
        word |= _field_bits(bit_field, value) << bit_field.low
    return word


def _field_bits(bit_field: BitField, value: OperandValue) -> int:
    operand = bit_field.operand
    if isinstance(value, Indexed):
        immediate = value.immediate & ((1 << operand.bits) - 1)
        return immediate | (value.register + 1) << operand.bits
    if operand.kind is Kind.REGISTER:
        return int(value) + 1
    if operand.kind is Kind.CHOICE:
        return operand.choices.index(str(value))
    if operand.kind is Kind.FLOAT:
        return int(_BITS32.unpack(_BINARY32.pack(value))[0])
    return int(value) & ((1 << operand.bits) - 1)


def decode_instructions(data: bytes | bytearray | memoryview) -> tuple[Instruction, ...]:
    """The instructions that `data` encodes.

    Raises:
        EncodingError: with the instruction number and byte offset, for every word that `encode_instructions` does not
            make: unknown opcode, reserved bits that are not zero, a register above r31, an unknown choice.
    """
    view = memoryview(data).cast("B")
    if len(view) % WORD_BYTES:
        raise EncodingError(f"code has {len(view)} bytes, which is no multiple of {WORD_BYTES}")
    return tuple(
        _decode(int.from_bytes(view[offset : offset + WORD_BYTES], "little"), offset)
        for offset in range(0, len(view), WORD_BYTES)
    )


def _decode(word: int, offset: int) -> Instruction:
    opcode = word & ((1 << OPCODE_BITS) - 1)
    spec = INSTRUCTIONS.by_opcode.get(opcode)
    where = f"instruction {offset // WORD_BYTES} (byte {offset:#x})"
    if spec is None:
        raise EncodingError(f"{where}: {opcode:#04x} is no opcode")
    if word >> spec.used_bits:
        raise EncodingError(f"{where}: reserved bits of {spec.mnemonic} are not zero")
    values: list[OperandValue] = []
    for bit_field, (low, mask, read) in zip(spec.fields, _readers(opcode), strict=True):
        try:
            values.append(read(word >> low & mask))
        except _BadField as problem:
            raise EncodingError(f"{where}: {spec.mnemonic}.{bit_field.operand.name}: {problem}") from None
    return Instruction(spec, tuple(values))


@cache
def _readers(opcode: int) -> tuple[tuple[int, int, _FieldReader], ...]:
    """For each operand of a row: lowest bit, mask, and what turns the bits into the value."""
    spec: InstructionSpec = INSTRUCTIONS.by_opcode[opcode]
    return tuple((item.low, (1 << item.operand.width) - 1, _reader(item)) for item in spec.fields)


def _reader(bit_field: BitField) -> _FieldReader:
    operand = bit_field.operand
    if operand.kind is Kind.REGISTER:
        return _register
    if operand.kind is Kind.CHOICE:
        return lambda bits: _choice(bits, operand.choices)
    if operand.kind is Kind.FLOAT:
        return _binary32
    signed = operand.kind is Kind.SIGNED
    if operand.indexed:
        return lambda bits: _indexed(bits, operand.bits, signed)
    return (lambda bits: _signed(bits, operand.bits)) if signed else int


def _register(bits: int) -> int:
    if not 1 <= bits <= REGISTER_COUNT:
        raise _BadField(f"{bits} is no register code")
    return bits - 1


def _choice(bits: int, choices: tuple[str, ...]) -> str:
    if bits >= len(choices):
        raise _BadField(f"{bits} is no code of a choice")
    return choices[bits]


def _binary32(bits: int) -> float:
    value = float(_BINARY32.unpack(_BITS32.pack(bits))[0])
    if _BINARY32.pack(value) != _BITS32.pack(bits):
        raise _BadField("a signalling NaN")
    return value


def _signed(bits: int, width: int) -> int:
    return bits - (bits >> (width - 1) << width)


def _indexed(bits: int, width: int, signed: bool) -> OperandValue:
    immediate = bits & ((1 << width) - 1)
    if signed:
        immediate = _signed(immediate, width)
    code = bits >> width & _REGISTER_MASK
    return Indexed(immediate, _register(code)) if code else immediate
