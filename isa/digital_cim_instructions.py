"""Rows of the instruction table for the digital half of extension X: tiles of a core that computes in SRAM.

Operands are binary32 words that enter a unit as INT8: the nearest integer, halves to even, -128 to 127, and 0 for NaN.
Results are binary32. `activity` is the share of a tile's operands that is neither padding nor zero, as the program
declares it: the dynamic energy of the tile is in proportion. Elements fewer than lanes are padding.
"""

from __future__ import annotations

from isa.operands import value, words
from isa.spec import InstructionSpec, Kind, Operand

MATRICES = ("query", "key", "value", "output", "up", "down")
"""Weight matrices of a layer: projections of attention, and of the feed-forward network."""

FULL_ACTIVITY = 4096
"""Operand `activity` of a tile without padding and zeros."""

_MATRIX = Operand("engine", Kind.CHOICE, 3, choices=MATRICES, meaning="matrix, whose arrays execute the instruction")
_ACTIVITY = Operand(
    "activity", Kind.UNSIGNED, 13, default=FULL_ACTIVITY, meaning="share of operands that are not zero, in 4,096ths"
)
_SET = Operand("group", Kind.UNSIGNED, 4, default=0, meaning="set of units that works, beside the other sets")
_STEPS = Operand("steps", Kind.UNSIGNED, 8, meaning="largest code above 1, at least 1")


def _number(name: str, bits: int, meaning: str, default: int | None = None) -> Operand:
    return Operand(name, Kind.UNSIGNED, bits, default=default, meaning=meaning)


def _distance(name: str, meaning: str, default: int = 0) -> Operand:
    return _number(name, 16, meaning, default)


def _row(mnemonic: str, opcode: int, unit: str, meaning: str, *operands: Operand) -> InstructionSpec:
    return InstructionSpec(mnemonic, opcode, "X", unit, meaning, operands)


DIGITAL_CIM = (
    _row(
        "dprog",
        0x70,
        "arrays",
        "weights of input `input` of a matrix, outputs 0 to count - 1 = INT8 of the words src",
        _MATRIX,
        value("input", 15, "input of the matrix"),
        words("src", "weights, consecutive"),
        _number("count", 15, "outputs"),
    ),
    _row(
        "dmvm",
        0x71,
        "arrays",
        "dst[j] = begin[j] + scale * sum over i of INT8(a[i]) * weights[i][j]; the sum is exact, the rest binary32",
        words("dst", "result, consecutive"),
        words("a", "vector, consecutive"),
        words("begin", "addends, consecutive"),
        _MATRIX,
        _number("inputs", 15, "inputs of the matrix"),
        _number("outputs", 15, "outputs of the matrix"),
        Operand("add", Kind.CHOICE, 1, default="no", choices=("no", "begin"), meaning="no: without addends"),
        Operand("scale", Kind.FLOAT, 32, default=1.0, meaning="factor of the sum"),
    ),
    _row(
        "ddot",
        0x72,
        "engines",
        "for each head h: dst[h * dst_head] = scale * sum over i < width of INT8(a[h * a_head + i]) * INT8(b[h * b_head"
        " + i * b_step]); an engine a head, `tiles` passes of its lanes",
        words("dst", "one word a head"),
        words("a", "vectors, consecutive"),
        words("b", "vectors"),
        value("width", 15, "elements of a vector"),
        value("tiles", 7, "passes, at least ceil(width / lanes)", 1),
        _number("heads", 8, "heads"),
        _distance("dst_head", "words from one head's result to the next"),
        _distance("a_head", "words from one head's vector to the next"),
        _distance("b_head", "words from one head's vector to the next"),
        _distance("b_step", "words from one element of b to the next", 1),
        Operand("scale", Kind.FLOAT, 32, default=1.0, meaning="factor of the sum"),
        _ACTIVITY,
        _SET,
    ),
    _row(
        "dsoftmax",
        0x73,
        "softmax",
        "for each head: dst = INT8 of 127 * softmax of `width` words of a: exp(a - largest) / sum in binary32; a unit a"
        " head, `tiles` passes of its lanes",
        words("dst", "result, consecutive"),
        words("a", "scores, consecutive"),
        value("width", 15, "elements of a head"),
        value("tiles", 10, "passes, at least ceil(width / lanes)", 1),
        _number("heads", 8, "heads"),
        _distance("dst_head", "words from one head to the next"),
        _distance("a_head", "words from one head to the next"),
    ),
    _row(
        "dnorm",
        0x74,
        "norm",
        "elements first to first + count - 1 of a normalised vector: dst = INT8 of (a - mean) / sqrt(variance + eps) *"
        " gain + bias, mean and variance of all `width` elements; lanes of all units take `count` elements at once",
        words("dst", "result, of the whole vector"),
        words("a", "vector, consecutive"),
        words("gain", "gains, then biases, of the whole vector"),
        _number("width", 15, "elements of the vector"),
        value("first", 15, "first element"),
        _number("count", 15, "elements of the tile"),
        Operand("eps", Kind.FLOAT, 32, default=1e-5, meaning="addend of the variance"),
        _SET,
    ),
    _row(
        "drelu",
        0x75,
        "relu",
        "dst = larger of 0 and INT8 of a",
        words("dst", "result, consecutive"),
        words("a", "operand, consecutive"),
        _number("count", 15, "elements, at most the lanes of all units"),
    ),
    _row(
        "dprune",
        0x76,
        "prune",
        "dst = a where its magnitude is at least the threshold, else 0, also of NaN",
        words("dst", "result, consecutive"),
        words("a", "elements, consecutive"),
        Operand("threshold", Kind.FLOAT, 32, meaning="smallest magnitude that survives"),
        _number("count", 15, "elements, at most the lanes of all units"),
    ),
    _row(
        "dquant",
        0x77,
        "quantise",
        "dst = code of a by kquant with base=1, and 0 where a is 0; the units take the elements that are not 0",
        words("dst", "codes (int32), consecutive"),
        words("a", "elements, consecutive"),
        words("meta", "meta words, consecutive"),
        _number("count", 15, "elements"),
        _STEPS,
        _ACTIVITY,
    ),
    _row(
        "ddequant",
        0x78,
        "dequantise",
        "dst = element of the code a by kdequant with base=1; the units take the codes that are not 0",
        words("dst", "elements, consecutive"),
        words("a", "codes (int32), consecutive"),
        words("meta", "meta words, consecutive"),
        _number("count", 15, "codes"),
        _ACTIVITY,
    ),
)
"""In the order of opcodes."""
