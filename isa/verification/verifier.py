"""The static program verifier: proves before a run that a program keeps the rules of the machine.

It walks every entry once with symbolic register values: linear expressions in the registers that the host sets (which
have declared ranges, and limits on sums) and in loop counters. Quotients, remainders, minima and maxima are unknowns
with the linear inequalities that define them; a bound of an address is the exact maximum of the linear relaxation.
What it cannot see: products of two registers keep only their range, a value loaded by `lds` is any int32 until `remu`,
`min` or `and` bounds it, and a register that a loop changes otherwise than by a constant keeps a range only when one
iteration keeps it. A refused program is therefore not always a wrong one; an accepted one keeps the rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa.errors import Place, ProgramError, joined
from isa.program import Program
from isa.sections import section_errors
from isa.spec import Kind
from isa.units import UNITS
from isa.verification.access_checks import check_access, check_operands, reach
from isa.verification.access_ranges import Access, Operands
from isa.verification.accesses import accesses
from isa.verification.cam_accesses import cam_capacities
from isa.verification.control_flow import control_flow_errors
from isa.verification.initialization import TRACKED, Event, uninitialised_reads
from isa.verification.linear import Linear
from isa.verification.program_walk import Walk
from isa.verification.register_state import State, bounds_of

if TYPE_CHECKING:
    from isa.machine import Machine

_MOST_FINDINGS = 50
_UNITS = {unit.name: unit for unit in UNITS}


@dataclass(frozen=True)
class Diagnostic:
    """One rule that a program breaks.

    Attributes:
        message: What is wrong.
        instruction: Number of the instruction, or `None` when it concerns the sections.
        node: Graph node that the instruction comes from, when known.
    """

    message: str
    instruction: int | None = None
    node: str | None = None

    def __str__(self) -> str:
        return self.message if self.instruction is None else f"instruction {self.instruction}: {self.message}"


def check_program(program: Program, machine: Machine) -> list[Diagnostic]:
    """Everything that the verifier finds wrong (at most 50 findings); empty when the program keeps all rules."""
    errors = [Diagnostic(message) for message in section_errors(program, machine)]
    missing = list(_extension_errors(program, machine))
    entries = [(entry.name, entry.address) for entry in program.entries.values()]
    flow = [_diagnostic(program, *found) for found in control_flow_errors(program.code, entries)]
    if errors or missing or flow:
        return (errors + missing + flow)[:_MOST_FINDINGS]
    return _Checker(program, machine).run()[:_MOST_FINDINGS]


def require_valid(program: Program, machine: Machine) -> None:
    """Raise `ProgramError` with everything that `check_program` finds."""
    found = check_program(program, machine)
    if found:
        raise joined([ProgramError(str(each), Place(node=each.node) if each.node else None) for each in found])


def _diagnostic(program: Program, index: int, message: str) -> Diagnostic:
    built = program.code[index]
    node = program.sources[program.debug[index]].node if program.debug else None
    return Diagnostic(f"{built.mnemonic}: {message}", index, node)


def _extension_errors(program: Program, machine: Machine) -> Iterator[Diagnostic]:
    for index, built in enumerate(program.code):
        if built.spec.extension not in machine.extensions:
            message = f"the machine '{machine.name}' has no extension {built.spec.extension}"
            yield _diagnostic(program, index, message)
        elif (unit := _UNITS[built.spec.unit]).component and unit.component_of(machine) is None:
            yield _diagnostic(program, index, f"the machine '{machine.name}' has no {unit.title}")


class _Checker:
    """Findings of the walk through all entries."""

    def __init__(self, program: Program, machine: Machine) -> None:
        self.program = program
        self.machine = machine
        self.found: dict[tuple[int, str], Diagnostic] = {}
        self.events: list[Event] = []
        self.walk = Walk(program, self._visit, self._report)
        device = machine.near_bank
        memory = machine.off_chip
        self.capacity = {"sb": machine.shared_buffer.capacity_words}
        if memory is not None:
            self.capacity["off"] = memory.capacity_bytes
        if device is not None:
            self.capacity["bank"] = device.columns_per_bank
            self.capacity["gb"] = device.global_buffer_columns
            self.capacity["acc"] = device.accumulators
        if machine.crossbar is not None:
            self.capacity["xb"] = machine.crossbar.groups * machine.crossbar.columns
        if machine.cam is not None:
            self.capacity |= cam_capacities(machine.cam)

    def run(self) -> list[Diagnostic]:
        """Walk through all entries."""
        entries: list[list[Event]] = []
        for entry in self.program.entries.values():
            self.events = []
            self.walk.run(entry)
            entries.append(self.events)
        for index, message in uninitialised_reads(self.program, entries):
            self._report(index, message)
        return [self.found[key] for key in sorted(self.found)]

    def _report(self, index: int, message: str) -> None:
        self.found.setdefault((index, message), _diagnostic(self.program, index, message))

    def _visit(self, index: int, state: State) -> None:
        operands = self._operands(index, state)
        errors, working = check_operands(operands)
        for message in errors:
            self._report(index, message)
        if errors or working is None:
            return
        certain = working.state.facts == state.facts
        touched = accesses(working)
        for access in touched:
            wrong = check_access(working, access, self.program, self.capacity[access.space])
            if wrong is not None:
                self._report(index, wrong)
        tracked = [access for access in touched if access.space in TRACKED]
        if certain:
            self.events += [read for each in tracked if each.reads for read in _certain_read(index, working, each)]
        self.events += [_write(index, working, each) for each in tracked if each.writes]

    def _operands(self, index: int, state: State) -> Operands:
        built = self.program.code[index]
        values = {
            operand.name: self.walk.value(index, state, value)
            for operand, value in zip(built.spec.operands, built.values, strict=True)
            if operand.kind not in (Kind.CHOICE, Kind.FLOAT, Kind.REGISTER)
        }
        if built.mnemonic == "sts":
            self.walk.register(index, state, int(str(built["ra"])))
        machine = self.machine
        components = (machine.near_bank, machine.kv_codec, machine.digital_cim, machine.cam, machine.crossbar)
        return Operands(built, state, self.walk.unknowns, values, *components)


def _mask(operands: Operands, access: Access) -> Linear:
    return operands.value("ch") if access.space != "sb" else Linear((), 1)


def _write(index: int, operands: Operands, access: Access) -> Event:
    """Everything that an access can write."""
    low, high = reach(operands, access)
    mask = _mask(operands, access)
    most = bounds_of(operands.unknowns, mask, operands.state.facts)[1]
    channels = mask.constant if mask.is_constant else (1 << most.bit_length()) - 1
    return Event(index, access.space, low, high, channels, True)


def _certain_read(index: int, operands: Operands, access: Access) -> Iterator[Event]:
    """What an access surely reads, as far as its address is constant."""
    mask = _mask(operands, access)
    if not access.start.is_constant or not mask.is_constant:
        return
    size = bounds_of(operands.unknowns, access.size, operands.state.facts)[0] if access.solid else 1
    high = access.start.constant + max(size, 1) - 1
    anywhere = operands.state.repeated_choice
    yield Event(index, access.space, access.start.constant, high, mask.constant, False, anywhere)
