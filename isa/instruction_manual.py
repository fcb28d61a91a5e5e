"""The ISA manual as Markdown, printed from the instruction table."""

from __future__ import annotations

from collections.abc import Iterator

from isa.assembly.instruction_text import positional_count
from isa.instructions import INSTRUCTIONS
from isa.spec import (
    OPCODE_BITS,
    OPCODE_RANGES,
    REGISTER_BITS,
    REGISTER_COUNT,
    SPACE_OF_KIND,
    WORD_BITS,
    BitField,
    InstructionSpec,
    Kind,
)

EXTENSIONS = {
    "I": "base: control, scalar registers, shared buffer, vector unit",
    "B": "near bank: DRAM channels with a compute unit at every bank",
    "X": "crossbars: resistive ones, and digital ones with the units around them",
    "K": "KV codec",
    "C": "CAM arrays",
    "L": "links and off-chip memory",
}
"""What each ISA extension stands for."""

_INTRODUCTION = f"""# Instruction set

An instruction is a word of {WORD_BITS} bits, stored as {WORD_BITS // 8} bytes, lowest byte first. Bits 0 to
{OPCODE_BITS - 1} hold the opcode; the operands follow in the order of the table; bits that no operand uses are zero. A
register field has {REGISTER_BITS} bits: 0 means no register, n + 1 means register n. Registers r0 to
r{REGISTER_COUNT - 1} hold integers of 64 bits; a result that does not fit is an error. An operand that can be written
`imm + register` has its register field after its immediate.

Memory spaces: `sb` shared buffer of the controller, words of 32 bits; `bank` DRAM bank, linear columns
(row * columns of a row + column); `gb` global buffer of a channel, columns; `acc` accumulators of a bank, binary32.

Two-dimensional ranges: operand `x` of a vector instruction covers rows x len words, and word (i, j) lies at
x + i * x_row + j * x_step. Rows run one after another; within a row all operands are read before the result is written,
and of elements that a row writes to the same word the last one stays.

Words of the shared buffer: `type=f32` computes in binary32 (IEEE 754; NaN spreads through larger, smaller, sums and
largest elements), `type=i32` in int32, which wraps around; an integer quotient is rounded towards zero, and is 0 where
the divisor is 0. `vcmp` gives int32 words; with a NaN only `not_equal` holds. Of the functions, `to_int` rounds towards
zero, a value outside int32 becomes its end and NaN becomes 0; `round` takes halves to the even integer; `sign` is -1, 0
or 1, and NaN of NaN; `copy` with scale 1 and bias 0 copies words of any type bit for bit. A row without elements has
the sum 0, the index 0, and as its largest (smallest) element minus (plus) infinity, of int32 the lowest (highest) word.

Channel coordinates: in transfers between `sb` and channels, item n of channel c lies at
base + (c div cdiv) * si + (c mod cdiv) * sj + n * sn. Channels that read the same words are a broadcast; what channels
write to the same word is summed in binary32, in ascending order of channels.
"""

