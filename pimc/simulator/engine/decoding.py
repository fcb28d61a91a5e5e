"""Instructions prepared once for execution: functions looked up, immediates and register indices apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import isa
from isa import (
    Indexed,
    Instruction,
    Kind,
    Operand,
    OperandValue,
    Place,
    Program,
    ProgramError,
    control_flow_errors,
    vector_function,
)
from pimc.simulator.footprints.cam import CAM_FOOTPRINTS
from pimc.simulator.footprints.crossbar import CROSSBAR_FOOTPRINTS
from pimc.simulator.footprints.digital_cim import DIGITAL_CIM_FOOTPRINTS
from pimc.simulator.footprints.hybrid_softmax import HYBRID_SOFTMAX_FOOTPRINTS
from pimc.simulator.footprints.kv_codec import KV_CODEC_FOOTPRINTS
from pimc.simulator.footprints.kv_records import KV_RECORD_FOOTPRINTS
from pimc.simulator.footprints.near_bank import NEAR_BANK_FOOTPRINTS
from pimc.simulator.footprints.off_chip import OFF_CHIP_FOOTPRINTS
from pimc.simulator.footprints.vector import VECTOR_FOOTPRINTS, Footprint
from pimc.simulator.semantics.cam import CAM_SEMANTICS
from pimc.simulator.semantics.crossbar import CROSSBAR_SEMANTICS
from pimc.simulator.semantics.digital_cim import DIGITAL_CIM_SEMANTICS
from pimc.simulator.semantics.hybrid_softmax import HYBRID_SOFTMAX_SEMANTICS
from pimc.simulator.semantics.kv_banks import KV_BANK_SEMANTICS
from pimc.simulator.semantics.kv_codec import KV_CODEC_SEMANTICS
from pimc.simulator.semantics.kv_records import KV_RECORD_SEMANTICS
from pimc.simulator.semantics.near_bank import NEAR_BANK_SEMANTICS
from pimc.simulator.semantics.off_chip import OFF_CHIP_SEMANTICS
from pimc.simulator.semantics.reduction import REDUCTION_SEMANTICS
from pimc.simulator.semantics.scalar import SCALAR_SEMANTICS
from pimc.simulator.semantics.vector import VECTOR_SEMANTICS

SEMANTICS: Mapping[str, Callable[..., Any]] = {
    **SCALAR_SEMANTICS,
    **VECTOR_SEMANTICS,
    **REDUCTION_SEMANTICS,
    **NEAR_BANK_SEMANTICS,
    **KV_CODEC_SEMANTICS,
    **KV_BANK_SEMANTICS,
    **KV_RECORD_SEMANTICS,
    **CAM_SEMANTICS,
    **CROSSBAR_SEMANTICS,
    **HYBRID_SOFTMAX_SEMANTICS,
    **DIGITAL_CIM_SEMANTICS,
    **OFF_CHIP_SEMANTICS,
}
"""What every instruction does, by mnemonic: f(state, *operands)."""

FOOTPRINTS: Mapping[str, Callable[..., Footprint | None]] = {
    **VECTOR_FOOTPRINTS,
    **NEAR_BANK_FOOTPRINTS,
    **KV_CODEC_FOOTPRINTS,
    **KV_RECORD_FOOTPRINTS,
    **CAM_FOOTPRINTS,
    **CROSSBAR_FOOTPRINTS,
    **HYBRID_SOFTMAX_FOOTPRINTS,
    **DIGITAL_CIM_FOOTPRINTS,
    **OFF_CHIP_FOOTPRINTS,
}
"""What every instruction of a unit touches, by mnemonic: f(state, *operands)."""

UNITS = tuple(unit.name for unit in isa.UNITS)
"""Names of the units by number, as the instruction table spells them."""

SEQUENCER, VECTOR, CHANNEL, MEMORY = (UNITS.index(name) for name in ("sequencer", "vector", "channel", "memory"))
"""Numbers of units that are unlike the others: of numbers, of words, of channels, of bytes off chip."""

RETURNING = ("lds", "kappend", "kfetch")
"""Instructions of units that return a register."""

_LENGTHS = ("len", "tiles", "bytes")
"""Operands that say how much an instruction of a unit works on in a row."""

_FUNCTIONS = ("engine", "activity")
"""Operands that tell a component what an instruction other than one of the vector unit does."""

_ENGINES = ("engine", "group")
"""Operands that name the part of a unit that works, beside its other parts."""

_NOWHERE = -1


@dataclass(slots=True)
class Operation:
    """An instruction ready to run.

    Attributes:
        index: Index in the program.
        mnemonic: Row of the instruction table.
        unit: Number of its unit.
        semantics: f(state, *operands).
        footprint: f(state, *operands), for instructions of a unit.
        template: Resolved operands, indexed ones with the immediate only.
        patches: (position, immediate, register) of every indexed operand.
        registers: Registers that it reads or writes.
        loads: Register that the unit returns (`lds`, `kappend`, `kfetch`), or -1.
        rows_at: Position of the operand `rows`, or -1.
        length_at: Position of the operand `len`, `tiles` or `bytes`, or -1.
        function: What the vector unit computes: a key of its `special_passes`, or a plain function. Of other units
            their operand `engine` or `activity`, or else the mnemonic.
        engine: Part of the unit that works, beside other parts; empty where a unit has but one.
        fixed: Footprint of an instruction without indexed operands, once known.
    """

    index: int
    mnemonic: str
    unit: int
    semantics: Callable[..., Any]
    footprint: Callable[..., Footprint | None] | None
    template: list[Any]
    patches: tuple[tuple[int, int, int], ...]
    registers: tuple[int, ...]
    loads: int
    rows_at: int
    length_at: int
    function: str
    engine: str
    fixed: Footprint | None = None


def decode(program: Program) -> list[Operation]:
    """All instructions of a program, ready to run."""
    return [_operation(index, instruction) for index, instruction in enumerate(program.code)]


def _operation(index: int, instruction: Instruction) -> Operation:
    row = instruction.spec
    names = [operand.name for operand in row.operands]
    pairs = list(zip(row.operands, instruction.values, strict=True))
    patches = [(n, value.immediate, value.register) for n, (_, value) in enumerate(pairs) if isinstance(value, Indexed)]
    named = [int(value) for operand, value in pairs if operand.kind is Kind.REGISTER and isinstance(value, int)]
    return Operation(
        index=index,
        mnemonic=row.mnemonic,
        unit=UNITS.index(row.unit),
        semantics=SEMANTICS[row.mnemonic],
        footprint=FOOTPRINTS.get(row.mnemonic),
        template=[_resolved(operand, value) for operand, value in pairs],
        patches=tuple(patches),
        registers=(*named, *(register for _, _, register in patches)),
        loads=int(str(instruction["rd"])) if row.mnemonic in RETURNING else _NOWHERE,
        rows_at=names.index("rows") if "rows" in names else _NOWHERE,
        length_at=next((names.index(name) for name in _LENGTHS if name in names), _NOWHERE),
        function=_function(instruction),
        engine=next((str(instruction[name]) for name in _ENGINES if name in names), ""),
    )


def _resolved(operand: Operand, value: OperandValue) -> int | float:
    if isinstance(value, Indexed):
        return value.immediate
    if operand.kind is Kind.CHOICE:
        return operand.choices.index(str(value))
    if isinstance(value, str):
        raise AssertionError(f"operand '{operand.name}' is no choice")
    return float(value) if operand.kind is Kind.FLOAT else int(value)


def _function(instruction: Instruction) -> str:
    row = instruction.spec
    if row.unit != UNITS[VECTOR]:
        named = [operand.name for operand in row.operands if operand.name in _FUNCTIONS]
        return str(instruction[named[0]]) if named else row.mnemonic
    has_function = any(operand.name == "fn" for operand in row.operands)
    return vector_function(row.mnemonic, str(instruction["fn"]) if has_function else "copy")


def loop_ends(program: Program) -> dict[int, int]:
    """For the index of every `loop` the index of its `end`.

    Raises:
        ProgramError: a loop is not closed, an `end` closes nothing, an entry begins inside a loop, or a `skipz` goes
            backwards or to another loop body.
    """
    entries = [(entry.name, entry.address) for entry in program.entries.values()]
    for index, message in control_flow_errors(program.code, entries):
        node = program.sources[program.debug[index]].node if program.debug else None
        raise ProgramError(f"instruction {index}: {message}", Place(node=node))
    return isa.loop_ends(program.code)
