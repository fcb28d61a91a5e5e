"""Energy from action counts: commands of the DRAM channels, vector unit, shared buffer, sequencer, static power.

Two accountings. `paper` repeats CENT's published one (github.com/Yufeng98/CENT 8c79786, cent_power_calculator.py):

* activation: `activate_pj_per_bank` for each bank that ACT, ACT4 or ACT16 opens;
* read: `read_pj` for RD, RDA, RDCP, RDMAC16, RDAF16, and `af_pj` for AF16;
* write: `write_pj` for WR, WRA, WRCP, WRMAC16, and once a bank for WRA16;
* compute: `mac_all_banks_pj` for MAC16, one bank's share of it for MAC, `ewmul_pj` for EWMUL16;
* interface: `dq_pj_per_bit` for the bits of a column for every command that moves one over the data pins: RD, RDA, WR,
  WRA, WRA16, WRGB, WRMAC16, RDMAC16, RDAF16;
* no refresh, and the standby power of one channel only, with the channels' mean of active and precharged time.

`faithful`, the default, adds what that leaves out: refresh, the accesses of global buffer and accumulators (a MAC
contains its own), and the standby power of every channel. It never charges less for the same counts.

Components whose authors account for them in another way say so themselves (`isa.PublishedComponent`): `paper` then asks
them for durations, energies and leakage.

Both charge the KV codec for each element, and `beat_energy_pj` for a MAC16 of `kmac` that takes a further beat of a
column already read.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from isa import UNITS
from pimc.simulator.dram.tables import COMMAND_INDEX, COMMANDS
from pimc.simulator.engine.decoding import Operation

if TYPE_CHECKING:
    from isa import Machine, NearBank, UnitComponent

Accounting = Literal["faithful", "paper"]

DRAM_UNITS = (
    "dram_activation",
    "dram_read",
    "dram_write",
    "dram_compute",
    "dram_interface",
    "dram_registers",
    "dram_refresh",
)
_ACTIVATION, _READ, _WRITE, _COMPUTE, _INTERFACE, _REGISTERS, _REFRESH = range(7)
_OVER_THE_PINS = ("RD", "RDA", "WR", "WRA", "WRA16", "WRGB", "WRMAC16", "RDMAC16", "RDAF16")
_PJ = 1e-12


@dataclass(frozen=True)
class DramEnergy:
    """Energy of DRAM commands in joules, cut in two ways that have the same sum.

    Attributes:
        by_command: For each command of `dram_tables.COMMANDS`.
        by_unit: For each of `DRAM_UNITS`.
    """

    by_command: Mapping[str, float]
    by_unit: Mapping[str, float]

    @property
    def total_j(self) -> float:
        """All of it."""
        return sum(self.by_unit.values())


def _command_table(near_bank: NearBank, accounting: Accounting) -> NDArray[np.float64]:
    """Energy of each command in each unit, [commands, units], in pJ."""
    energy = near_bank.energy
    column_bits = near_bank.lanes * near_bank.element_bits
    banks = near_bank.banks
    parts: list[tuple[str, int, float]] = [
        ("ACT", _ACTIVATION, energy.activate_pj_per_bank),
        ("ACT4", _ACTIVATION, energy.activate_pj_per_bank * near_bank.banks_per_group),
        ("ACT16", _ACTIVATION, energy.activate_pj_per_bank * banks),
        *((name, _READ, energy.read_pj) for name in ("RD", "RDA", "RDCP", "RDMAC16", "RDAF16")),
        ("AF16", _READ, energy.af_pj),
        *((name, _WRITE, energy.write_pj) for name in ("WR", "WRA", "WRCP", "WRMAC16")),
        ("WRA16", _WRITE, energy.write_pj * banks),
        ("MAC16", _COMPUTE, energy.mac_all_banks_pj),
        ("MAC", _COMPUTE, energy.mac_all_banks_pj / banks),
        ("EWMUL16", _COMPUTE, energy.ewmul_pj),
        *((name, _INTERFACE, energy.dq_pj_per_bit * column_bits) for name in _OVER_THE_PINS),
    ]
    if accounting == "faithful":
        parts += [
            ("REFab", _REFRESH, energy.refresh_pj),
            ("REFpb", _REFRESH, energy.refresh_pj / banks),
            ("WRGB", _REGISTERS, energy.global_buffer_write_pj),
            ("RDCP", _REGISTERS, energy.global_buffer_write_pj),
            ("WRCP", _REGISTERS, energy.global_buffer_read_pj),
            *((name, _REGISTERS, energy.accumulator_access_pj) for name in ("WRMAC16", "RDMAC16", "RDAF16")),
        ]
    table = np.zeros((len(COMMANDS), len(DRAM_UNITS)))
    for name, unit, picojoules in parts:
        table[COMMAND_INDEX[name], unit] += picojoules
    return table


def powered_components(
    machine: Machine, extensions: Container[str] = (), accounting: Accounting = "faithful"
) -> list[UnitComponent]:
    """Components of the units that are switched on: those of extension I, and of the `extensions` that are used."""
    units = {unit.component: unit for unit in UNITS if unit.extension == "I" or unit.extension in extensions}
    return [each for unit in units.values() if (each := unit.component_of(machine, accounting)) is not None]


@dataclass(frozen=True, eq=False)
class ElementEnergies:
    """What one element of each instruction of a program takes in the units that are no channels.

    Attributes:
        parts: Names of their parts: those of all units that are switched on.
        table_pj: [instructions, parts] without the shared buffer, in pJ.
    """

    parts: tuple[str, ...]
    table_pj: NDArray[np.float64]


def element_energies(
    machine: Machine, operations: Sequence[Operation], extensions: Container[str], accounting: Accounting = "faithful"
) -> ElementEnergies:
    """Energies of the elements of each instruction, for a program that uses these extensions."""
    found = [_element_energies(machine, each, accounting) for each in operations]
    powered = powered_components(machine, extensions, accounting)
    parts = [part for component in powered for part in component.leakages_mw()]
    table = [[energies.get(part, 0.0) for part in parts] for energies in found]
    return ElementEnergies(tuple(parts), np.array(table, np.float64).reshape(len(found), len(parts)))


def _element_energies(machine: Machine, operation: Operation, accounting: Accounting) -> Mapping[str, float]:
    component = UNITS[operation.unit].component_of(machine, accounting)
    return {} if component is None else component.energies_pj(operation.mnemonic, operation.function)


class EnergyModel:
    """Energy of a machine's actions under an accounting.

    Attributes:
        unit_energy_pj: [commands, units] energy of one command of `dram_tables.COMMANDS` in each of `DRAM_UNITS`; all
            zero without near-bank units.
        command_energy_pj: [commands] its sum over the units.
        further_beat_pj: What a further beat of a packed column takes beside the MAC16 that it counts as; negative.
    """

    def __init__(self, machine: Machine, accounting: Accounting = "faithful") -> None:
        self._machine = machine
        self._accounting = accounting
        near_bank = machine.near_bank
        shape = (len(COMMANDS), len(DRAM_UNITS))
        self.unit_energy_pj = np.zeros(shape) if near_bank is None else _command_table(near_bank, accounting)
        self.command_energy_pj: NDArray[np.float64] = self.unit_energy_pj.sum(axis=1)
        self.further_beat_pj = 0.0
        if near_bank is not None and machine.kv_codec is not None:
            self.further_beat_pj = machine.kv_codec.beat_energy_pj - near_bank.energy.mac_all_banks_pj

    def dram_energy_j(self, counts: NDArray[np.int64]) -> DramEnergy:
        """Energy of commands.

        Args:
            counts: [commands] in the order of `dram_tables.COMMANDS`, as `ChannelTiming.command_counts`.
        """
        joules = self.unit_energy_pj * np.asarray(counts)[:, np.newaxis] * _PJ
        by_command = zip(COMMANDS, joules.sum(axis=1).tolist(), strict=True)
        by_unit = zip(DRAM_UNITS, joules.sum(axis=0).tolist(), strict=True)
        return DramEnergy(MappingProxyType(dict(by_command)), MappingProxyType(dict(by_unit)))

    def beat_energy_j(self, further_beats: int) -> float:
        """What further beats of packed columns save against the MAC16 commands that they are counted as, in joules.

        Args:
            further_beats: MAC16 commands of `kmac` on a column that was already read, over all channels.
        """
        return further_beats * self.further_beat_pj * _PJ

    def buffer_energy_j(self, words_read: int, words_written: int) -> dict[str, float]:
        """Energy of accesses to the shared buffer, by unit; in 32-bit words."""
        buffer = self._machine.shared_buffer
        access_pj = words_read * buffer.read_energy_pj_per_word + words_written * buffer.write_energy_pj_per_word
        return {"shared_buffer": access_pj * _PJ}

    def sequencer_energy_j(self, instructions: int) -> dict[str, float]:
        """Energy of fetching and decoding executed instructions, by unit."""
        return {"sequencer": instructions * self._machine.sequencer.energy_pj_per_instruction * _PJ}

    def static_energy_j(self, cycles: int, row_open_cycles: int, extensions: Container[str] = ()) -> dict[str, float]:
        """Energy of standby and leakage, by unit.

        Args:
            cycles: Length of the run.
            row_open_cycles: Cycles with an open row, summed over the channels, as `ChannelTiming.row_open_cycles`.
            extensions: Extensions that the program uses; units of others are switched off.
        """
        machine = self._machine
        seconds = machine.clock_ns * 1e-9
        powers_mw = {"shared_buffer": machine.shared_buffer.leakage_mw}
        for component in powered_components(machine, extensions, self._accounting):
            powers_mw |= component.leakages_mw()
        leakage = {f"{part}_leakage": power * 1e-3 * cycles * seconds for part, power in powers_mw.items()}
        near_bank = machine.near_bank
        if near_bank is None:
            return leakage
        energy = near_bank.energy
        counted_channels = near_bank.channels if self._accounting == "faithful" else 1
        share = counted_channels / near_bank.channels
        closed_cycles = near_bank.channels * cycles - row_open_cycles
        return {
            "dram_standby_active": energy.background_active_mw * 1e-3 * row_open_cycles * share * seconds,
            "dram_standby_precharged": energy.background_precharged_mw * 1e-3 * closed_cycles * share * seconds,
            **leakage,
        }
