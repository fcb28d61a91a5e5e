"""Digital CIM core: arrays that hold the weight matrices of a transformer layer, and the units around them.

A unit works on one tile at a time: an operation of a tile takes the `cycles` of its unit, and `assign_cycles` more
until the unit takes the next one. Every unit of a kind works in an operation. Its energy is that of `cycles` cycles:
dynamic power times the share of operands that are neither padding nor zero (`activity`), and leakage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from isa.digital_cim_instructions import FULL_ACTIVITY, MATRICES
from isa.units import Duration

_Count = Annotated[int, Field(ge=1)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_UM2_PER_MM2 = 1e6

_UNIT_OF = {
    "ddot": "engines",
    "dsoftmax": "softmax",
    "dnorm": "norm",
    "drelu": "relu",
    "dprune": "prune",
    "dquant": "quantise",
    "ddequant": "dequantise",
}
"""Field of `DigitalCim` that executes an instruction, for those that no array executes."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TileUnit(_Part):
    """Units of a kind, all of which work in an operation.

    Attributes:
        count: Units of a set.
        sets: Sets, of which one works in an operation.
        lanes: Elements that a unit takes at once.
        cycles: Cycles that a tile takes.
        dynamic_mw: Dynamic power of a unit while it works on a full tile.
        leakage_mw: Static power of a unit.
        area_um2: Silicon area of a unit.
    """

    count: _Count = 1
    sets: _Count = 1
    lanes: _Count = 1
    cycles: _Count
    dynamic_mw: _Number
    leakage_mw: _Number
    area_um2: _Number

    @property
    def units(self) -> int:
        """All units of the kind."""
        return self.count * self.sets


class ScaleBuffer(_Part):
    """The buffer of scales and zero points, which no instruction of ours addresses: they lie in the shared buffer.

    Attributes:
        access_power_mw: Dynamic power of an access a cycle.
        leakage_mw: Static power.
        area_mm2: Silicon area.
    """

    access_power_mw: _Number
    leakage_mw: _Number
    area_mm2: _Number


