"""The front door: load a program on a machine, run an entry, read the statistics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from isa import UNITS, Entry, InputError, Machine, MachineError, Program, RegisterSymbol, ResourceLimitError
from pimc.simulator.accounting.energy import Accounting
from pimc.simulator.accounting.record_statistics import RecordReader
from pimc.simulator.accounting.run_statistics import Accountant, RunFacts
from pimc.simulator.accounting.stats import Statistics
from pimc.simulator.dram.channel_timing import channels_of_machine
from pimc.simulator.engine.engine import Engine
from pimc.simulator.recording.command_log import LOG_RUNS
from pimc.simulator.recording.recorder import Recorder, Recording
from pimc.simulator.state.machine_state import MachineState


@dataclass(frozen=True)
class RunCost:
    """What a run of a sweep cost.

    Attributes:
        cycles: Its length.
        energy_j: Its energy.
        instructions: Executed instructions.
    """

    cycles: int
    energy_j: float
    instructions: int


class Simulator:
    """A machine that runs programs.

    Runs follow one another in time: a later run meets the open rows and the refresh schedule that an earlier one left.

    Attributes:
        machine: The machine.
    """

    def __init__(self, machine: Machine, accounting: Accounting = "faithful") -> None:
        """A machine without a program.

        Args:
            machine: Its description.
            accounting: What energy is charged: everything, or what published calculations count (`paper`).
        """
        self.machine = machine
        self._accounting: Accounting = accounting
        self._program: Program | None = None

    def load(self, program: Program) -> None:
        """Put a program and its data on the machine, at cycle 0.

        Raises:
            MachineError: the program was compiled for another machine, or uses an extension that this one lacks.
            InputError: its data do not fit the machine.
            ProgramError: its loops are not closed.
        """
        _check_machine(self.machine, program)
        self._channels = channels_of_machine(self.machine)
        self._engine = Engine(self.machine, program, self._channels, self._accounting)
        self._accountant = Accountant(
            self.machine, program, self._engine.operations, self._channels.command_names, self._accounting
        )
        self._records = RecordReader(program)
        self._program = program

    @property
    def program(self) -> Program:
        """The loaded program."""
        if self._program is None:
            raise InputError("no program is loaded", help="call Simulator.load first")
        return self._program

    @property
    def state(self) -> MachineState:
        """What the machine holds."""
        return self._engine.state

    def reset(self) -> None:
        """Go back to the state after `load`: memory and time."""
        state = self._engine.state
        state.reset()
        self._channels = channels_of_machine(self.machine)
        self._engine.restart(self._channels)

    def run(self, entry: str, registers: Mapping[str, int] | None = None, timing_only: bool = False) -> Statistics:
        """Run an entry to its end.

        Args:
            entry: `decode`, `prefill`, `encode`.
            registers: Values of the register symbols that the entry asks for, by name.
            timing_only: Time and energy without data: units compute nothing, banks are not even allocated. `lds` finds
                what the host has written into the shared buffer, and 0 elsewhere.

        Returns:
            Statistics of this run alone.

        Raises:
            InputError: unknown entry, missing or unknown register.
            ResourceLimitError: a register is outside its declared range.
            ProgramError: an instruction leaves its memory, or cannot be executed.
        """
        given = dict(registers or {})
        chosen = self._entry(entry)
        self._set_registers(chosen, given)
        begin, open_before = self._engine.cycle, self._channels.row_open_cycles(self._engine.cycle)
        self._engine.run(chosen.address, timing_only)
        end = self._engine.cycle
        tokens = given.get("token_count", 1)
        facts = RunFacts(
            cycles=end - begin,
            row_open_cycles=self._channels.row_open_cycles(end) - open_before,
            tokens=tokens,
            kv_length=given.get("kv_length", 0) + tokens,
            entry=entry,
            timing_only=timing_only,
            records={} if timing_only else self._records.read(self.state),
            most_writes=0 if timing_only else self.state.crossbar.most_writes,
        )
        return self._accountant.statistics(self._engine.counters, facts)

    def record(self) -> None:
        """Note from now on what every unit does in each `run`, until `recording`; cycles stay what they are."""
        self._channels.begin_log(LOG_RUNS)
        self._engine.recorder = Recorder(self._engine.cycle)

    def recording(self) -> Recording:
        """What the units did since `record`.

        Raises:
            InputError: nothing was to be recorded.
            ResourceLimitError: there were too many commands.
        """
        recorder = self._engine.recorder
        if recorder is None:
            raise InputError("nothing was recorded", help="call Simulator.record before run")
        self._engine.recorder = None
        return recorder.recording(self._channels.end_log())

    def sweep(self, entry: str, register_sets: Iterable[Mapping[str, int]], compiled: bool = True) -> Iterator[RunCost]:
        """Run an entry many times without data, one after another.

        Cycles and energies are those that `run` gives, without the other statistics.

        Args:
            entry: `decode`, `prefill`, `encode`.
            register_sets: Values of the register symbols that the entry asks for, for each run.
            compiled: Whether the compiled engine runs it; the plain one gives the same.

        Raises:
            InputError: as `run`, like `ResourceLimitError` and `ProgramError`.
        """
        chosen = self._entry(entry)
        engine, channels = self._engine, self._channels
        for given in register_sets:
            self._set_registers(chosen, given)
            begin, open_before = engine.cycle, channels.row_open_cycles(engine.cycle)
            if compiled:
                engine.run_compiled(chosen.address)
            else:
                engine.run(chosen.address, timing_only=True)
            cycles = engine.cycle - begin
            row_open_cycles = channels.row_open_cycles(engine.cycle) - open_before
            energy = self._accountant.energy_by_unit_j(engine.counters, cycles, row_open_cycles)
            yield RunCost(cycles, sum(energy.values()), sum(engine.counters.executed))

    def _entry(self, name: str) -> Entry:
        entries = self.program.entries
        if name not in entries:
            raise InputError(f"the program has no entry '{name}'", notes=[f"its entries are {', '.join(entries)}"])
        return entries[name]

    def _set_registers(self, entry: Entry, given: Mapping[str, int]) -> None:
        missing = [name for name in entry.registers if name not in given]
        unknown = [name for name in given if name not in entry.registers]
        if missing or unknown:
            notes = [f"'{name}' is missing" for name in missing] + [f"'{name}' is unknown" for name in unknown]
            notes.append(f"the entry '{entry.name}' asks for: {', '.join(entry.registers) or 'none'}")
            raise InputError(f"the registers given do not fit the entry '{entry.name}'", notes=notes)
        for symbol in self.program.registers:
            if symbol.name not in given:
                continue
            value = given[symbol.name]
            if not symbol.low <= value <= symbol.high:
                raise ResourceLimitError(
                    f"the register '{symbol.name}' is {value}",
                    notes=[f"{symbol.meaning or symbol.name}: {symbol.low} to {symbol.high}"],
                    help=_allowed(symbol, value),
                )
            self.state.registers[symbol.register] = value
        self._check_limits(given)

    def _check_limits(self, given: Mapping[str, int]) -> None:
        """Sums of registers stay within what the program was proven safe for."""
        for limit in self.program.limits:
            if not all(name in given for name in limit.registers):
                continue
            total = sum(given[name] for name in limit.registers)
            if total > limit.high:
                raise ResourceLimitError(
                    f"{' + '.join(limit.registers)} is {total}",
                    notes=[f"bound: {limit.high}"],
                    help="compile with a larger --max-context, or give less",
                )


def _allowed(symbol: RegisterSymbol, value: int) -> str:
    """What to give instead of a value outside of the register's range."""
    if symbol.low == symbol.high:
        return f"give {symbol.low}: the program is made for no other value"
    return f"give at least {symbol.low}" if value < symbol.low else "compile with a larger --max-context, or give less"


