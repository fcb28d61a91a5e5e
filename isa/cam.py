"""The CAM: keys as bits that a query searches, a ranking of the matches, and exact attention to the winners."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from isa.units import Duration

_Count = Annotated[int, Field(ge=1)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_UM2_PER_MM2 = 1e6


class CamModule(BaseModel):
    """A circuit of the CAM, or several alike.

    Attributes:
        energy_pj_per_cycle: Of one of them, in each cycle of its `cycles`; milliwatts at 1 GHz.
        count: How many there are; they work together.
        cycles: How long one use takes.
        area_um2: Silicon area of one of them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    energy_pj_per_cycle: _Number
    count: _Count = 1
    cycles: _Count = 1
    area_um2: _Number = 0.0

    @property
    def use_pj(self) -> float:
        """Energy of one use of all of them."""
        return self.energy_pj_per_cycle * self.count * self.cycles


class CamModules(BaseModel):
    """The circuits, in the order in which a query meets them.

    Attributes:
        query_buffer: Holds the signs of the query.
        key_memory: Holds the signs of all keys; one use reads a group of keys.
        array: Cells that compare; one use programs a group of rows, or searches all of them.
        converter: Analogue-digital converters of the match lines.
        scaler: Multiplies the codes.
        tile_sorter: Finds the best of a tile.
        candidate_register: Holds the best of the tiles so far.
        sorter: Finds the best of the candidates.
        exponential: Table of the exponential function.
        accumulator: Sums the exponentials.
        output_buffer: Holds exponentials and weights.
        divider: Divides by the sum.
        value_buffer: Holds the values of candidates; one use writes those of a tile, or reads for all multipliers.
        multiplier: Multiplies values with weights, and adds.
        value_memory: Memory of all values, off chip; one use reads those of a tile's candidates.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    query_buffer: CamModule
    key_memory: CamModule
    array: CamModule
    converter: CamModule
    scaler: CamModule
    tile_sorter: CamModule
    candidate_register: CamModule
    sorter: CamModule
    exponential: CamModule
    accumulator: CamModule
    output_buffer: CamModule
    divider: CamModule
    value_buffer: CamModule
    multiplier: CamModule
    value_memory: CamModule


APPENDED = "new_keys_and_values"
"""Part of the energy that is not a circuit's: writing the keys and values of new tokens."""

_USES: dict[str, dict[str, int]] = {
    "cquery": {"query_buffer": 1},
    "csearch": {
        "query_buffer": 1,
        "array": 1,
        "converter": 1,
        "scaler": 1,
        "tile_sorter": 1,
        "candidate_register": 1,
    },
    "cfetch": {"value_memory": 1, "value_buffer": 1},
    "cmerge": {"sorter": 1, "candidate_register": 1},
    "ctop": {"sorter": 1},
    "cexp": {"exponential": 1, "accumulator": 1, "output_buffer": 1},
    "cdiv": {"output_buffer": 2, "divider": 1},
}
"""How often each element of an instruction uses circuits; `cprog` and `cmac` also depend on the array's sizes."""