class DigitalCim(_Part):
    """A core with the matrices of a layer.

    Attributes:
        clock_ns: Length of a cycle of its units; that of the machine.
        macro_inputs: Inputs of a macro, the rows of weights that it holds.
        macro_outputs: Outputs of a macro.
        matrices: For each of `MATRICES` its inputs and outputs.
        macro: A macro: all macros of a matrix work in a product.
        accumulator: The accumulator of one output of a matrix.
        engines: Dot products of INT8 vectors: a set for scores, a set for values.
        softmax: Softmax of a tile of scores.
        norm: Lanes of layer normalisation: a set before attention, a set behind it.
        relu: Rectified linear units.
        prune: Comparison with a threshold.
        quantise: Quantisation.
        dequantise: Elements back from their codes.
        scale_buffer: The buffer of scales.
        assign_cycles: Cycles from the end of an operation of a unit to the next one.
        program_cycles: Cycles to write a row of weights into all macros that hold a part of it.
    """

    clock_ns: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    macro_inputs: _Count
    macro_outputs: _Count
    matrices: dict[str, tuple[_Count, _Count]]
    macro: TileUnit
    accumulator: TileUnit
    engines: TileUnit
    softmax: TileUnit
    norm: TileUnit
    relu: TileUnit
    prune: TileUnit
    quantise: TileUnit
    dequantise: TileUnit
    scale_buffer: ScaleBuffer
    assign_cycles: Annotated[int, Field(ge=0)]
    program_cycles: _Count

    @field_validator("matrices", mode="before")
    @classmethod
    def _pairs(cls, matrices: object) -> object:
        """YAML has lists, and strict models want tuples."""
        if not isinstance(matrices, Mapping):
            return matrices
        return {name: tuple(size) if isinstance(size, list) else size for name, size in matrices.items()}

    @field_validator("matrices")
    @classmethod
    def _all_of_them(cls, matrices: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        if set(matrices) != set(MATRICES):
            raise ValueError(f"a core holds the matrices {', '.join(MATRICES)}")
        return matrices

    def macros(self, matrix: str) -> int:
        """Macros that hold a matrix: ceil(inputs / macro_inputs) * ceil(outputs / macro_outputs)."""
        inputs, outputs = self.matrices[matrix]
        return -(-inputs // self.macro_inputs) * -(-outputs // self.macro_outputs)

    def unit(self, mnemonic: str) -> TileUnit:
        """The units that execute an instruction; the macros for products and weights."""
        found = getattr(self, _UNIT_OF.get(mnemonic, "macro"))
        assert isinstance(found, TileUnit)
        return found

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """Time of `length` tiles one after another: cycles + assign_cycles of each."""
        if mnemonic == "dprog":
            return Duration(self.program_cycles, self.program_cycles)
        cycles = length * (self.unit(mnemonic).cycles + self.assign_cycles)
        return Duration(cycles, cycles)

    def energies_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """Dynamic energy of one tile: units * cycles * dynamic power * activity; none of writing weights is known."""
        return {part: power * share * self.clock_ns for part, power, _, share in self._work(mnemonic, function)}

    def leakages_mw(self) -> dict[str, float]:
        """Static power of all units of each kind."""
        found = {part: unit.leakage_mw * count for part, unit, count in self._inventory()}
        return {**found, "scale_buffer": self.scale_buffer.leakage_mw}

    def published(self) -> PublishedCim:
        """The core as the authors account for it: leakage of what works, while it works, and of nothing else."""
        return PublishedCim(self)

    def busy_leakage_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """Leakage of the working units during one tile."""
        return {part: leakage * self.clock_ns for part, _, leakage, _ in self._work(mnemonic, function)}

    def _work(self, mnemonic: str, function: str) -> list[tuple[str, float, float, float]]:
        """Part, dynamic and static power times units and cycles (mW cycles), and activity, of one tile."""
        if mnemonic == "dprog":
            return []
        if mnemonic == "dmvm":
            parts = [("arrays", self.macro, self.macros(function)), self._accumulators(function)]
            activity = 1.0
        else:
            unit = self.unit(mnemonic)
            parts = [(_UNIT_OF[mnemonic], unit, unit.count)]
            activity = int(function) / FULL_ACTIVITY if function != mnemonic else 1.0
        return [
            (part, count * unit.cycles * unit.dynamic_mw, count * unit.cycles * unit.leakage_mw, activity)
            for part, unit, count in parts
        ]

    def _accumulators(self, matrix: str) -> tuple[str, TileUnit, int]:
        return "accumulators", self.accumulator, self.matrices[matrix][1]

    def _inventory(self) -> list[tuple[str, TileUnit, int]]:
        """Every kind of unit, and how many there are."""
        macros = sum(self.macros(name) for name in MATRICES)
        outputs = sum(self.matrices[name][1] for name in MATRICES)
        found = [("arrays", self.macro, macros), ("accumulators", self.accumulator, outputs)]
        kinds = [(name, getattr(self, name)) for name in _UNIT_OF.values()]
        return found + [(name, unit, unit.units) for name, unit in kinds]

    @property
    def area_mm2(self) -> float:
        """Silicon area of arrays, units and buffer of scales."""
        units = sum(unit.area_um2 * count for _, unit, count in self._inventory())
        return units / _UM2_PER_MM2 + self.scale_buffer.area_mm2

    @property
    def peak_power_w(self) -> float:
        """Power with every unit at work at once, as the authors print it, without the shared buffer."""
        units = sum((unit.dynamic_mw + unit.leakage_mw) * count for _, unit, count in self._inventory())
        return (units + self.scale_buffer.access_power_mw + self.scale_buffer.leakage_mw) * 1e-3


@dataclass(frozen=True)
class PublishedCim:
    """The accounting of the published simulator.

    Its operations wait for their unit and for what the off-chip memory brings, not for results of other units: phase
    follows phase, so that nearly all are there, but a product may begin before the last tile of a normalisation ends.

    Attributes:
        core: What it accounts for.
    """

    core: DigitalCim

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """As the core."""
        return self.core.duration(mnemonic, function, rows, length)

    def energies_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """Dynamic energy and leakage of the working units during one tile: units * cycles * (dynamic + leakage)."""
        leakage = self.core.busy_leakage_pj(mnemonic, function)
        return {part: energy + leakage[part] for part, energy in self.core.energies_pj(mnemonic, function).items()}

    def leakages_mw(self) -> dict[str, float]:
        """None of any kind: it is counted while units work."""
        return dict.fromkeys(self.core.leakages_mw(), 0.0)
