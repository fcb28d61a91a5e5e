"""Rows of the instruction table for extension K: quantised, packed and selected keys and values.

A meta word holds a scale (IEEE binary16, bits 0 to 15) and a zero point (binary16, bits 16 to 31) of elements that are
quantised together. A code is an unsigned int32 word outside the banks; packed, codes of `bits` bits follow one another,
lowest bits first. In the banks a column holds as many beats of codes as fit, a beat being one code for each lane.
"""

from __future__ import annotations

from isa.near_bank_instructions import ACCUMULATOR, BANK_ADDRESS, CHANNELS, COORDINATES, GLOBAL_BUFFER, ITEM_STRIDE
from isa.operands import register, step, stride, value, words
from isa.spec import InstructionSpec, Kind, Operand

SELECTIONS = ("largest", "smallest")
"""Functions of `kselect`."""

_LENGTH = value("len", 22, "elements in a row")
_ROWS = value("rows", 16, "number of rows", 1)
_STEPS = Operand("steps", Kind.UNSIGNED, 8, meaning="largest code above `base`, at least 1")
_BASE = Operand("base", Kind.UNSIGNED, 1, default=0, meaning="code of the zero point; with 1 the code 0 means 0")
_BITS = Operand("bits", Kind.UNSIGNED, 5, meaning="bits of a packed code, 1 to 16")
_BANK_BITS = Operand("bits", Kind.UNSIGNED, 5, meaning="bits of a packed code: one of `bank_decode` of the machine")
_BEAT = value("beat", 12, "first beat behind the first beat of column `addr`", 0)
_PART = Operand("part", Kind.CHOICE, 1, choices=("scale", "zero"), meaning="half of the meta word")


def _codec(mnemonic: str, opcode: int, meaning: str, *operands: Operand) -> InstructionSpec:
    return InstructionSpec(mnemonic, opcode, "K", "codec", meaning, operands)


def _rows_of(*names: str) -> tuple[Operand, ...]:
    return tuple(stride(f"{name}_row", "words from one row to the next") for name in names)


def _steps_of(*names: str) -> tuple[Operand, ...]:
    return tuple(step(f"{name}_step") for name in names)


_QUANTISATION = (
    _codec(
        "kscale",
        0x80,
        "dst = meta word of elements from lo to hi: half((hi - lo) / steps), half(lo); half rounds to binary16, ties to"
        " even, and gives the largest finite number of the sign where that overflows",
        words("dst", "meta words"),
        words("lo", "smallest elements"),
        words("hi", "largest elements"),
        _LENGTH,
        _ROWS,
        *_rows_of("dst", "lo", "hi"),
        *_steps_of("dst", "lo", "hi"),
        _STEPS,
    ),
    _codec(
        "kunscale",
        0x81,
        "dst = scale or zero point of the meta word a, as binary32",
        words("dst", "result"),
        words("a", "meta words"),
        _PART,
        _LENGTH,
        _ROWS,
        *_rows_of("dst", "a"),
        *_steps_of("dst", "a"),
    ),
    _codec(
        "kquant",
        0x82,
        "dst = base + clamp(round((a - zero) / scale), 0, steps), halves to even; base where scale is 0 and of NaN",
        words("dst", "codes"),
        words("a", "elements"),
        words("meta", "meta words"),
        _LENGTH,
        _ROWS,
        *_rows_of("dst", "a", "meta"),
        *_steps_of("dst", "a", "meta"),
        _STEPS,
        _BASE,
    ),
    _codec(
        "kdequant",
        0x83,
        "dst = (a - base) * scale + zero; 0 for the code 0 when base is 1",
        words("dst", "result"),
        words("a", "codes"),
        words("meta", "meta words"),
        _LENGTH,
        _ROWS,
        *_rows_of("dst", "a", "meta"),
        *_steps_of("dst", "a", "meta"),
        _BASE,
    ),
    _codec(
        "kpack",
        0x84,
        "dst = the lowest `bits` bits of each code of a row, packed into words, lowest bits first; the last word of a"
        " row is filled with zeros",
        words("dst", "packed codes, ceil(len * bits / 32) consecutive words a row"),
        words("a", "codes"),
        _LENGTH,
        _ROWS,
        _BITS,
        *_rows_of("dst", "a"),
        step("a_step"),
    ),
    _codec(
        "kunpack",
        0x85,
        "dst = the `len` codes that each row packs, the inverse of kpack",
        words("dst", "codes"),
        words("a", "packed codes, ceil(len * bits / 32) consecutive words a row"),
        _LENGTH,
        _ROWS,
        _BITS,
        *_rows_of("dst", "a"),
        step("dst_step"),
    ),
)

_SELECTION = (
    _codec(
        "kselect",
        0x86,
        "the best `count` elements of each row among those whose mask word is not 0: of equal ones the first, NaN last;"
        " form=list: int32 indices, best first, -1 behind the last; form=mask: `len` words 1 (chosen) or 0",
        words("dst", "indices, or a mask; consecutive in a row"),
        words("a", "binary32 elements"),
        words("mask", "words, 0 excludes an element"),
        value("count", 16, "elements to choose from each row"),
        _LENGTH,
        _ROWS,
        *_rows_of("dst", "a", "mask"),
        *_steps_of("a", "mask"),
        Operand("fn", Kind.CHOICE, 1, default="largest", choices=SELECTIONS, meaning="which elements are the best"),
        Operand("form", Kind.CHOICE, 1, default="list", choices=("list", "mask"), meaning="form of the result"),
    ),
)

