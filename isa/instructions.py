"""THE TABLE: one row an instruction, the only source for text, bytes, verification, simulation and manual.

Memory spaces:
  sb    shared buffer of the controller, 32-bit words: binary32, or int32 where a row or its operand `type` says so
  bank  DRAM bank, linear columns of `lanes` elements: address = row * columns_per_row + column
  gb    global buffer of a channel, columns of `lanes` elements
  acc   accumulators of a bank, binary32 inside

Two-dimensional ranges: a vector operand `x` covers `rows` x `len` words; word (i, j) lies at
x + i * x_row + j * x_step. A step or row stride of 0 repeats. Rows run one after another; within a row all operands
are read before the result is written, and of elements that a row writes to the same word the last one stays.

Words: arithmetic on `f32` is that of binary32, and NaN spreads through larger, smaller, sums and largest elements.
Arithmetic on `i32` wraps around at 32 bits; a quotient is rounded towards zero, and a division by zero gives 0.

Channel coordinates: a transfer between `sb` and channels uses, for channel number c and item n (a column of
`lanes` words, or an accumulator of one word a bank), the address base + (c div cdiv) * si + (c mod cdiv) * sj + n * sn.
Channels that read the same words are a broadcast; channels that write the same words are summed in the read path
(binary32, ascending channel number).
"""

from __future__ import annotations

from isa.cam_instructions import CAM
from isa.crossbar_instructions import CROSSBAR
from isa.digital_cim_instructions import DIGITAL_CIM
from isa.hybrid_softmax_instructions import HYBRID_SOFTMAX
from isa.kv_codec_instructions import KV_CODEC
from isa.near_bank_instructions import NEAR_BANK
from isa.off_chip_instructions import OFF_CHIP
from isa.operands import COMPARISONS, VECTOR_FUNCTIONS, WORD_TYPES, register, signed, step, stride, value, words
from isa.spec import InstructionSpec, InstructionTable, Kind, Operand


def _scalar(mnemonic: str, opcode: int, meaning: str) -> InstructionSpec:
    operands = (
        register("rd", "result"),
        register("ra", "first operand"),
        signed("b", "second operand"),
    )
    return InstructionSpec(mnemonic, opcode, "I", "sequencer", meaning, operands)


_LENGTH = value("len", 22, "elements in a row")
_ROWS = value("rows", 16, "number of rows", 1)


_TYPE = Operand("type", Kind.CHOICE, 1, default="f32", choices=WORD_TYPES, meaning="type of the words")
_FUNCTION = Operand("fn", Kind.CHOICE, 2, choices=COMPARISONS, meaning="comparison")


def _binary(mnemonic: str, opcode: int, meaning: str, *further: Operand) -> InstructionSpec:
    operands = (
        words("dst", "result"),
        words("a", "first operand"),
        words("b", "second operand"),
        _LENGTH,
        _ROWS,
        *(stride(f"{name}_row", "words from one row to the next") for name in ("dst", "a", "b")),
        *(step(f"{name}_step") for name in ("dst", "a", "b")),
        *further,
    )
    return InstructionSpec(mnemonic, opcode, "I", "vector", meaning, operands)


def _reduction(mnemonic: str, opcode: int, meaning: str, *further: Operand) -> InstructionSpec:
    operands = (
        words("dst", "one word a row"),
        words("a", "operand"),
        _LENGTH,
        _ROWS,
        stride("dst_row", "words from one row's result to the next", 1),
        stride("a_row", "words from one row to the next"),
        step("a_step"),
        *further,
    )
    return InstructionSpec(mnemonic, opcode, "I", "vector", meaning, operands)


_CONTROL = (
    InstructionSpec("halt", 0x00, "I", "sequencer", "end of an entry: wait for every unit, then stop"),
    InstructionSpec(
        "loop",
        0x01,
        "I",
        "sequencer",
        "run the body up to the matching `end` with rd = 0 .. count-1; a count of 0 skips it",
        (register("rd", "iteration number"), signed("count", "number of iterations")),
    ),
    InstructionSpec("end", 0x02, "I", "sequencer", "close the innermost loop"),
    InstructionSpec(
        "skipz",
        0x03,
        "I",
        "sequencer",
        "go forward to `target` when ra is zero; `target` lies in the same loop body",
        (register("ra", "tested register"), Operand("target", Kind.LABEL, 24, meaning="a later instruction")),
    ),
)

