"""Rows of the instruction table for extension B: DRAM channels with a compute unit at every bank."""

from __future__ import annotations

from isa.operands import VECTOR_FUNCTIONS, stride, value, words
from isa.spec import InstructionSpec, Kind, Operand

CHANNELS = Operand("ch", Kind.CHANNELS, 32, indexed=True, meaning="channels that take part")
BANK_ADDRESS = Operand("addr", Kind.BANK, 24, indexed=True, meaning="first linear column")
_BANK = value("bank", 6, "bank inside the channel", 0)
GLOBAL_BUFFER = Operand("gb", Kind.GLOBAL_BUFFER, 8, indexed=True, default=0, meaning="first global buffer column")
ACCUMULATOR = Operand("acc", Kind.ACCUMULATOR, 6, indexed=True, default=0, meaning="first accumulator")
_COLUMNS = value("cols", 12, "number of columns")
COORDINATES = (
    Operand("cdiv", Kind.UNSIGNED, 6, default=1, meaning="divisor of the channel coordinate"),
    stride("si", "words per (channel div cdiv)"),
    stride("sj", "words per (channel mod cdiv)"),
)
ITEM_STRIDE = stride("sn", "words from one item to the next", 16)
_FORM = Operand(
    "form",
    Kind.CHOICE,
    1,
    default="element",
    choices=("element", "word"),
    meaning="element: a lane holds a word, rounded to the bank's type; word: two lanes hold a word, exactly",
)


NEAR_BANK = (
    InstructionSpec(
        "wrgb",
        0x40,
        "B",
        "channel",
        "write `cols` columns from the shared buffer to the global buffer (WRGB)",
        (CHANNELS, GLOBAL_BUFFER, words("src", "first word"), _COLUMNS, *COORDINATES, ITEM_STRIDE),
    ),
    InstructionSpec(
        "wracc",
        0x41,
        "B",
        "channel",
        "write `count` accumulators of all banks, one word a bank, or zero (WRMAC16)",
        (
            CHANNELS,
            ACCUMULATOR,
            value("count", 6, "number of accumulators"),
            Operand("source", Kind.CHOICE, 1, default="zero", choices=("zero", "buffer"), meaning="origin of the data"),
            Operand("src", Kind.SHARED_BUFFER, 24, indexed=True, default=0, meaning="first word"),
            *COORDINATES,
            ITEM_STRIDE,
        ),
    ),
    InstructionSpec(
        "mac",
        0x42,
        "B",
        "channel",
        "for o < outs, i < cols, in all banks:"
        " acc[acc + o*astride] += bank[addr + o*bstride + i] . gb[gb + o*gstride + i] (MAC16, opens rows as needed)",
        (
            CHANNELS,
            BANK_ADDRESS,
            GLOBAL_BUFFER,
            _COLUMNS,
            value("outs", 8, "number of outputs", 1),
            ACCUMULATOR,
            stride("bstride", "bank columns from one output to the next"),
            Operand("gstride", Kind.UNSIGNED, 8, default=0, meaning="buffer columns from one output to the next"),
            Operand("astride", Kind.UNSIGNED, 6, default=1, meaning="accumulators from one output to the next"),
        ),
    ),
    InstructionSpec(
        "rdacc",
        0x43,
        "B",
        "channel",
        "read `count` accumulators of all banks to the shared buffer, one word a bank (RDMAC16)",
        (
            CHANNELS,
            ACCUMULATOR,
            value("count", 6, "number of accumulators"),
            words("dst", "first word"),
            *COORDINATES,
            ITEM_STRIDE,
            Operand("mode", Kind.CHOICE, 1, default="set", choices=("set", "add"), meaning="overwrite, or add to dst"),
        ),
    ),
    InstructionSpec(
        "open",
        0x44,
        "B",
        "channel",
        "open the row of `addr` in all banks ahead of need (PREA, ACT16)",
        (CHANNELS, BANK_ADDRESS),
    ),
    InstructionSpec(
        "ldb",
        0x45,
        "B",
        "channel",
        "read `cols` columns of one bank to the shared buffer (RD)",
        (CHANNELS, _BANK, BANK_ADDRESS, _COLUMNS, words("dst", "first word"), *COORDINATES, ITEM_STRIDE, _FORM),
    ),
    InstructionSpec(
        "stb",
        0x46,
        "B",
        "channel",
        "write `cols` columns of one bank from the shared buffer (WR)",
        (CHANNELS, _BANK, BANK_ADDRESS, _COLUMNS, words("src", "first word"), *COORDINATES, ITEM_STRIDE, _FORM),
    ),
    InstructionSpec(
        "stlane",
        0x47,
        "B",
        "channel",
        "write one lane: word d < count goes to bank d mod banks, column addr + (d div banks) * cstride (masked WR)",
        (
            CHANNELS,
            BANK_ADDRESS,
            value("lane", 5, "lane inside the column", 0),
            value("count", 12, "number of words"),
            words("src", "first word"),
            Operand("cstride", Kind.UNSIGNED, 12, default=1, meaning="columns from one stripe of banks to the next"),
            *COORDINATES,
        ),
    ),
    InstructionSpec(
        "wrab",
        0x48,
        "B",
        "channel",
        "write `cols` columns from the shared buffer, the same data to all banks (WRA16, closes the rows)",
        (CHANNELS, BANK_ADDRESS, _COLUMNS, words("src", "first word"), *COORDINATES, ITEM_STRIDE),
    ),
    InstructionSpec(
        "ewmul",
        0x49,
        "B",
        "channel",
        "in every bank group: column of bank 2 = bank 0 * bank 1, element by element (EWMUL16)",
        (CHANNELS, BANK_ADDRESS, _COLUMNS),
    ),
    InstructionSpec(
        "af",
        0x4A,
        "B",
        "channel",
        "apply an activation function to one accumulator of all banks, into the activation registers (AF16)",
        (
            CHANNELS,
            ACCUMULATOR,
            Operand("fn", Kind.CHOICE, 6, default="copy", choices=VECTOR_FUNCTIONS, meaning="function"),
        ),
    ),
    InstructionSpec(
        "rdaf",
        0x4B,
        "B",
        "channel",
        "read the activation registers of all banks to the shared buffer, one word a bank (RDAF16)",
        (CHANNELS, words("dst", "first word"), *COORDINATES),
    ),
    InstructionSpec(
        "cpbg",
        0x4C,
        "B",
        "channel",
        "copy `cols` columns from one bank to the global buffer (RDCP)",
        (CHANNELS, _BANK, BANK_ADDRESS, GLOBAL_BUFFER, _COLUMNS),
    ),
    InstructionSpec(
        "cpgb",
        0x4D,
        "B",
        "channel",
        "copy `cols` columns from the global buffer to one bank (WRCP)",
        (CHANNELS, _BANK, BANK_ADDRESS, GLOBAL_BUFFER, _COLUMNS),
    ),
)
"""In the order of opcodes."""
