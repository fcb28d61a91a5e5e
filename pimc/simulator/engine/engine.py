"""The sequencer: runs an entry of a program, instruction by instruction, function and timing together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from isa import UNITS, Machine, Program, ProgramError, PublishedCim
from pimc.simulator.dram.channel_timing import ChannelTiming, beat_work
from pimc.simulator.engine.counters import Counters
from pimc.simulator.engine.decoding import (
    CHANNEL,
    MEMORY,
    RETURNING,
    SEQUENCER,
    Operation,
    decode,
    loop_ends,
)
from pimc.simulator.engine.scoreboard import Scoreboard
from pimc.simulator.engine.units import WordUnit, elements
from pimc.simulator.footprints.vector import Footprint
from pimc.simulator.state.faults import FaultError, program_error
from pimc.simulator.state.machine_state import MachineState
from pimc.simulator.timing_only.tables import can_be_compiled

if TYPE_CHECKING:
    from pimc.simulator.recording.recorder import Recorder
    from pimc.simulator.timing_only.engine import TimingEngine

_SERIAL = frozenset(number for number, unit in enumerate(UNITS) if unit.is_serial)
_LOADERS = frozenset({MEMORY})
"""Units for whose results a core waits in the accounting of its authors."""

_SIZED_BY_DATA = ("kappend", "kfetch")
_ALWAYS_EXECUTED = (*RETURNING, "sts")
"""What a run without data executes, too, so that registers have values."""


def _queue_depths(machine: Machine) -> tuple[int, ...]:
    """Instructions that each unit may have waiting: those of the sequencer's description, or of the unit's own."""
    own = {MEMORY: machine.off_chip.queue_depth} if machine.off_chip is not None else {}
    return tuple(own.get(number, machine.sequencer.queue_depth) for number in range(len(UNITS)))


def _hand_over_cycles(machine: Machine) -> tuple[int, ...]:
    """Cycles of the sequencer for an instruction of each unit."""
    sequencer = machine.sequencer
    control = sequencer.cycles_per_instruction if sequencer.control_cycles is None else sequencer.control_cycles
    return tuple(
        control if number in (SEQUENCER, MEMORY) else sequencer.cycles_per_instruction for number in range(len(UNITS))
    )


class Engine:
    """A loaded program on a machine, and its position in time.

    Attributes:
        state: What the machine holds.
        operations: The instructions, ready to run.
        counters: What happened in the latest run.
        cycle: Cycle at which the latest run ended; the next one begins there.
        recorder: Gets what units do, while there is one.
    """

    def __init__(
        self, machine: Machine, program: Program, channels: ChannelTiming, accounting: str = "faithful"
    ) -> None:
        self.state = MachineState(machine, program, loop_ends(program))
        self._program = program
        self._machine = machine
        self.operations = decode(program)
        self._accounting = accounting
        self._periods = _hand_over_cycles(machine)
        self._computes = True
        self._timing: TimingEngine | None = None
        self.recorder: Recorder | None = None
        self.restart(channels)

    def restart(self, channels: ChannelTiming) -> None:
        """Go back to cycle 0, with `channels` that have done nothing yet."""
        self.cycle = 0
        self._channels = channels
        components = [unit.component_of(self._machine, self._accounting) for unit in UNITS]
        self._word_units = {number: WordUnit(each) for number, each in enumerate(components) if each is not None}
        heedless = {number: _LOADERS for number, each in enumerate(components) if isinstance(each, PublishedCim)}
        self._board = Scoreboard(_queue_depths(self._machine), _SERIAL, heedless)
        self.counters = self._new_counters()

    def _new_counters(self) -> Counters:
        return Counters(len(self.operations), len(self._channels.command_names))

    def run(self, address: int, timing_only: bool) -> None:
        """Run from the instruction at `address` to `halt`; `counters` and `cycle` say what came of it.

        Args:
            address: Index of the first instruction.
            timing_only: Leave out what the units compute. Scalar accesses to the shared buffer still happen, so that
                `lds` finds what the host has written there, and 0 elsewhere.

        Raises:
            ProgramError: an instruction leaves its memory, or cannot be executed.
        """
        self.counters = self._new_counters()
        self._computes = not timing_only
        state = self.state
        state.computes = self._computes
        state.program_counter = address
        state.loops.clear()
        state.halted = False
        self._board.drain(self.cycle)
        with np.errstate(all="ignore"):
            self._execute()
        finished = max(unit.finished for unit in self._word_units.values())
        self.cycle = max(self._board.clock, finished, self._channels.finish_cycle)
        self._channels.advance(self.cycle)
        self.counters.commands[-1] += self._channels.last_counts
        if self.recorder is not None:
            self.recorder.run_ended(self.cycle, self._channels.logged_runs)

    def run_compiled(self, address: int) -> None:
        """As `run` with `timing_only`, many times as fast where the program allows it; MAC sweeps are not counted."""
        if self._timing is None and can_be_compiled(self.operations, self.state):
            from pimc.simulator.timing_only.engine import TimingEngine

            self._timing = TimingEngine(self.operations, self._machine, self.state)
        found = self._timing.run(address, self.cycle, self._channels) if self._timing is not None else None
        if found is None:
            self.run(address, timing_only=True)
        else:
            self.cycle, self.counters = found

    def _execute(self) -> None:
        state, board, periods = self.state, self._board, self._periods
        operations, executed, registers = self.operations, self.counters.executed, state.registers
        index = state.program_counter
        operands: list[Any] = []
        try:
            while not state.halted:
                index = state.program_counter
                operation = operations[index]
                state.program_counter = index + 1
                operands = operation.template
                if operation.patches:
                    operands = operands.copy()
                    for position, immediate, register in operation.patches:
                        operands[position] = immediate + registers[register]
                executed[index] += 1
                if board.pending:
                    board.wait_for_registers(operation.registers)
                if operation.unit == SEQUENCER:
                    operation.semantics(state, *operands)
                else:
                    self._hand_over(operation, operands)
                board.clock += periods[operation.unit]
                if self.recorder is not None:
                    self.recorder.dispatched(index, board.clock)
        except FaultError as fault:
            raise program_error(fault, self._program, index, operands) from None
        except IndexError:
            if index < len(operations):
                raise
            raise ProgramError("the program runs past its end", help="end every entry with 'halt'") from None

    def _hand_over(self, operation: Operation, operands: list[Any]) -> None:
        """Give an instruction to its unit: bounds, hazards, time, counts, function."""
        footprint = self._footprint(operation, operands)
        if footprint is None:
            return
        board = self._board
        board.wait_for_queue(operation.unit)
        if operation.unit == CHANNEL:
            ready = board.earliest_start(operation.unit, footprint)
            start, end = self._channels.issue(operation.mnemonic, operands, ready)
            board.record(operation.unit, footprint, start, end)
            self._count_commands(operation, operands)
        else:
            start, end = self._issue(operation, operands, footprint)
        self.counters.add(operation, footprint, start, end)
        if self.recorder is not None:
            self.recorder.executed(operation, operands, footprint, (start, end), self._channels.logged_runs)
        if self._computes or operation.mnemonic in _ALWAYS_EXECUTED:
            operation.semantics(self.state, *operands)
        if operation.loads >= 0:
            board.pending[operation.loads] = end

    def _issue(self, operation: Operation, operands: list[Any], footprint: Footprint) -> tuple[int, int]:
        """Execute an instruction on a unit other than the channels; gives start and end."""
        board, unit = self._board, self._word_units[operation.unit]
        rows, length = elements(operation, operands)
        duration = unit.duration(operation, rows, length)
        reading = min(duration.occupied, duration.latency)
        ready = board.earliest_start(operation.unit, footprint, duration.latency - max(reading, 1))
        start, end = unit.issue(operation, duration, ready)
        board.record(operation.unit, footprint, start, end, start + reading)
        self.counters.elements[operation.index] += rows * length
        return start, end

    def _footprint(self, operation: Operation, operands: list[Any]) -> Footprint | None:
        if operation.fixed is not None:
            return operation.fixed
        if operation.footprint is None:
            raise AssertionError(f"{operation.mnemonic} has no footprint function")
        found = operation.footprint(self.state, *operands)
        if not operation.patches and operation.mnemonic not in _SIZED_BY_DATA:
            operation.fixed = found
        return found

    def _count_commands(self, operation: Operation, operands: list[Any]) -> None:
        self.counters.commands[operation.index] += self._channels.last_counts
        if operation.mnemonic == "mac":
            mask, column, _, columns, outputs, _, stride, _, _ = operands
            self.counters.mac_work.add(mask, column, columns, outputs, stride)
        elif operation.mnemonic == "kmac":
            self._count_beats(operation, operands)

    def _count_beats(self, operation: Operation, operands: list[Any]) -> None:
        ranges, further = beat_work(self._machine, operands)
        mask, column = operands[0], operands[1]
        for first, count in ranges:
            self.counters.mac_work.add(mask, column + first, count, 1, 0)
        self.counters.mac_work.further_beats += further
        self.counters.further_beats[operation.index] += further