class Cam(BaseModel):
    """Three stages that a query passes, each of them a unit, and a unit that moves keys and values.

    Association programs a tile of keys into the array and searches it, tile by tile; searches are a pipeline, so that
    the next tile is programmed while candidates of the one before are ranked. Normalisation ranks the candidates of
    all tiles and turns the codes of the winners into weights. Contextualisation adds up the values of the winners.

    Attributes:
        rows: Keys that the array holds: a tile.
        columns: Bits of a key at most.
        rows_per_use: Keys that one use of the array programs.
        code_bits: Resolution of the converters.
        tile_top: Candidates that the tile sorter finds at most.
        keys: Keys that the key memory holds.
        values: Values that the value memory holds.
        value_elements: Elements of a value at most.
        value_rows: Values of candidates that each of the two halves of the value buffer holds.
        candidates: Entries of the candidate register.
        kept: Candidates that a merge keeps, and winners at most.
        first_merge_tiles: Tiles before the first merge.
        merge_tiles: Tiles before each further merge.
        modules: The circuits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    rows: _Count
    columns: Annotated[int, Field(ge=1, le=255)]
    rows_per_use: _Count
    code_bits: Annotated[int, Field(ge=1, le=16)]
    tile_top: Annotated[int, Field(ge=1, le=255)]
    keys: Annotated[int, Field(ge=1, lt=1 << 20)]
    values: Annotated[int, Field(ge=1, lt=1 << 20)]
    value_elements: Annotated[int, Field(ge=1, le=255)]
    value_rows: Annotated[int, Field(ge=1, lt=1 << 16)]
    candidates: Annotated[int, Field(ge=1, lt=1 << 12)]
    kept: Annotated[int, Field(ge=1, lt=1 << 12)]
    first_merge_tiles: _Count
    merge_tiles: _Count
    modules: CamModules

    @model_validator(mode="after")
    def _candidates_fit(self) -> Cam:
        if self.tile_top > self.rows:
            raise ValueError(f"tile_top: a tile of {self.rows} keys has no {self.tile_top} candidates")
        if self.kept > self.candidates:
            raise ValueError(f"kept: {self.kept} entries do not fit {self.candidates} candidates")
        return self

    @property
    def area_mm2(self) -> float:
        """Silicon area of all circuits."""
        modules: list[CamModule] = [getattr(self.modules, name) for name in CamModules.model_fields]
        return sum(module.area_um2 * module.count for module in modules) / _UM2_PER_MM2

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """Time of an instruction on `rows` x `length` elements.

        A query buffer is written while the first rows are programmed; a search takes the array for one use, and its
        candidates pass converter, scaler, tile sorter and register; the sorter takes its operands in the first cycle.
        """
        use = self.modules
        ranking = (use.converter, use.scaler, use.tile_sorter, use.candidate_register)
        groups = -(-rows * length // use.multiplier.count) if mnemonic == "cmac" else length
        durations = {
            "cquery": (0, use.query_buffer.cycles),
            "cprog": (self._program_uses * use.array.cycles,) * 2,
            "csearch": (use.array.cycles, use.array.cycles + sum(each.cycles for each in ranking)),
            "cstore": (use.key_memory.cycles,) * 2,
            "cvalue": (1, use.value_memory.cycles),
            "cfetch": (1, use.value_memory.cycles),
            "cmerge": (1, use.sorter.cycles + use.candidate_register.cycles),
            "ctop": (1, use.sorter.cycles),
            "cexp": (groups * use.exponential.cycles,) * 2,
            "cdiv": (groups * use.divider.cycles,) * 2,
            "cmac": (groups, groups + use.multiplier.cycles),
        }
        return Duration(*durations[mnemonic])

    @property
    def _program_uses(self) -> int:
        return -(-self.rows // self.rows_per_use)

    def energies_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """Energy of one element of an instruction, by circuit: each circuit that it uses, for its cycles."""
        use = self.modules
        if mnemonic == "cprog":
            uses = self._program_uses
            return {"key_memory": uses * use.key_memory.use_pj, "array": uses * use.array.use_pj}
        if mnemonic == "cmac":
            at_once = use.multiplier.count
            return {"value_buffer": use.value_buffer.use_pj / at_once, "multiplier": use.multiplier.use_pj / at_once}
        if mnemonic in ("cstore", "cvalue"):
            memory = use.key_memory if mnemonic == "cstore" else use.value_memory
            return {APPENDED: memory.use_pj}
        found: dict[str, CamModule] = {name: getattr(use, name) for name in _USES[mnemonic]}
        return {name: module.use_pj * _USES[mnemonic][name] for name, module in found.items()}

    def leakages_mw(self) -> dict[str, float]:
        """No static power: the energies of the circuits contain it."""
        return dict.fromkeys((*CamModules.model_fields, APPENDED), 0.0)
