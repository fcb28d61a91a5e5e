"""Power and occupancy of a recorded run over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Machine, Program
from pimc.simulator.accounting.energy import DRAM_UNITS, Accounting, EnergyModel
from pimc.simulator.engine.decoding import VECTOR, decode
from pimc.simulator.recording.command_log import channels_of
from pimc.simulator.recording.recorder import Recording

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_MOST_WINDOWS = 1024
_PJ = 1e-12


@dataclass(frozen=True, eq=False)
class Curves:
    """Means over equal parts of a run.

    Attributes:
        begin: [windows] first cycle of each.
        window_cycles: Length of each but the last.
        energy_j: [windows] energy of the actions of each unit; static power is not among them.
        occupancy: [windows] share of the time in which the channels issue commands, or the vector unit works.
    """

    begin: Integers
    window_cycles: int
    energy_j: Mapping[str, Floats]
    occupancy: Mapping[str, Floats]


def curves(recording: Recording, program: Program, machine: Machine, accounting: Accounting) -> Curves:
    """Energy and occupancy of a recorded run in at most 1,024 windows of time."""
    length = max(1, recording.end - recording.begin)
    window = -(-length // _MOST_WINDOWS)
    borders = np.arange(recording.begin, recording.end + window, window)
    windows = _Windows(recording.begin, window, max(1, borders.size - 1))
    model = EnergyModel(machine, accounting)
    cycles, commands, channels = _commands(recording.runs)
    energy = {
        unit: windows.sums(cycles, (model.unit_energy_pj[:, number] * _PJ)[commands] * channels)
        for number, unit in enumerate(DRAM_UNITS)
    }
    energy |= _controller_energy(recording, program, machine, windows)
    occupancy = {"vector unit": windows.shares(recording, VECTOR)}
    if machine.near_bank is not None:
        bus = windows.sums(cycles, channels.astype(np.float64)) / (window * machine.near_bank.channels)
        occupancy = {"command buses": bus, **occupancy}
    return Curves(borders[: windows.count], window, energy, occupancy)


@dataclass(frozen=True)
class _Windows:
    begin: int
    length: int
    count: int

    def sums(self, cycles: Integers, weights: NDArray[Any]) -> Floats:
        """Weights of what happens in each window; what happens behind the last is in the last."""
        place = np.minimum((cycles - self.begin) // self.length, self.count - 1)
        return np.asarray(np.bincount(place, weights, self.count), np.float64)

    def shares(self, recording: Recording, unit: int) -> Floats:
        """Share of each window in which a unit, one instruction at a time, works."""
        own = recording.unit == unit
        start, finish = recording.start[own], recording.finish[own]
        done = np.concatenate([[0], np.cumsum(finish - start)])
        borders = self.begin + self.length * np.arange(self.count + 1)
        behind = np.searchsorted(start, borders)
        under_way = np.concatenate([[0], finish])[behind] - borders
        worked = done[behind] - np.maximum(under_way, 0)
        return np.diff(worked) / self.length


def _commands(runs: Integers) -> tuple[Integers, Integers, Integers]:
    """Cycle, command and number of channels of every command."""
    last, command, _, _, repeat, period, _ = runs.T
    behind = np.repeat(np.cumsum(repeat), repeat) - 1 - np.arange(repeat.sum())
    cycle = np.repeat(last, repeat) - behind * np.repeat(period, repeat)
    return cycle, np.repeat(command, repeat), np.repeat(channels_of(runs), repeat)


def _controller_energy(
    recording: Recording, program: Program, machine: Machine, windows: _Windows
) -> dict[str, Floats]:
    """Energy of vector unit, shared buffer and sequencer; an instruction's when it starts."""
    unit, buffer = machine.vector_unit, machine.shared_buffer
    special = np.array([each.function in unit.special_passes for each in decode(program)])
    lane_pj = np.where(special, unit.special_energy_pj, unit.operation_energy_pj)[recording.index]
    words_pj = recording.words_read * buffer.read_energy_pj_per_word
    words_pj = words_pj + recording.words_written * buffer.write_energy_pj_per_word
    clock = recording.dispatched[:, 1] - 1
    fetch_pj = np.full(clock.size, machine.sequencer.energy_pj_per_instruction)
    return {
        "vector_unit": windows.sums(recording.start, recording.elements * lane_pj * _PJ),
        "shared_buffer": windows.sums(recording.start, words_pj * _PJ),
        "sequencer": windows.sums(clock, fetch_pj * _PJ),
    }
