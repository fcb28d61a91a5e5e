"""THE TABLE: one row an instruction, the only source for text, bytes, verification, simulation and manual.

Memory spaces:
  sb    shared buffer of the controller, 32-bit words (binary32, or int32 where a row says so)
  bank  DRAM bank, linear columns of `lanes` elements: address = row * columns_per_row + column
  gb    global buffer of a channel, columns of `lanes` elements
  acc   accumulators of a bank, binary32 inside

Two-dimensional ranges: a vector operand `x` covers `rows` x `len` words; word (i, j) lies at
x + i * x_row + j * x_step. A step or row stride of 0 repeats.

Channel coordinates: a transfer between `sb` and channels uses, for channel number c and item n (a column of
`lanes` words, or an accumulator of one word a bank), the address base + (c div cdiv) * si + (c mod cdiv) * sj + n * sn.
Channels that read the same words are a broadcast; channels that write the same words are summed in the read path
(binary32, ascending channel number).
"""

from __future__ import annotations

from isa.spec import InstructionSpec, InstructionTable, Kind, Operand

VECTOR_FUNCTIONS = (
    "copy",
    "exp",
    "log",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "tanh",
    "sigmoid",
    "erf",
    "sin",
    "cos",
    "abs",
    "relu",
    "floor",
    "ceil",
    "silu",
    "gelu",
    "gelu_tanh",
    "from_int",
    "to_int",
)
"""Functions of the vector unit. `gelu` uses erf, `gelu_tanh` its tanh approximation, `from_int` reads int32 words,
`to_int` writes int32 words (rounded towards zero)."""


def _register(name: str, meaning: str) -> Operand:
    return Operand(name, Kind.REGISTER, meaning=meaning)


def _value(name: str, bits: int, meaning: str, default: int | None = None) -> Operand:
    return Operand(name, Kind.UNSIGNED, bits, indexed=True, default=default, meaning=meaning)


def _signed(name: str, meaning: str) -> Operand:
    return Operand(name, Kind.SIGNED, 32, indexed=True, meaning=meaning)


def _words(name: str, meaning: str) -> Operand:
    return Operand(name, Kind.SHARED_BUFFER, 24, indexed=True, meaning=meaning)


def _stride(name: str, meaning: str, default: int = 0) -> Operand:
    return Operand(name, Kind.UNSIGNED, 20, default=default, meaning=meaning)


def _step(name: str) -> Operand:
    return Operand(name, Kind.UNSIGNED, 11, default=1, meaning="words from one element to the next")


_CHANNELS = Operand("ch", Kind.CHANNELS, 32, indexed=True, meaning="channels that take part")
_BANK_ADDRESS = Operand("addr", Kind.BANK, 24, indexed=True, meaning="first linear column")
_BANK = _value("bank", 6, "bank inside the channel", 0)
_GLOBAL_BUFFER = Operand("gb", Kind.GLOBAL_BUFFER, 8, indexed=True, default=0, meaning="first global buffer column")
_ACCUMULATOR = Operand("acc", Kind.ACCUMULATOR, 6, indexed=True, default=0, meaning="first accumulator")
_COLUMNS = _value("cols", 12, "number of columns")
_COORDINATES = (
    Operand("cdiv", Kind.UNSIGNED, 6, default=1, meaning="divisor of the channel coordinate"),
    _stride("si", "words per (channel div cdiv)"),
    _stride("sj", "words per (channel mod cdiv)"),
)
_ITEM_STRIDE = _stride("sn", "words from one item to the next", 16)
_FORM = Operand(
    "form",
    Kind.CHOICE,
    1,
    default="element",
    choices=("element", "word"),
    meaning="element: a lane holds a word, rounded to the bank's type; word: two lanes hold a word, exactly",
)


def _scalar(mnemonic: str, opcode: int, meaning: str) -> InstructionSpec:
    operands = (
        _register("rd", "result"),
        _register("ra", "first operand"),
        _signed("b", "second operand"),
    )
    return InstructionSpec(mnemonic, opcode, "I", "sequencer", meaning, operands)


_LENGTH = _value("len", 22, "elements in a row")
_ROWS = _value("rows", 16, "number of rows", 1)