def _check_machine(machine: Machine, program: Program) -> None:
    if program.machine_sha256 != machine.sha256:
        other = "another description of it" if program.machine == machine.name else f"the machine '{program.machine}'"
        raise MachineError(
            f"the program was compiled for {other}, not for this '{machine.name}'",
            notes=[f"program: {program.machine_sha256[:16]}", f"machine: {machine.sha256[:16]}"],
            help="compile it again, or give the machine it was compiled for",
        )
    needed = {instruction.spec.extension for instruction in program.code}
    lacking = sorted(needed - set(machine.extensions))
    if lacking:
        raise MachineError(
            f"the machine '{machine.name}' lacks the extension {', '.join(lacking)}",
            notes=[f"it has {', '.join(machine.extensions)}"],
        )
    used = {instruction.spec.unit for instruction in program.code}
    absent = [unit for unit in UNITS if unit.name in used and unit.component and unit.component_of(machine) is None]
    if absent:
        raise MachineError(f"the machine '{machine.name}' has no {', '.join(unit.title for unit in absent)}")
    if machine.near_bank is not None and not machine.near_bank.computes:
        multiplying = sorted({each.mnemonic for each in program.code} & {"mac", "kmac"})
        if multiplying:
            raise MachineError(f"the banks of '{machine.name}' only store: they have no {', '.join(multiplying)}")
