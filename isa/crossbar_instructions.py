"""Rows of the instruction table for the resistive half of extension X: groups of arrays that hold matrices.

A group holds a matrix M with numbers M[i][j] of row i and column j, zeros until they are written. Under fp32 numerics
M and products are exact binary32 numbers. Under machine numerics, with w = weight_bits, x = input_bits:

* `xprog` finds the scale s_j = (largest magnitude of the column) / (2^(w-1) - 1), 1 for a column of zeros; row i
  holds the code q = nearest integer of M[i][j] / s_j, halves to even. Cells hold q + 2^(w-1) in slices of `cell_bits`,
  each times 1 + `conductance_noise` * a normal random number of the seeded generator.
* `xmvm` finds the scale t of its vector likewise, from 2^(x-1) - 1; on the transposed side elements are first
  multiplied by the s_j of their columns. Element i enters as its code u + 2^(x-1), `dac_bits` at a time; of a vector
  that is `unsigned`, as probabilities are, t comes from 2^x - 1, and u enters as it is, 0 where it is negative. Each
  array gives for each digit and slice the sum over its lines, rounded to the nearest integer, halves to even, and at
  most 2^adc_bits - 1. Sums are shifted, added over arrays, freed of both offsets, and multiplied by t, on the normal
  side also by s_j.
"""

from __future__ import annotations

from isa.operands import step, value, words
from isa.spec import InstructionSpec, Kind, Operand

_GROUP = Operand("group", Kind.UNSIGNED, 12, meaning="group of arrays")
SIDES = ("normal", "transposed")
"""Sides from which a vector may enter a group."""
VECTORS = ("signed", "unsigned")
"""Kinds of vectors; without signs small elements leave lines idle, so that fewer sums outgrow the converters."""

CROSSBAR = (
    InstructionSpec(
        "xprog",
        0x60,
        "X",
        "crossbar",
        "M[i][column] = src[i] for i < len; every cell of them is written once",
        (
            _GROUP,
            value("column", 15, "column of the matrix"),
            words("src", "numbers"),
            value("len", 15, "numbers"),
            step("src_step"),
        ),
    ),
    InstructionSpec(
        "xmvm",
        0x61,
        "X",
        "crossbar",
        "dst[j] = begin[j] + scale * sum over i < inputs of a[i] * M[i][j] for j < len; on the transposed side M[j][i]",
        (
            words("dst", "result"),
            words("a", "vector"),
            words("begin", "addends, consecutive"),
            _GROUP,
            value("inputs", 15, "elements of the vector"),
            value("rows", 7, "arrays along the inputs that it passes: at least inputs / lines of an array", 1),
            value("len", 15, "results"),
            Operand("side", Kind.CHOICE, 1, default="normal", choices=SIDES, meaning="transposed: in at the columns"),
            Operand("add", Kind.CHOICE, 1, default="no", choices=("no", "begin"), meaning="no: without addends"),
            Operand("scale", Kind.FLOAT, 32, default=1.0, meaning="factor of the sum"),
            step("dst_step"),
            Operand("vector", Kind.CHOICE, 1, default="signed", choices=VECTORS, meaning="whether elements have signs"),
        ),
    ),
)
"""In the order of opcodes."""