def _binary(mnemonic: str, opcode: int, meaning: str) -> InstructionSpec:
    operands = (
        _words("dst", "result"),
        _words("a", "first operand"),
        _words("b", "second operand"),
        _LENGTH,
        _ROWS,
        *(_stride(f"{name}_row", "words from one row to the next") for name in ("dst", "a", "b")),
        *(_step(f"{name}_step") for name in ("dst", "a", "b")),
    )
    return InstructionSpec(mnemonic, opcode, "I", "vector", meaning, operands)


def _reduction(mnemonic: str, opcode: int, meaning: str) -> InstructionSpec:
    operands = (
        _words("dst", "one word a row"),
        _words("a", "operand"),
        _LENGTH,
        _ROWS,
        _stride("dst_row", "words from one row's result to the next", 1),
        _stride("a_row", "words from one row to the next"),
        _step("a_step"),
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
        (_register("rd", "iteration number"), _signed("count", "number of iterations")),
    ),
    InstructionSpec("end", 0x02, "I", "sequencer", "close the innermost loop"),
    InstructionSpec(
        "skipz",
        0x03,
        "I",
        "sequencer",
        "go forward to `target` when ra is zero; `target` lies in the same loop body",
        (_register("ra", "tested register"), Operand("target", Kind.LABEL, 24, meaning="a later instruction")),
    ),
)

_SCALAR = (
    InstructionSpec(
        "li",
        0x08,
        "I",
        "sequencer",
        "rd = imm + register (load immediate, move)",
        (_register("rd", "result"), _signed("b", "value")),
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
        (_register("rd", "result"), _words("src", "word")),
    ),
    InstructionSpec(
        "sts",
        0x19,
        "I",
        "vector",
        "int32 word of the shared buffer = ra",
        (_words("dst", "word"), _register("ra", "value")),
    ),
)

_VECTOR = (
    _binary("vadd", 0x20, "dst = a + b"),
    _binary("vsub", 0x21, "dst = a - b"),
    _binary("vmul", 0x22, "dst = a * b"),
    _binary("vdiv", 0x23, "dst = a / b"),
    _binary("vmax", 0x24, "dst = larger of a and b"),
    _binary("vmin", 0x25, "dst = smaller of a and b"),
    _binary("vmac", 0x26, "dst = dst + a * b"),
    InstructionSpec(
        "vmap",
        0x28,
        "I",
        "vector",
        "dst = fn(scale * a + bias); for from_int: scale * a + bias of the integer a",
        (
            _words("dst", "result"),
            _words("a", "operand"),
            Operand("fn", Kind.CHOICE, 6, default="copy", choices=VECTOR_FUNCTIONS, meaning="function"),
            _LENGTH,
            _ROWS,
            Operand("scale", Kind.FLOAT, 32, default=1.0, meaning="factor before the function"),
            Operand("bias", Kind.FLOAT, 32, default=0.0, meaning="addend before the function"),
            *(_stride(f"{name}_row", "words from one row to the next") for name in ("dst", "a")),
            *(_step(f"{name}_step") for name in ("dst", "a")),
        ),
    ),
    InstructionSpec(
        "vfill",
        0x29,
        "I",
        "vector",
        "dst = value",
        (
            _words("dst", "result"),
            Operand("value", Kind.FLOAT, 32, default=0.0, meaning="constant"),
            _LENGTH,
            _ROWS,
            _stride("dst_row", "words from one row to the next"),
            _step("dst_step"),
        ),
    ),
    _reduction("rsum", 0x30, "dst = sum of each row"),
    _reduction("rmax", 0x31, "dst = largest element of each row"),
    _reduction("rsumsq", 0x32, "dst = sum of the squares of each row"),
    _reduction("rargmax", 0x33, "dst = int32 index of the first largest element of each row"),
)

