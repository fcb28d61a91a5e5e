"""Runs of a loaded program without data, in compiled code: many runs in the time of one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isa import Machine
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.engine.counters import Counters
from pimc.simulator.engine.decoding import UNITS, Operation
from pimc.simulator.state.machine_state import MachineState
from pimc.simulator.timing_only.board_kernels import CLOCK, RECORDS, WAITING
from pimc.simulator.timing_only.kernels import run_program
from pimc.simulator.timing_only.state import (
    BUSY,
    COUNTER,
    ELEMENTS,
    EXECUTED,
    EXTENT,
    FINISH,
    FIRST_COMMAND,
    LOOP_WIDTH,
    MOST_LOOPS,
    MOST_UNDONE,
    POSITION,
    UNDONE,
    VECTOR_FREE,
    WORDS_READ,
    WORDS_WRITTEN,
    TimingLimits,
    TimingState,
)
from pimc.simulator.timing_only.tables import timing_tables


class TimingEngine:
    """The compiled engine of one program; see `timing_tables.can_be_compiled`."""

    def __init__(self, operations: Sequence[Operation], machine: Machine, state: MachineState) -> None:
        self._program = timing_tables(operations, machine, state)
        sequencer = machine.sequencer
        self._limits = TimingLimits(
            sequencer.cycles_per_instruction,
            sequencer.queue_depth,
            state.geometry.channels,
            machine.vector_unit.lanes,
        )
        self._state = state
        size, units = self._program.opcode.size, len(UNITS)
        self._loops, self._undone = _zeros(MOST_LOOPS, LOOP_WIDTH), _zeros(MOST_UNDONE, 2)
        self._records, self._waiting = _zeros(units, RECORDS), _zeros(units, WAITING)
        self._extents = _zeros(size, EXTENT)  # what was found in a run holds in the next

    def run(self, address: int, cycle: int, channels: ChannelTiming) -> tuple[int, Counters] | None:
        """Run from the instruction at `address` to `halt`, beginning at `cycle`.

        Returns:
            The cycle at which everything has ended, and what happened; `None` when something out of the ordinary did:
            then nothing has changed, and the plain engine can say what it is. Sweeps of the MAC units are not counted.
        """
        now = self._fresh(address, cycle, channels)
        saved = [array.copy() for array in (now.channels, now.channel_counters)]
        if not run_program(self._program, now, self._limits):
            for array, kept in zip((now.channels, now.channel_counters), saved, strict=True):
                array[...] = kept
            self._undo(now)
            return None
        self._state.registers[:] = now.registers.tolist()
        channels.finish_at(int(now.position[FINISH]))
        end = max(int(now.position[CLOCK]), int(now.position[VECTOR_FREE]), channels.finish_cycle)
        channels.advance(end)
        counters = _counters(now)
        counters.commands[-1] += channels.last_counts
        return end, counters

    def _fresh(self, address: int, cycle: int, channels: ChannelTiming) -> TimingState:
        units = len(UNITS)
        position = _zeros(POSITION)
        position[[CLOCK, COUNTER, VECTOR_FREE]] = cycle, address, cycle
        registers = np.array(self._state.registers, dtype=np.int64)
        state, tables, counters, memory = channels.kernel_arrays
        for used in (self._records, self._waiting):
            used[:, 0] = 0
        return TimingState(
            position=position,
            registers=registers,
            pending=np.full(registers.size, -1, dtype=np.int64),
            loops=self._loops,
            records=self._records,
            waiting=self._waiting,
            extents=self._extents,
            counts=_zeros(self._extents.shape[0], FIRST_COMMAND + len(channels.command_names)),
            unit_cycles=_zeros(units),
            unit_ends=_zeros(units),
            shared=self._state.shared_integers,
            undone=self._undone,
            channels=state,
            channel_tables=tables,
            channel_counters=counters,
            channel_memory=memory,
        )

    def _undo(self, now: TimingState) -> None:
        """Take back what `sts` wrote, the latest first."""
        for address, word in now.undone[: now.position[UNDONE]][::-1].tolist():
            self._state.shared_integers[address] = word


def _zeros(*shape: int) -> NDArray[np.int64]:
    return np.zeros(shape, dtype=np.int64)


def _counters(now: TimingState) -> Counters:
    counts = now.counts
    found = Counters(counts.shape[0], counts.shape[1] - FIRST_COMMAND)
    found.executed = counts[:, EXECUTED].tolist()
    found.busy_cycles = counts[:, BUSY].tolist()
    found.elements = counts[:, ELEMENTS].tolist()
    found.words_read = counts[:, WORDS_READ].tolist()
    found.words_written = counts[:, WORDS_WRITTEN].tolist()
    found.commands[:-1] = counts[:, FIRST_COMMAND:]
    found.unit_cycles = now.unit_cycles.tolist()
    return found