_BANKS = (
    InstructionSpec(
        "kstore",
        0x88,
        "K",
        "channel",
        "write `count` beats of packed codes, bits / 2 words each, from the shared buffer: item n goes to bank n mod"
        " banks, beat `beat` + (n div banks) * bstride behind column addr (masked WR)",
        (
            CHANNELS,
            BANK_ADDRESS,
            _BEAT,
            value("count", 12, "number of beats"),
            words("src", "first word"),
            _BANK_BITS,
            Operand("bstride", Kind.UNSIGNED, 12, default=1, meaning="beats from one stripe of banks to the next"),
            *COORDINATES,
            ITEM_STRIDE,
        ),
    ),
    InstructionSpec(
        "kmac",
        0x89,
        "K",
        "channel",
        "for o < outs, i < beats, in all banks: acc[acc + o*astride] += codes[beat + o*bstride + i] . gb[gb + o*gstride"
        " + i] (a MAC16 slot a beat; a column is read once for consecutive beats in it)",
        (
            CHANNELS,
            BANK_ADDRESS,
            _BEAT,
            GLOBAL_BUFFER,
            value("beats", 12, "number of beats"),
            value("outs", 8, "number of outputs", 1),
            ACCUMULATOR,
            stride("bstride", "beats from one output to the next"),
            Operand("gstride", Kind.UNSIGNED, 8, default=0, meaning="buffer columns from one output to the next"),
            Operand("astride", Kind.UNSIGNED, 6, default=1, meaning="accumulators from one output to the next"),
            _BANK_BITS,
        ),
    ),
)

_CHANNEL_COUNT = Operand("len", Kind.UNSIGNED, 16, meaning="channels, a word each in a row")
_ROW = stride("row", "words from one row to the next, of codes, flags, masks and elements alike")
_LEVELS = Operand("levels", Kind.UNSIGNED, 8, meaning="levels of a channel at most, at least 1")
_TABLE_ROW = stride("table_row", "words from one level of the table to the next")
_RECORD = (
    _CHANNEL_COUNT,
    Operand("split", Kind.UNSIGNED, 16, meaning="channels whose codes have `bits` bits; those behind have `bits2`"),
    Operand("bits", Kind.UNSIGNED, 4, meaning="bits of a code, 1 to 8"),
    Operand("bits2", Kind.UNSIGNED, 4, meaning="bits of a code behind `split`, 1 to 8"),
    _ROWS,
    _ROW,
    Operand("expected", Kind.UNSIGNED, 20, meaning="bytes of a record in runs without data"),
)
_AT = value("at", 24, "byte behind that word at which the first record begins")

_LEVELLED = (
    _codec(
        "kprune",
        0x90,
        "dst = int32 word 1 where the magnitude of a is at least the threshold, 0 elsewhere and of NaN",
        words("dst", "mask"),
        words("a", "elements"),
        Operand("threshold", Kind.FLOAT, 32, meaning="smallest magnitude that survives"),
        _LENGTH,
        _ROWS,
        *_rows_of("dst", "a"),
        *_steps_of("dst", "a"),
    ),
    _codec(
        "klevel",
        0x91,
        "mode=range: open level 0 of each channel from the smallest to the largest element of all rows whose mask is"
        " not 0; mode=level, row by row: where such an element lies outside of its channel's latest level, or there is"
        " none, open the next one over both, up to `levels`, and dst = 1 where that is not level 0, else 0",
        words("dst", "flags, written by mode=level"),
        words("a", "binary32 elements"),
        words("mask", "words, 0 excludes an element"),
        words("state", "of the latest levels: `len` counts (int32), then `len` lowest, highest, and meta words"),
        words("table", "meta words of all levels of all channels"),
        _CHANNEL_COUNT,
        _ROWS,
        _ROW,
        _TABLE_ROW,
        _STEPS,
        _LEVELS,
        Operand(
            "mode", Kind.CHOICE, 1, default="level", choices=("range", "level"), meaning="first levels, or further"
        ),
    ),
    _codec(
        "kappend",
        0x92,
        "write a record for each row, one behind another: a bit a channel (1: its code is not 0), the flags of these"
        " channels a bit each, their codes; each of the three begins at a byte, lowest bits first; rd = byte behind",
        register("rd", "byte behind the last record"),
        words("dst", "first word of the records; byte k is byte k mod 4 of word k div 4"),
        _AT,
        words("a", "codes"),
        words("flags", "words, 0 or not"),
        *_RECORD,
    ),
    _codec(
        "kfetch",
        0x93,
        "read `rows` records, the inverse of kappend; a channel without a code has the code and the flag 0; rd = byte"
        " behind",
        register("rd", "byte behind the last record"),
        words("dst", "codes"),
        words("flags", "words 1 or 0, written"),
        words("src", "first word of the records"),
        _AT,
        *_RECORD,
    ),
    _codec(
        "kexpand",
        0x94,
        "row by row: the counter of each channel grows by its flag; dst = (a - 1) * scale + zero by the table's level"
        " of that number, 0 for the code 0",
        words("dst", "result"),
        words("a", "codes"),
        words("flags", "words 1 or 0"),
        words("state", "counters, a word a channel, changed"),
        words("table", "meta words of all levels of all channels"),
        _CHANNEL_COUNT,
        _ROWS,
        _ROW,
        _TABLE_ROW,
        _LEVELS,
    ),
)

KV_CODEC = (*_QUANTISATION, *_SELECTION, *_BANKS, *_LEVELLED)
"""In the order of opcodes."""
