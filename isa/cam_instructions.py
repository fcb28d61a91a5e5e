"""Rows of the instruction table for extension C: attention as search in an associative memory.

Memory spaces of the CAM: `key` signs of keys, a row each; `value` values, a row each; `candidate` entries with the code
of a match, the index of its key and the row of its value in the value buffer.
"""

from __future__ import annotations

from isa.operands import value, words
from isa.spec import InstructionSpec, Kind, Operand

_DIMENSIONS = Operand("dims", Kind.UNSIGNED, 8, meaning="channels of a query and a key")
_ELEMENTS = Operand("elements", Kind.UNSIGNED, 8, meaning="elements of a value")
_KEY = value("key", 20, "row of the key memory")
_VALUE = value("value", 20, "row of the value memory")
_ENTRY = value("entry", 12, "first entry of the candidate register")
_ROW = value("row", 16, "first row of the value buffer, in its half")
_HALF = value("half", 1, "half of value buffer and output buffer")
_TOP = Operand("top", Kind.UNSIGNED, 8, meaning="candidates of a tile")
_BITS = Operand("bits", Kind.UNSIGNED, 5, meaning="bits of a code")
_COUNT = value("count", 12, "entries that are ranked")
_KEEP = Operand("keep", Kind.UNSIGNED, 12, meaning="the best that are kept")
_WINNERS = Operand("len", Kind.UNSIGNED, 12, meaning="winners")


def _cam(mnemonic: str, opcode: int, unit: str, meaning: str, *operands: Operand) -> InstructionSpec:
    return InstructionSpec(mnemonic, opcode, "C", unit, meaning, operands)


_MOVES = (
    _cam(
        "cstore",
        0xA0,
        "cam_memory",
        "key memory row key = signs of `dims` binary32 words: the bit 1 where a word is above 0",
        _KEY,
        words("a", "first channel of a key"),
        _DIMENSIONS,
    ),
    _cam(
        "cvalue",
        0xA1,
        "cam_memory",
        "value memory row value = `elements` binary32 words, as bf16 in machine numerics",
        _VALUE,
        words("a", "first element of a value"),
        _ELEMENTS,
    ),
    _cam(
        "cfetch",
        0xA2,
        "cam_memory",
        "for n < top: value buffer row row + n = value memory row value + the index of the candidate entry + n; nothing"
        " for an empty entry",
        _ENTRY,
        _VALUE,
        _ROW,
        _HALF,
        _TOP,
    ),
)

_ASSOCIATION = (
    _cam(
        "cquery",
        0xA8,
        "association",
        "query buffer = signs of `dims` binary32 words; begins when the candidates of all searches before are there",
        words("a", "first channel of a query"),
        _DIMENSIONS,
    ),
    _cam(
        "cprog",
        0xA9,
        "association",
        "row n of the array = key memory row key + n, for n < count; rows from count on are empty",
        _KEY,
        value("count", 20, "keys that are left: more than the array has rows fill it"),
    ),
    _cam(
        "csearch",
        0xAA,
        "association",
        "the code of each row is min(2^bits - 1, matches * 2^bits div dims), where matches counts the channels with the"
        " bit of the query; candidates entry to entry + top - 1 = the largest codes, of equal ones the lower row first;"
        " entries without a row are empty",
        _ENTRY,
        value("index", 20, "index of the key in the first row"),
        _ROW,
        _TOP,
        _BITS,
    ),
)

_NORMALISATION = (
    _cam(
        "cmerge",
        0xB0,
        "normalisation",
        "entries 0 to keep - 1 = the best of the entries 0 to count - 1, best first: the largest codes, of equal ones"
        " the lower index; empty where there are none left",
        _COUNT,
        _KEEP,
    ),
    _cam(
        "ctop",
        0xB1,
        "normalisation",
        "winners 0 to keep - 1 = the best of the entries 0 to count - 1, as for cmerge",
        _COUNT,
        _KEEP,
    ),
    _cam(
        "cexp",
        0xB2,
        "normalisation",
        "weight of winner n = exp(s_n - s_0), where s = scale * (2 * code * dims / 2^bits - dims); 0 for an empty one;"
        " their sum in ascending order",
        _WINNERS,
        _DIMENSIONS,
        _BITS,
        Operand("scale", Kind.FLOAT, 32, meaning="factor on the scores"),
    ),
    _cam(
        "cdiv",
        0xB3,
        "normalisation",
        "output buffer = weight of each winner divided by their sum, and the row of its value",
        _WINNERS,
        _HALF,
    ),
)

_CONTEXTUALISATION = (
    _cam(
        "cmac",
        0xB8,
        "contextualisation",
        "dst = sum over n < rows, ascending, of weight n of the output buffer * value buffer row of that winner",
        words("dst", "first element of the result"),
        Operand("rows", Kind.UNSIGNED, 12, meaning="winners"),
        Operand("len", Kind.UNSIGNED, 8, meaning="elements of a value"),
        _HALF,
    ),
)

CAM = (*_MOVES, *_ASSOCIATION, *_NORMALISATION, *_CONTEXTUALISATION)
"""In the order of opcodes."""