_CODES = """\
A meta word holds a scale (IEEE binary16, bits 0 to 15) and a zero point (binary16, bits 16 to 31). Rounding to binary16
goes to the nearest number, ties to even, gives 65504 or -65504 where that overflows and 0x7E00 of NaN. What a code is
worth is computed in binary32, one rounding an operation.

Codes are int32 words, none of them negative. Packed, codes of `bits` bits follow one another, lowest bits first. In the
banks a column of 16-bit elements holds 16 div bits beats, a beat being a code for each lane; `beat` counts from the
first beat of column `addr`, strides count beats. Regions of the banks that hold codes (`element=code`) keep their bits
in every numerics: there `ldb` and `stb` take `form=word`, other instructions of extension B but `open` are refused, as
`kstore` and `kmac` are elsewhere. A product of `kmac` has a binary32 sum for each lane over ascending beats; the lanes
are summed in ascending order and the sum is added to the accumulator.

A record of `kappend` has a bitmap of the channels whose code is not 0, a flag for each of these, and their codes, those
of the first `split` channels in `bits` bits, the others in `bits2`. Each part begins at a byte; byte k is byte k mod 4
of word k div 4. A run without data takes `expected` bytes for each record. `kexpand` counts levels from 0; a flag says
that its channel went on to the next level, which never is level 0.

An instruction of the codec takes its startup, then a pass over its lanes for each group of elements: of all rows
together, but row by row for `klevel`, `kappend`, `kfetch` and `kexpand`; `kselect` takes several passes
(`select_passes` of the machine).
"""
_SEARCH = """\
Memories of the CAM: `key` rows with the signs of a key, `value` rows with a value, `candidate` entries with the code of
a match, the index of its key and the row of its value in the value buffer; an entry may be empty. Value buffer and
output buffer have two halves, so that a query is searched while the values of the one before are added up.

A unit of the CAM is a pipeline: it reads what an instruction needs while it is occupied with it, and writes results in
the last cycles of its latency. `csearch` occupies the array for one use; the candidates are there when they have passed
converter, scaler, tile sorter and register. The next tile may be programmed as soon as the search has left the array.
`cquery` occupies nothing, but waits for the candidates of the query before: stages hand over whole queries.

Arithmetic is binary32, one rounding an operation. Machine numerics round to bf16, ties to even, what is stored: values,
exponentials, weights, results; sums stay in binary32. An exponential is that of numpy. A code of `bits` bits never says
that all channels match when 2^bits is a multiple of `dims`: it reads one step low.
"""
_ARRAYS = """\
A group of `xprog` and `xmvm` holds a matrix M with numbers M[i][j] of row i and column j. Under fp32 numerics M and
products are exact binary32 numbers. Under machine numerics, with w = weight_bits and x = input_bits of the machine:
`xprog` finds the scale s_j = (largest magnitude of the column) / (2^(w-1) - 1), 1 for a column of zeros; row i holds
the code q = nearest integer of M[i][j] / s_j, halves to even. Cells hold q + 2^(w-1) in slices of `cell_bits`, each
times 1 + `conductance_noise` * a normal random number of the seeded generator. `xmvm` finds the scale t of its vector
likewise, from 2^(x-1) - 1; on the transposed side elements are first multiplied by the s_j of their columns. Element i
enters as its code u + 2^(x-1), `dac_bits` at a time; of a vector that is `unsigned` t comes from 2^x - 1, and u enters
as it is, 0 where it is negative. Each array gives for each digit and slice the sum over its lines, rounded to the
nearest integer, halves to even, and at most 2^adc_bits - 1. Sums are shifted, added over arrays, freed of both offsets,
and multiplied by t, on the normal side also by s_j.

`xexp` and `xlog` look up: under machine numerics argument and entry of a table are rounded to the nearest multiple of
2^-fraction_bits, halves to even, and the smallest argument of a logarithm is that step. `xmax` takes as many rounds as
a tournament of its rows, side by side in `lanes` pairs, of `compare_operations` and `select_operations` each.

"""
_TILES = """\
Instructions whose names begin with `d` are tiles of a digital core: its units take binary32 words of the shared buffer
as INT8 (the nearest integer, halves to even, -128 to 127, 0 of NaN), sums of products are exact, and results are
binary32. `activity` counts 4,096ths of a tile's operands that are neither padding nor zero, as the program declares
them; only energy depends on it. A tile takes the cycles of its unit and `assign_cycles` of the machine.
"""
_OFF_CHIP = """\
A byte of the off-chip memory is an INT8 of a word, or one of a record: a bitmap of the channels whose code is not 0, a
bit for each of these, and their codes, each part from a byte on, lowest bits first, as `kappend` writes it. Time and
energy of a transfer of records are those of `bytes` for each, in runs with data, too.
"""
_NOTES = {"C": _SEARCH, "K": _CODES, "X": _ARRAYS + _TILES, "L": _OFF_CHIP}
"""What holds for the rows of an extension together."""


def manual(mnemonic: str | None = None) -> str:
    """The manual as Markdown, or the section of one instruction.

    Raises:
        KeyError: there is no instruction of that name.
    """
    if mnemonic is not None:
        return "\n".join(_section(INSTRUCTIONS[mnemonic]))
    lines = [_INTRODUCTION]
    for letter, codes in OPCODE_RANGES.items():
        rows = [row for row in INSTRUCTIONS if row.extension == letter]
        if rows:
            lines += [f"## Extension {letter}: {EXTENSIONS[letter]}", ""]
            lines += [f"Opcodes {codes.start:#04x} to {codes.stop - 1:#04x}.", ""]
            lines += [_NOTES[letter]] if letter in _NOTES else []
        for row in sorted(rows, key=lambda each: each.opcode):
            lines += _section(row)
    return "\n".join(lines)


def syntax(row: InstructionSpec) -> str:
    """How an instruction is written; operands in brackets may be left out."""
    positional = positional_count(row)
    parts: list[str] = []
    for index, operand in enumerate(row.operands):
        name = operand.name if index < positional else f"{operand.name}={_placeholder(operand.kind, operand.indexed)}"
        parts.append(name if operand.default is None else f"[{name}]")
    return f"{row.mnemonic} {', '.join(parts)}".rstrip()


def _placeholder(kind: Kind, indexed: bool) -> str:
    if kind in SPACE_OF_KIND:
        return "[address]"
    if kind in (Kind.CHANNELS, Kind.REGISTER):
        return str(kind.value)
    if kind in (Kind.CHOICE, Kind.LABEL):
        return "name"
    return "n+r" if indexed else "n"


def _section(row: InstructionSpec) -> Iterator[str]:
    yield f"### `{row.mnemonic}`"
    yield ""
    yield f"{row.meaning}."
    yield ""
    yield f"    {syntax(row)}"
    yield ""
    yield f"Opcode {row.opcode:#04x}, unit {row.unit}, {row.used_bits} bits used."
    yield ""
    if not row.operands:
        return
    yield "| operand | bits | kind | default | meaning |"
    yield "|---|---|---|---|---|"
    for item in row.fields:
        yield _operand_row(item)
    yield ""


def _operand_row(item: BitField) -> str:
    operand = item.operand
    bits = f"{item.low}-{item.low + operand.width - 1}" if operand.width > 1 else f"{item.low}"
    if operand.indexed:
        last = item.low + operand.width - 1
        bits = f"{item.low}-{item.register_low - 1}, register {item.register_low}-{last}"
    kind = f"address in {operand.kind.value}" if operand.kind in SPACE_OF_KIND else operand.kind.value
    kind += " + register" if operand.indexed else ""
    kind += f": {', '.join(operand.choices)}" if operand.choices else ""
    default = "" if operand.default is None else str(operand.default)
    return f"| {operand.name} | {bits} | {kind} | {default} | {operand.meaning} |"
