"""Power and occupancy of a recorded run over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import UNITS, Machine, Program
from pimc.simulator.accounting.energy import DRAM_UNITS, Accounting, EnergyModel, element_energies
from pimc.simulator.dram.channel_timing import beat_work
from pimc.simulator.engine.decoding import decode
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
    windows = _windows(recording.begin, recording.end)
    energy, occupancy = _channel_shares(recording.runs, windows, machine, accounting)
    energy["dram_compute"] = energy["dram_compute"] + _beat_energy(recording, program, machine, windows)
    energy |= _controller_energy(recording, program, machine, windows, accounting)
    for number, unit in enumerate(UNITS):
        if unit.component and (unit.extension == "I" or (recording.unit == number).any()):
            occupancy |= {unit.title: windows.shares(recording, number)}
    return Curves(windows.begins(), windows.length, energy, occupancy)


def channel_curves(runs: Integers, cycles: int, machine: Machine, accounting: Accounting) -> Curves:
    """The same of the channels alone, from the runs of commands that were logged in `cycles` cycles."""
    windows = _windows(0, cycles)
    energy, occupancy = _channel_shares(runs, windows, machine, accounting)
    return Curves(windows.begins(), windows.length, energy, occupancy)


def _channel_shares(
    runs: Integers, windows: _Windows, machine: Machine, accounting: Accounting
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Energy and occupancy of the channels, by unit."""
    model = EnergyModel(machine, accounting)
    cycles, commands, channels = _commands(runs)
    energy = {
        unit: windows.sums(cycles, (model.unit_energy_pj[:, number] * _PJ)[commands] * channels)
        for number, unit in enumerate(DRAM_UNITS)
    }
    if machine.near_bank is None:
        return energy, {}
    bus = windows.sums(cycles, channels.astype(np.float64)) / (windows.length * machine.near_bank.channels)
    return energy, {"command buses": bus}


@dataclass(frozen=True)
class _Windows:
    begin: int
    length: int
    count: int

    def begins(self) -> Integers:
        """First cycle of each window."""
        return self.begin + self.length * np.arange(self.count)

    def sums(self, cycles: Integers, weights: NDArray[Any]) -> Floats:
        """Weights of what happens in each window; what happens behind the last is in the last."""
        place = np.minimum((cycles - self.begin) // self.length, self.count - 1)
        return np.asarray(np.bincount(place, weights, self.count), np.float64)

    def shares(self, recording: Recording, unit: int) -> Floats:
        """Share of each window in which a unit works on anything; instructions of a pipeline overlap."""
        own = recording.unit == unit
        finish = np.maximum.accumulate(recording.finish[own]) if own.any() else recording.finish[own]
        start = np.maximum(recording.start[own], np.concatenate([[0], finish])[:-1])
        done = np.concatenate([[0], np.cumsum(finish - start)])
        borders = self.begin + self.length * np.arange(self.count + 1)
        behind = np.searchsorted(start, borders)
        under_way = np.concatenate([[0], finish])[behind] - borders
        worked = done[behind] - np.maximum(under_way, 0)
        return np.diff(worked) / self.length


def _windows(begin: int, end: int) -> _Windows:
    """At most 1,024 windows of equal length."""
    length = max(1, end - begin)
    window = -(-length // _MOST_WINDOWS)
    return _Windows(begin, window, -(-length // window))


def _commands(runs: Integers) -> tuple[Integers, Integers, Integers]:
    """Cycle, command and number of channels of every command."""
    last, command, _, _, repeat, period, _ = runs.T
    behind = np.repeat(np.cumsum(repeat), repeat) - 1 - np.arange(repeat.sum())
    cycle = np.repeat(last, repeat) - behind * np.repeat(period, repeat)
    return cycle, np.repeat(command, repeat), np.repeat(channels_of(runs), repeat)


def _controller_energy(
    recording: Recording, program: Program, machine: Machine, windows: _Windows, accounting: Accounting
) -> dict[str, Floats]:
    """Energy of the units that are no channels, of shared buffer and sequencer; an instruction's when it starts."""
    buffer = machine.shared_buffer
    extensions = {row.spec.extension for row in program.code}
    found = element_energies(machine, decode(program), extensions, accounting)
    parts_pj = recording.elements[:, np.newaxis] * found.table_pj[recording.index]
    words_pj = recording.words_read * buffer.read_energy_pj_per_word
    words_pj = words_pj + recording.words_written * buffer.write_energy_pj_per_word
    clock = np.maximum(recording.dispatched[:, 1] - 1, windows.begin)
    fetch_pj = np.full(clock.size, machine.sequencer.energy_pj_per_instruction)
    return {
        **{part: windows.sums(recording.start, parts_pj[:, n] * _PJ) for n, part in enumerate(found.parts)},
        "shared_buffer": windows.sums(recording.start, words_pj * _PJ),
        "sequencer": windows.sums(clock, fetch_pj * _PJ),
    }


def _beat_energy(recording: Recording, program: Program, machine: Machine, windows: _Windows) -> Floats:
    """What further beats of packed columns save against the MAC16 commands that they are logged as."""
    own = np.array([program.code[index].mnemonic == "kmac" for index in recording.index.tolist()], np.bool_)
    further = [beat_work(machine, recording.operands[place])[1] for place in np.flatnonzero(own).tolist()]
    saved = np.array(further, np.float64) * EnergyModel(machine).further_beat_pj * _PJ
    return windows.sums(recording.start[own], saved)
