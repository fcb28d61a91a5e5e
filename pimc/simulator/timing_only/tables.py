"""A decoded program as integer tables, for the compiled engine that runs it without data.

The engine resolves the operands of an instruction into one row of values: `MOST_OPERANDS` operands, then the constants
`ZERO` to `HALF_LANES` and the stripes of `stlane`. The tables name operands by their place in that row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa import INSTRUCTIONS, Machine
from pimc.simulator.dram.channel_timing import recipe
from pimc.simulator.engine.decoding import CHANNEL, SEQUENCER, VECTOR, Operation
from pimc.simulator.state.machine_state import ZERO_REGISTER, MachineState

Integers = NDArray[np.int64]

MOST_OPERANDS = 13
ZERO, ONE, LANES, BANKS, READS, HALF_LANES, STRIPES = range(MOST_OPERANDS, MOST_OPERANDS + 7)
VALUES = MOST_OPERANDS + 7

# fmt: off
SCALARS = (
    "halt", "loop", "end", "skipz", "li", "add", "sub", "mul", "divu", "remu", "and", "or", "shl", "shr", "min", "max",
)
(
    HALT, LOOP, END, SKIPZ, LI, ADD, SUB, MUL, DIVU, REMU, AND, OR, SHL, SHR, MIN, MAX,
) = range(len(SCALARS))
# fmt: on
LDS, STS, ON_VECTOR, ON_CHANNELS = range(len(SCALARS), len(SCALARS) + 4)

MOST_ACCESSES = 3
NO_ACCESS, READ, WRITE, READ_WRITE = range(4)
ACCESS_KIND, BASE, ROWS, LENGTH, ROW_STRIDE, STEP, BY_CHANNEL = range(7)
ACCESS_WIDTH = 7

NO_CHECK, BANK_RANGE, RANGE_CHECK = range(3)
MOST_CHECKS = 3
CHECK_WIDTH = 6
"""Values of a check: kind, places of first, ranges, stride, length of a range, then the limit or whether it writes."""

MOST_WAITS = MOST_OPERANDS + 2

_Place = str | int
_TRANSFERS: Mapping[str, tuple[str, _Place, _Place, _Place]] = {  # base, items, width, stride of an item
    "wrgb": ("src", "cols", LANES, "sn"),
    "wracc": ("src", "count", BANKS, "sn"),
    "rdacc": ("dst", "count", BANKS, "sn"),
    "ldb": ("dst", "cols", LANES, "sn"),
    "stb": ("src", "cols", LANES, "sn"),
    "stlane": ("src", ONE, "count", ZERO),
    "wrab": ("src", "cols", LANES, "sn"),
    "rdaf": ("dst", ONE, BANKS, ZERO),
}
_WRITING_TRANSFERS = ("rdacc", "ldb", "rdaf")
_Check = tuple[int, str, _Place, _Place, _Place, str]
_CHECKS: Mapping[str, tuple[_Check, ...]] = {  # kind, first, ranges, stride, length of a range, limit
    "wrgb": ((RANGE_CHECK, "gb", ONE, ZERO, "cols", "gb"),),
    "wracc": ((RANGE_CHECK, "acc", ONE, ZERO, "count", "acc"),),
    "mac": (
        (BANK_RANGE, "addr", "outs", "bstride", "cols", "read"),
        (RANGE_CHECK, "gb", "outs", "gstride", "cols", "gb"),
        (RANGE_CHECK, "acc", "outs", "astride", ONE, "acc"),
    ),
    "rdacc": ((RANGE_CHECK, "acc", ONE, ZERO, "count", "acc"),),
    "open": ((BANK_RANGE, "addr", ONE, ZERO, ONE, "read"),),
    "ldb": ((RANGE_CHECK, "bank", ONE, ZERO, ONE, "bank"), (BANK_RANGE, "addr", ONE, ZERO, "cols", "read")),
    "stb": ((RANGE_CHECK, "bank", ONE, ZERO, ONE, "bank"), (BANK_RANGE, "addr", ONE, ZERO, "cols", "write")),
    "stlane": ((RANGE_CHECK, "lane", ONE, ZERO, ONE, "lane"), (BANK_RANGE, "addr", STRIPES, "cstride", ONE, "write")),
    "wrab": ((BANK_RANGE, "addr", ONE, ZERO, "cols", "write"),),
    "rdaf": (),
}
"""Near-bank instructions that the compiled engine knows; programs with others run on the plain one."""
_NEEDED: Mapping[str, tuple[_Place, _Place]] = {
    "wrgb": ("cols", ONE),
    "wracc": ("count", ONE),
    "mac": ("cols", "outs"),
    "rdacc": ("count", ONE),
    "ldb": ("cols", ONE),
    "stb": ("cols", ONE),
    "stlane": ("count", ONE),
    "wrab": ("cols", ONE),
}
_REDUCTIONS = ("rsum", "rmax", "rsumsq", "rargmax", "rmin")
_BINARY = ("vadd", "vsub", "vmul", "vdiv", "vmax", "vmin", "vmac", "vcmp", "vsel")
_READ_THEIR_RESULT = ("vmac", "vsel")


class TimingTables(NamedTuple):
    """A program for the compiled engine; one row of each table an instruction.

    Attributes:
        opcode: A scalar instruction, `LDS`, `STS`, `ON_VECTOR` or `ON_CHANNELS`.
        immediates: [n, MOST_OPERANDS].
        registers: [n, MOST_OPERANDS], added to the immediates; the zero register where there is none.
        waits: [n, MOST_WAITS] registers that must have been returned, -1 behind the last.
        accesses: [n, MOST_ACCESSES * ACCESS_WIDTH] of the shared buffer.
        needed: [n, 2] places whose values must not be 0, or there is nothing to do.
        coordinates: [n, 4] places of channel mask, divisor and strides.
        elements: [n, 2] places of rows and length for the vector unit.
        cycles: [n, 2] of the vector unit: to start, and for each pass over its lanes.
        recipes: [n, 8] for the channels: kind, command, places of mask, bank, address, columns, outputs, stride.
        checks: [n, MOST_CHECKS * CHECK_WIDTH].
        loop_ends: [n] for a loop the index of its end.
        regions: [regions, 3] of the banks: first column, column after the last, whether it may be written.
        constants: [VALUES] the constants of a row of values.
    """

    opcode: Integers
    immediates: Integers
    registers: Integers
    waits: Integers
    accesses: Integers
    needed: Integers
    coordinates: Integers
    elements: Integers
    cycles: Integers
    recipes: Integers
    checks: Integers
    loop_ends: Integers
    regions: Integers
    constants: Integers


def can_be_compiled(operations: Sequence[Operation], state: MachineState) -> bool:
    """Whether the compiled engine knows every instruction of a program, its machine has channels and plain queues."""
    known = all(each.unit in (SEQUENCER, VECTOR) or each.mnemonic in _CHECKS for each in operations)
    sequencer = state.machine.sequencer
    is_usual = bool(sequencer.queue_depth) and sequencer.control_cycles is None and state.machine.near_bank is not None
    return known and is_usual and not state.geometry.equal_columns


def timing_tables(operations: Sequence[Operation], machine: Machine, state: MachineState) -> TimingTables:
    """The tables of a decoded program.

    Args:
        operations: Its instructions; see `can_be_compiled`.
        machine: The machine that it runs on.
        state: The machine's sizes, and the program's regions and loops.
    """
    part = state.geometry
    limits = {"gb": part.buffer_columns, "acc": part.accumulators, "bank": part.banks, "lane": part.lanes}
    constants = np.zeros(VALUES, dtype=np.int64)
    reads = part.accumulator_bits // 16
    constants[[ONE, LANES, BANKS, READS, HALF_LANES]] = 1, part.lanes, part.banks, reads, part.lanes // 2
    loop_ends = [state.loop_ends.get(index, 0) for index in range(len(operations))]
    regions = [[each.low, each.high, int(each.region.writable)] for each in state.regions]
    return TimingTables(
        opcode=_table([[_opcode(each)] for each in operations])[:, 0].copy(),
        immediates=_table([_immediates(each) for each in operations]),
        registers=_table([_registers(each) for each in operations]),
        waits=_table([_padded(each.registers, MOST_WAITS, -1) for each in operations]),
        accesses=_table([_accesses(each) for each in operations]),
        needed=_table([_needed(each) for each in operations]),
        coordinates=_table([_places(each, ("ch", "cdiv", "si", "sj"), ZERO) for each in operations]),
        elements=_table([_places(each, ("rows", "len"), ONE) for each in operations]),
        cycles=_table([_cycles(each, machine) for each in operations]),
        recipes=_table([_recipe(each) for each in operations]),
        checks=_table([_checks(each, limits) for each in operations]),
        loop_ends=np.array(loop_ends, dtype=np.int64),
        regions=np.array(regions, dtype=np.int64).reshape(-1, 3),
        constants=constants,
    )


def _table(rows: list[list[int]]) -> Integers:
    return np.array(rows, dtype=np.int64)


def _padded(values: Sequence[int], width: int, filler: int) -> list[int]:
    return [*values, *[filler] * (width - len(values))]


def _opcode(operation: Operation) -> int:
    if operation.unit == SEQUENCER:
        return SCALARS.index(operation.mnemonic)
    if operation.unit == VECTOR:
        return {"lds": LDS, "sts": STS}.get(operation.mnemonic, ON_VECTOR)
    return ON_CHANNELS


def _immediates(operation: Operation) -> list[int]:
    numbers = [0 if isinstance(value, float) else value for value in operation.template]
    return _padded(numbers, MOST_OPERANDS, 0)


def _registers(operation: Operation) -> list[int]:
    found = [ZERO_REGISTER] * MOST_OPERANDS
    for place, _, register in operation.patches:
        found[place] = register
    return found


def _place(operation: Operation, name: _Place, default: int = ZERO) -> int:
    """Place of an operand; a constant stands for itself, an operand that does not exist for `default`."""
    if isinstance(name, int):
        return name
    names = [operand.name for operand in INSTRUCTIONS[operation.mnemonic].operands]
    return names.index(name) if name in names else default


def _places(operation: Operation, names: Sequence[_Place], default: int) -> list[int]:
    return [_place(operation, name, default) for name in names]


def _needed(operation: Operation) -> list[int]:
    if operation.mnemonic in _REDUCTIONS:
        return _places(operation, ("rows", ONE), ONE)
    if operation.unit == VECTOR:
        return _places(operation, ("rows", "len"), ONE)
    return _places(operation, _NEEDED.get(operation.mnemonic, (ONE, ONE)), ONE)


def _cycles(operation: Operation, machine: Machine) -> list[int]:
    if operation.unit != VECTOR:
        return [0, 0]
    unit = machine.vector_unit
    return [unit.startup_cycles, unit.cycles_per_pass * unit.passes(operation.function)]


def _recipe(operation: Operation) -> list[int]:
    if operation.unit != CHANNEL:
        return [0] * 8
    kind, command, sources = recipe(operation.mnemonic)
    constants = {"zero": ZERO, "reads": READS, "one": ONE}
    places = [constants[each] if each in constants else _place(operation, each) for each in sources]
    return [kind, command, *places]


def _accesses(operation: Operation) -> list[int]:
    found = _vector_accesses(operation) if operation.unit == VECTOR else _transfer_accesses(operation)
    return _padded([value for access in found for value in access], MOST_ACCESSES * ACCESS_WIDTH, 0)


def _vector_accesses(operation: Operation) -> list[list[int]]:
    name = operation.mnemonic
    if name == "lds":
        return [[READ, *_places(operation, ("src", ONE, ONE, ZERO, ZERO), ZERO), 0]]
    if name == "sts":
        return [[WRITE, *_places(operation, ("dst", ONE, ONE, ZERO, ZERO), ZERO), 0]]
    length: _Place = ONE if name in _REDUCTIONS else "len"
    written = _places(operation, ("dst", "rows", length, "dst_row", "dst_step"), ZERO)
    sources = {"vfill": ()}.get(name, ("a", "b") if name in _BINARY else ("a",))
    read = [_places(operation, (each, "rows", "len", f"{each}_row", f"{each}_step"), ZERO) for each in sources]
    accesses = [[READ, *places, 0] for places in read]
    if name in _READ_THEIR_RESULT:
        accesses.append([READ_WRITE, *written, 0])
    else:
        accesses.append([WRITE, *written, 0])
    return accesses


def _transfer_accesses(operation: Operation) -> list[list[int]]:
    name = operation.mnemonic
    if name not in _TRANSFERS or not _moves_words(operation):
        return []
    base, items, width, stride = _TRANSFERS[name]
    if name in ("ldb", "stb") and _chosen(operation, "form") == "word":
        width = HALF_LANES
    kind = WRITE if name in _WRITING_TRANSFERS else READ
    if name == "rdacc" and _chosen(operation, "mode") == "add":
        kind = READ_WRITE
    return [[kind, *_places(operation, (base, items, width, stride, ONE), ZERO), 1]]


def _moves_words(operation: Operation) -> bool:
    return operation.mnemonic != "wracc" or _chosen(operation, "source") == "buffer"


def _chosen(operation: Operation, name: str) -> str:
    operand = INSTRUCTIONS[operation.mnemonic].operand(name)
    return str(operand.choices[operation.template[_place(operation, name)]])


def _checks(operation: Operation, limits: Mapping[str, int]) -> list[int]:
    found: list[int] = []
    for kind, *places, limit in _CHECKS.get(operation.mnemonic, ()):
        bound = limits[str(limit)] if kind == RANGE_CHECK else int(limit == "write")
        found += [int(kind), *_places(operation, places, ZERO), bound]
    return _padded(found, MOST_CHECKS * CHECK_WIDTH, 0)
