"""Resistive crossbars: groups of arrays that hold matrices and multiply vectors by them inside."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from isa.units import Duration

_Count = Annotated[int, Field(ge=1)]
_Bits = Annotated[int, Field(ge=1, le=16)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_UM2_PER_MM2 = 1e6


class Crossbar(BaseModel):
    """Groups of arrays. A group holds one matrix, one column or one vector at a time; groups work side by side.

    A number is cut into slices of `cell_bits`, and each slice lies in arrays of its own: a group has
    group_rows x group_columns x slices arrays. A vector enters digit by digit, `dac_bits` at a time; every array sends
    the sums of its lines through its converter, and the results are shifted and added.

    Attributes:
        groups: Groups of arrays.
        group_rows: Arrays of a group along the inputs.
        group_columns: Arrays of a group along the outputs.
        array_rows: Rows of an array.
        array_columns: Columns of an array.
        cell_bits: Bits that a cell holds.
        weight_bits: Bits of a number in cells.
        input_bits: Bits of an element of a vector.
        dac_bits: Bits of it that enter at a time.
        adc_bits: Bits of the converters; a sum that has more is the largest code.
        dual_access: Whether vectors may also enter from the columns, to be multiplied by the transposed matrix.
        vector_cycles: Cycles of a vector through a group, all digits.
        write_cycles: Cycles of writing a column of a group.
        cell_write_pj: Energy of writing a cell.
        dac_pj: Energy of driving a line with a digit.
        array_pj: Energy of an array for a digit of a whole vector.
        adc_pj: Energy of a conversion.
        shift_add_pj: Energy of shifting and adding one result of a converter.
        leakage_mw: Static power of all groups.
        array_um2: Silicon area of an array with its drivers, converter and adder.
        endurance_writes: Writes that a cell bears.
        conductance_noise: Standard deviation of what a cell holds, relative to what was written.
        noise_seed: Seed of the noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    groups: Annotated[int, Field(ge=1, le=4096)]
    group_rows: _Count
    group_columns: _Count
    array_rows: _Count
    array_columns: _Count
    cell_bits: _Bits
    weight_bits: _Bits
    input_bits: _Bits
    dac_bits: _Bits
    adc_bits: _Bits
    dual_access: bool
    vector_cycles: _Count
    write_cycles: _Count
    cell_write_pj: _Number
    dac_pj: _Number
    array_pj: _Number
    adc_pj: _Number
    shift_add_pj: _Number
    leakage_mw: _Number = 0.0
    array_um2: _Number
    endurance_writes: _Number
    conductance_noise: _Number = 0.0
    noise_seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _whole_slices(self) -> Crossbar:
        if self.weight_bits % self.cell_bits or self.input_bits % self.dac_bits:
            raise ValueError("weight_bits must be a multiple of cell_bits, and input_bits of dac_bits")
        if self.dual_access and self.array_rows != self.array_columns:
            raise ValueError("dual_access needs arrays with as many rows as columns")
        return self

    @property
    def slices(self) -> int:
        """Cells of a number."""
        return self.weight_bits // self.cell_bits

    @property
    def digits(self) -> int:
        """Steps in which a vector enters."""
        return self.input_bits // self.dac_bits

    @property
    def rows(self) -> int:
        """Rows of numbers of a group."""
        return self.group_rows * self.array_rows

    @property
    def columns(self) -> int:
        """Columns of numbers of a group."""
        return self.group_columns * self.array_columns

    @property
    def arrays(self) -> int:
        """Arrays of all groups."""
        return self.groups * self.group_rows * self.group_columns * self.slices

    @property
    def area_mm2(self) -> float:
        """Silicon area of all arrays."""
        return self.arrays * self.array_um2 / _UM2_PER_MM2

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """Time of a vector through a group, or of writing a column; both whatever their size."""
        cycles = self.write_cycles if mnemonic == "xprog" else self.vector_cycles
        return Duration(cycles, cycles)

    def energies_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """Energy of a number written, or of an output of the arrays that lie one behind the other along the inputs.

        An output is a line in each of `slices` arrays, converted once a digit. Arrays are driven as a whole: an output
        bears its share of an array and of the drivers of all its lines.
        """
        if mnemonic == "xprog":
            return {"crossbar_write": self.slices * self.cell_write_pj}
        lines = self.slices * self.digits
        return {
            "crossbar_array": lines * self.array_pj / self.array_columns,
            "crossbar_dac": lines * self.dac_pj * self.array_rows / self.array_columns,
            "crossbar_adc": lines * self.adc_pj,
            "crossbar_adder": lines * self.shift_add_pj,
        }

    def leakages_mw(self) -> dict[str, float]:
        """Static power, of the arrays; the other parts have none of their own."""
        parts = ("crossbar_array", "crossbar_dac", "crossbar_adc", "crossbar_adder", "crossbar_write")
        return {part: self.leakage_mw if part == "crossbar_array" else 0.0 for part in parts}
