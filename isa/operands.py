"""Operands that several rows of the instruction table share, and the names that choices take."""

from __future__ import annotations

from isa.spec import Kind, Operand

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
    "round",
    "sign",
    "float16",
    "bfloat16",
)
"""Functions of the vector unit. `gelu` uses erf, `gelu_tanh` its tanh approximation, `from_int` reads int32 words,
`to_int` writes int32 words: rounded towards zero, a value outside their range becomes its end, NaN becomes 0. `round`
goes to the nearest integer, halves to the even one; `sign` is -1, 0 or 1, and NaN of NaN. `float16` and `bfloat16` give
the nearest number of that type as binary32, halves to the even one, too large ones infinite. `copy` with scale 1 and
bias 0 copies words of any type bit for bit."""

WORD_TYPES = ("f32", "i32")
"""Types of the words that a vector instruction works on: binary32 and int32."""

COMPARISONS = ("equal", "not_equal", "less", "less_equal")
"""Functions of `vcmp`. With a NaN only `not_equal` holds; the two zeros of binary32 are equal."""


def register(name: str, meaning: str) -> Operand:
    """A scalar register."""
    return Operand(name, Kind.REGISTER, meaning=meaning)


def value(name: str, bits: int, meaning: str, default: int | None = None) -> Operand:
    """An unsigned number of `bits` bits, plus a register."""
    return Operand(name, Kind.UNSIGNED, bits, indexed=True, default=default, meaning=meaning)


def signed(name: str, meaning: str) -> Operand:
    """A signed number of 32 bits, plus a register."""
    return Operand(name, Kind.SIGNED, 32, indexed=True, meaning=meaning)


def words(name: str, meaning: str) -> Operand:
    """The first word of a range of the shared buffer."""
    return Operand(name, Kind.SHARED_BUFFER, 24, indexed=True, meaning=meaning)


def stride(name: str, meaning: str, default: int = 0) -> Operand:
    """Words from one row, channel or item to the next."""
    return Operand(name, Kind.UNSIGNED, 20, default=default, meaning=meaning)


def step(name: str) -> Operand:
    """Words from one element to the next, 1 unless text says otherwise."""
    return Operand(name, Kind.UNSIGNED, 11, default=1, meaning="words from one element to the next")
