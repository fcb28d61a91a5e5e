"""Rows of the instruction table for the softmax unit of extension X, which compares, selects and looks up.

With f = `fraction_bits` of the machine, machine numerics round the argument of a table and its entry to the nearest
multiple of 2^-f, halves to even; the smallest argument of a logarithm is 2^-f. Under fp32 numerics nothing is rounded.
"""

from __future__ import annotations

from isa.operands import stride, value, words
from isa.spec import InstructionSpec, Kind, Operand

_UNIT = "hybrid_softmax"
_LENGTH = value("len", 22, "elements in a row")
_ROWS = value("rows", 16, "number of rows", 1)
_SCALE = Operand("scale", Kind.FLOAT, 32, default=1.0, meaning="factor")

HYBRID_SOFTMAX = (
    InstructionSpec(
        "xmax",
        0x62,
        "X",
        _UNIT,
        "dst[row] = largest element of a[row], by a tournament of comparisons and selections",
        (
            words("dst", "results, consecutive"),
            words("a", "first row"),
            _LENGTH,
            _ROWS,
            stride("a_row", "words from one row to the next"),
        ),
    ),
    InstructionSpec(
        "xexp",
        0x63,
        "X",
        _UNIT,
        "dst[row][i] = table of exp at scale * (a[row][i] - b[row])",
        (
            words("dst", "first row of results"),
            words("a", "first row"),
            words("b", "subtrahend of each row, consecutive"),
            _LENGTH,
            _ROWS,
            stride("dst_row", "words from one row of results to the next"),
            stride("a_row", "words from one row to the next"),
            _SCALE,
        ),
    ),
    InstructionSpec(
        "xlog",
        0x64,
        "X",
        _UNIT,
        "dst[i] = a[i] + scale * table of ln at b[i]",
        (words("dst", "results"), words("a", "addends"), words("b", "arguments"), _LENGTH, _SCALE),
    ),
)
"""In the order of opcodes."""