_NEAR_BANK = (
    InstructionSpec(
        "wrgb",
        0x40,
        "B",
        "channel",
        "write `cols` columns from the shared buffer to the global buffer (WRGB)",
        (_CHANNELS, _GLOBAL_BUFFER, _words("src", "first word"), _COLUMNS, *_COORDINATES, _ITEM_STRIDE),
    ),
    InstructionSpec(
        "wracc",
        0x41,
        "B",
        "channel",
        "write `count` accumulators of all banks, one word a bank, or zero (WRMAC16)",
        (
            _CHANNELS,
            _ACCUMULATOR,
            _value("count", 6, "number of accumulators"),
            Operand("source", Kind.CHOICE, 1, default="zero", choices=("zero", "buffer"), meaning="origin of the data"),
            Operand("src", Kind.SHARED_BUFFER, 24, indexed=True, default=0, meaning="first word"),
            *_COORDINATES,
            _ITEM_STRIDE,
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
            _CHANNELS,
            _BANK_ADDRESS,
            _GLOBAL_BUFFER,
            _COLUMNS,
            _value("outs", 8, "number of outputs", 1),
            _ACCUMULATOR,
            _stride("bstride", "bank columns from one output to the next"),
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
            _CHANNELS,
            _ACCUMULATOR,
            _value("count", 6, "number of accumulators"),
            _words("dst", "first word"),
            *_COORDINATES,
            _ITEM_STRIDE,
            Operand("mode", Kind.CHOICE, 1, default="set", choices=("set", "add"), meaning="overwrite, or add to dst"),
        ),
    ),
    InstructionSpec(
        "open",
        0x44,
        "B",
        "channel",
        "open the row of `addr` in all banks ahead of need (PREA, ACT16)",
        (_CHANNELS, _BANK_ADDRESS),
    ),
    InstructionSpec(
        "ldb",
        0x45,
        "B",
        "channel",
        "read `cols` columns of one bank to the shared buffer (RD)",
        (_CHANNELS, _BANK, _BANK_ADDRESS, _COLUMNS, _words("dst", "first word"), *_COORDINATES, _ITEM_STRIDE, _FORM),
    ),
    InstructionSpec(
        "stb",
        0x46,
        "B",
        "channel",
        "write `cols` columns of one bank from the shared buffer (WR)",
        (_CHANNELS, _BANK, _BANK_ADDRESS, _COLUMNS, _words("src", "first word"), *_COORDINATES, _ITEM_STRIDE, _FORM),
    ),
    InstructionSpec(
        "stlane",
        0x47,
        "B",
        "channel",
        "write one lane: word d < count goes to bank d mod banks, column addr + (d div banks) * cstride (masked WR)",
        (
            _CHANNELS,
            _BANK_ADDRESS,
            _value("lane", 5, "lane inside the column", 0),
            _value("count", 12, "number of words"),
            _words("src", "first word"),
            Operand("cstride", Kind.UNSIGNED, 12, default=1, meaning="columns from one stripe of banks to the next"),
            *_COORDINATES,
        ),
    ),
    InstructionSpec(
        "wrab",
        0x48,
        "B",
        "channel",
        "write `cols` columns from the shared buffer, the same data to all banks (WRA16, closes the rows)",
        (_CHANNELS, _BANK_ADDRESS, _COLUMNS, _words("src", "first word"), *_COORDINATES, _ITEM_STRIDE),
    ),
    InstructionSpec(
        "ewmul",
        0x49,
        "B",
        "channel",
        "in every bank group: column of bank 2 = bank 0 * bank 1, element by element (EWMUL16)",
        (_CHANNELS, _BANK_ADDRESS, _COLUMNS),
    ),
    InstructionSpec(
        "af",
        0x4A,
        "B",
        "channel",
        "apply an activation function to one accumulator of all banks, into the activation registers (AF16)",
        (
            _CHANNELS,
            _ACCUMULATOR,
            Operand("fn", Kind.CHOICE, 6, default="copy", choices=VECTOR_FUNCTIONS, meaning="function"),
        ),
    ),
    InstructionSpec(
        "rdaf",
        0x4B,
        "B",
        "channel",
        "read the activation registers of all banks to the shared buffer, one word a bank (RDAF16)",
        (_CHANNELS, _words("dst", "first word"), *_COORDINATES),
    ),
    InstructionSpec(
        "cpbg",
        0x4C,
        "B",
        "channel",
        "copy `cols` columns from one bank to the global buffer (RDCP)",
        (_CHANNELS, _BANK, _BANK_ADDRESS, _GLOBAL_BUFFER, _COLUMNS),
    ),
    InstructionSpec(
        "cpgb",
        0x4D,
        "B",
        "channel",
        "copy `cols` columns from the global buffer to one bank (WRCP)",
        (_CHANNELS, _BANK, _BANK_ADDRESS, _GLOBAL_BUFFER, _COLUMNS),
    ),
)

INSTRUCTIONS = InstructionTable((*_CONTROL, *_SCALAR, *_VECTOR, *_NEAR_BANK))
