"""From the counters of a run to its statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import UNITS, Machine, Program
from pimc.simulator.accounting.cache_statistics import CacheAccountant
from pimc.simulator.accounting.cell_wear import CellWear
from pimc.simulator.accounting.energy import Accounting, EnergyModel, element_energies
from pimc.simulator.accounting.floors import peak_floor_cycles, row_cycled_floor_cycles
from pimc.simulator.accounting.record_statistics import Records
from pimc.simulator.accounting.stats import InstructionStatistics, NodeStatistics, Statistics
from pimc.simulator.engine.counters import Counters
from pimc.simulator.engine.decoding import MEMORY, SEQUENCER, Operation

STANDBY_NODE = "(standby)"
"""Name among the graph nodes of what no node causes: standby, leakage, refreshes of idle channels."""

_WORD_BYTES = 4
_PICO = 1e-12
_STORES = ("stoff", "stnz")
"""Instructions that write off-chip memory."""


@dataclass(frozen=True)
class RunFacts:
    """A finished run.

    Attributes:
        cycles: Its length.
        row_open_cycles: Cycles with an open row, summed over the channels.
        tokens: Tokens that went through the model.
        kv_length: Tokens in the KV cache at its end.
        entry: Name of the entry.
        timing_only: Whether it ran without data.
        records: Records of pruned tokens at its end, by cache; empty without data.
        most_writes: Writes of the column of crossbars that was written most often; 0 without data.
    """

    cycles: int
    row_open_cycles: int
    tokens: int
    kv_length: int
    entry: str
    timing_only: bool
    records: Mapping[str, Records] = field(default_factory=dict[str, Records])
    most_writes: int = 0


class Accountant:
    """Turns counters into statistics of one program on one machine."""

    def __init__(
        self,
        machine: Machine,
        program: Program,
        operations: Sequence[Operation],
        commands: Sequence[str],
        accounting: Accounting,
    ) -> None:
        """Prepare for any number of runs.

        Args:
            machine: The machine.
            program: The program.
            operations: Its instructions, ready to run.
            commands: Names of the DRAM commands that are counted.
            accounting: What energy is charged, see `pimc.simulator.accounting.energy`.
        """
        self._machine = machine
        self._program = program
        self._operations = operations
        self._commands = tuple(commands)
        self._energy = EnergyModel(machine, accounting)
        self._accounting = accounting
        self._extensions = {row.spec.extension for row in program.code}
        self._elements = element_energies(machine, operations, self._extensions, accounting)
        self._element_pj = self._elements.table_pj.sum(axis=1)
        self._sources = np.array(program.debug if program.debug else [0] * len(program.code), np.int64)
        self._cache = CacheAccountant(machine, program, self._commands)

    def statistics(self, counters: Counters, facts: RunFacts) -> Statistics:
        """Statistics of the run that `counters` counted."""
        machine = self._machine
        commands = counters.commands.sum(axis=0)
        return Statistics(
            clock_ns=machine.clock_ns,
            cycles=facts.cycles,
            tokens=facts.tokens,
            first_cycles=facts.cycles,
            first_tokens=facts.tokens,
            busy_cycles_by_unit=self._busy_cycles(counters),
            energy_by_unit_j=self.energy_by_unit_j(counters, facts.cycles, facts.row_open_cycles),
            bytes_by_space=self._bytes_by_space(counters, commands),
            commands=dict(zip(self._commands, commands.tolist(), strict=True)),
            mnemonics=self._mnemonics(counters),
            nodes=self._nodes(counters, facts),
            peak_floor_cycles=peak_floor_cycles(machine, counters.mac_work),
            row_cycled_floor_cycles=row_cycled_floor_cycles(machine, counters.mac_work),
            cache=self._cache.statistics(counters, facts.kv_length, facts.records),
            area_mm2=_area_mm2(machine),
            provenance=self._provenance(facts),
            wear=self._wear(counters, facts),
        )

    def _wear(self, counters: Counters, facts: RunFacts) -> CellWear | None:
        crossbar = self._machine.crossbar
        if crossbar is None:
            return None
        pairs = zip(self._operations, counters.executed, strict=True)
        columns = sum(int(count) for operation, count in pairs if operation.mnemonic == "xprog")
        return CellWear(columns, facts.most_writes, crossbar.endurance_writes)

    def _busy_cycles(self, counters: Counters) -> dict[str, float]:
        shown = ("I", "B", *self._extensions)
        busy: dict[str, float] = {
            unit.name: cycles
            for unit, cycles in zip(UNITS, counters.unit_cycles, strict=True)
            if unit.extension in shown and (not unit.component or unit.component_of(self._machine) is not None)
        }
        busy["sequencer"] = self._sequencer_cycles(counters)
        busy["mac"] = peak_floor_cycles(self._machine, counters.mac_work)
        return busy

    def _sequencer_cycles(self, counters: Counters) -> int:
        """Cycles of control and scalar instructions, and of handing over the others."""
        sequencer = self._machine.sequencer
        if sequencer.control_cycles is None:
            return sum(counters.executed) * sequencer.cycles_per_instruction
        pairs = zip(self._operations, counters.executed, strict=True)
        issued = sum(count for operation, count in pairs if operation.unit not in (SEQUENCER, MEMORY))
        return issued * sequencer.cycles_per_instruction + (sum(counters.executed) - issued) * sequencer.control_cycles

    def energy_by_unit_j(self, counters: Counters, cycles: int, row_open_cycles: int) -> dict[str, float]:
        """Energy of a run, cut by unit, in joules.

        Args:
            counters: What happened.
            cycles: Its length.
            row_open_cycles: Cycles with an open row, summed over the channels.
        """
        parts_pj = np.array(counters.elements, np.int64) @ self._elements.table_pj
        dram = dict(self._energy.dram_energy_j(counters.commands.sum(axis=0)).by_unit)
        dram["dram_compute"] += self._energy.beat_energy_j(sum(counters.further_beats))
        return {
            **dram,
            **dict(zip(self._elements.parts, (parts_pj * _PICO).tolist(), strict=True)),
            **self._energy.buffer_energy_j(sum(counters.words_read), sum(counters.words_written)),
            **self._energy.sequencer_energy_j(sum(counters.executed)),
            **self._energy.static_energy_j(cycles, row_open_cycles, self._extensions),
        }

    def _instruction_energy_j(self, counters: Counters) -> NDArray[np.float64]:
        """Energy of the actions of each instruction of the program, in joules."""
        machine = self._machine
        buffer = machine.shared_buffer
        energy_pj = counters.commands[:-1] @ self._energy.command_energy_pj
        energy_pj = energy_pj + np.array(counters.elements) * self._element_pj
        energy_pj += np.array(counters.further_beats) * self._energy.further_beat_pj
        energy_pj += np.array(counters.words_read) * buffer.read_energy_pj_per_word
        energy_pj += np.array(counters.words_written) * buffer.write_energy_pj_per_word
        energy_pj += np.array(counters.executed) * machine.sequencer.energy_pj_per_instruction
        return np.asarray(energy_pj * _PICO, np.float64)

    def _nodes(self, counters: Counters, facts: RunFacts) -> dict[str, NodeStatistics]:
        """What each graph node cost, and what none caused: the energies add up to the run's."""
        sources = self._program.sources
        size = max(len(sources), 1)
        executed = np.bincount(self._sources, counters.executed, size)
        busy = np.bincount(self._sources, counters.busy_cycles, size)
        energy = np.bincount(self._sources, self._instruction_energy_j(counters), size)
        nodes: dict[str, NodeStatistics] = {}
        for source, count, cycles, joules in zip(sources, executed, busy, energy, strict=False):
            if count:
                found = NodeStatistics(source.node, source.onnx_nodes, int(count), int(cycles), float(joules))
                nodes[source.node] = nodes[source.node] + found if source.node in nodes else found
        if sources:
            nodes[STANDBY_NODE] = NodeStatistics(STANDBY_NODE, (), 0, 0, self._standby_j(counters, facts))
        return nodes

    def _standby_j(self, counters: Counters, facts: RunFacts) -> float:
        """Static energy of a run, and that of refreshes while all channels were idle, in joules."""
        static = self._energy.static_energy_j(facts.cycles, facts.row_open_cycles, self._extensions)
        idle_pj = float(counters.commands[-1] @ self._energy.command_energy_pj)
        return sum(static.values()) + idle_pj * _PICO

    def _mnemonics(self, counters: Counters) -> dict[str, InstructionStatistics]:
        found: dict[str, InstructionStatistics] = {}
        for operation, count, cycles in zip(self._operations, counters.executed, counters.busy_cycles, strict=True):
            if count:
                earlier = found.get(operation.mnemonic, InstructionStatistics(0, 0))
                found[operation.mnemonic] = earlier + InstructionStatistics(count, cycles)
        return found

    def _bytes_by_space(self, counters: Counters, commands: NDArray[np.int64]) -> dict[str, int]:
        near_bank = self._machine.near_bank
        if near_bank is None:
            return self._bytes_beside_banks(counters)
        count = dict(zip(self._commands, commands.tolist(), strict=True))
        column = near_bank.lanes * near_bank.element_bits // 8
        one_bank_reads = sum(count[name] for name in ("RD", "RDA", "RDCP", "MAC"))
        one_bank_writes = sum(count[name] for name in ("WR", "WRA", "WRCP"))
        group_reads, group_writes = 2 * count["EWMUL16"], count["EWMUL16"]
        pins = ("RD", "RDA", "WR", "WRA", "WRA16", "WRGB", "WRMAC16", "RDMAC16", "RDAF16")
        return {
            "bank_mac": (count["MAC16"] - sum(counters.further_beats)) * near_bank.banks * column,
            "bank_read": (one_bank_reads + group_reads * near_bank.bank_groups) * column,
            "bank_written": (one_bank_writes + count["WRA16"] * near_bank.banks + group_writes * near_bank.bank_groups)
            * column,
            "gb_written": (count["WRGB"] + count["RDCP"]) * column,
            "sb_read": sum(counters.words_read) * _WORD_BYTES,
            "sb_written": sum(counters.words_written) * _WORD_BYTES,
            "dq": sum(count[name] for name in pins) * column,
        }

    def _bytes_beside_banks(self, counters: Counters) -> dict[str, int]:
        """Bytes of the shared buffer, and declared ones of the off-chip memory."""
        words = {"sb_read": counters.words_read, "sb_written": counters.words_written}
        moved = {space: sum(each) * _WORD_BYTES for space, each in words.items()}
        for operation, octets in zip(self._operations, counters.elements, strict=True):
            if operation.unit == MEMORY:
                space = "off_written" if operation.mnemonic in _STORES else "off_read"
                moved[space] = moved.get(space, 0) + octets
        return moved

    def _provenance(self, facts: RunFacts) -> dict[str, Any]:
        metadata = self._program.metadata
        return {
            "machine": self._program.machine,
            "machine_sha256": self._program.machine_sha256,
            "model_sha256": metadata.get("model_sha256"),
            "numerics": self._program.numerics,
            "versions": metadata.get("versions"),
            "entry": facts.entry,
            "accounting": self._accounting,
            "timing_only": facts.timing_only,
        }


def _area_mm2(machine: Machine) -> float | None:
    names = {"sequencer", "shared_buffer", "near_bank", *(unit.component for unit in UNITS if unit.component)}
    parts = [getattr(machine, name) for name in sorted(names)]
    areas = [part.area_mm2 for part in parts if part is not None and part.area_mm2 is not None]
    return sum(areas) if areas else None