_SCALAR = (
    InstructionSpec(
        "li",
        0x08,
        "I",
        "sequencer",
        "rd = imm + register (load immediate, move)",
        (register("rd", "result"), signed("b", "value")),
    ),
    _scalar("add", 0x09, "rd = ra + b"),
    _scalar("sub", 0x0A, "rd = ra - b"),
    _scalar("mul", 0x0B, "rd = ra * b"),
    _scalar("divu", 0x0C, "rd = ra div b, rounded down; b > 0"),
    _scalar("remu", 0x0D, "rd = ra mod b; b > 0"),
    _scalar("and", 0x0E, "rd = ra and b, bit by bit"),
    _scalar("or", 0x0F, "rd = ra or b, bit by bit"),
    _scalar("shl", 0x10, "rd = ra shifted left by b bits"),
    _scalar("shr", 0x11, "rd = ra shifted right by b bits"),
    _scalar("min", 0x12, "rd = smaller of ra and b"),
    _scalar("max", 0x13, "rd = larger of ra and b"),
    InstructionSpec(
        "lds",
        0x18,
        "I",
        "vector",
        "rd = int32 word of the shared buffer; waits for the word",
        (register("rd", "result"), words("src", "word")),
    ),
    InstructionSpec(
        "sts",
        0x19,
        "I",
        "vector",
        "int32 word of the shared buffer = ra",
        (words("dst", "word"), register("ra", "value")),
    ),
)

_VECTOR = (
    _binary("vadd", 0x20, "dst = a + b", _TYPE),
    _binary("vsub", 0x21, "dst = a - b", _TYPE),
    _binary("vmul", 0x22, "dst = a * b", _TYPE),
    _binary("vdiv", 0x23, "dst = a / b; of int32 rounded towards zero, and 0 where b is 0", _TYPE),
    _binary("vmax", 0x24, "dst = larger of a and b", _TYPE),
    _binary("vmin", 0x25, "dst = smaller of a and b", _TYPE),
    _binary("vmac", 0x26, "dst = dst + a * b", _TYPE),
    _binary("vcmp", 0x27, "dst = int32 word 1 where fn holds for a and b, 0 elsewhere", _FUNCTION, _TYPE),
    InstructionSpec(
        "vmap",
        0x28,
        "I",
        "vector",
        "dst = fn(scale * a + bias); for from_int: scale * a + bias of the integer a;"
        " copy with scale 1 and bias 0: the words bit for bit",
        (
            words("dst", "result"),
            words("a", "operand"),
            Operand("fn", Kind.CHOICE, 6, default="copy", choices=VECTOR_FUNCTIONS, meaning="function"),
            _LENGTH,
            _ROWS,
            Operand("scale", Kind.FLOAT, 32, default=1.0, meaning="factor before the function"),
            Operand("bias", Kind.FLOAT, 32, default=0.0, meaning="addend before the function"),
            *(stride(f"{name}_row", "words from one row to the next") for name in ("dst", "a")),
            *(step(f"{name}_step") for name in ("dst", "a")),
        ),
    ),
    InstructionSpec(
        "vfill",
        0x29,
        "I",
        "vector",
        "dst = value; as int32 rounded towards zero",
        (
            words("dst", "result"),
            Operand("value", Kind.FLOAT, 32, default=0.0, meaning="constant"),
            _LENGTH,
            _ROWS,
            stride("dst_row", "words from one row to the next"),
            step("dst_step"),
            _TYPE,
        ),
    ),
    _binary("vsel", 0x2A, "dst = a where the word b has any bit set, else unchanged; words of any type"),
    _reduction("rsum", 0x30, "dst = sum of each row", _TYPE),
    _reduction("rmax", 0x31, "dst = largest element of each row", _TYPE),
    _reduction("rsumsq", 0x32, "dst = sum of the squares of each row"),
    _reduction("rargmax", 0x33, "dst = int32 index of the first largest element of each row", _TYPE),
    _reduction("rmin", 0x34, "dst = smallest element of each row", _TYPE),
)

INSTRUCTIONS = InstructionTable(
    (*_CONTROL, *_SCALAR, *_VECTOR, *NEAR_BANK, *KV_CODEC, *CROSSBAR, *HYBRID_SOFTMAX, *DIGITAL_CIM, *CAM, *OFF_CHIP)
)
