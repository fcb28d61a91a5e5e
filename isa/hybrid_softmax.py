"""A softmax unit of in-memory logic and tables: it compares and selects, looks up exponentials and logarithms."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from isa.units import Duration

_Count = Annotated[int, Field(ge=1)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class HybridSoftmax(BaseModel):
    """Rows of in-memory logic that find the largest of many numbers, beside tables; nothing is divided.

    The largest element of a row is found in a tournament: of each pair the larger one is selected, until one is left;
    rows go through it side by side. Under machine numerics arguments and entries of the tables are fixed-point numbers.

    Attributes:
        lanes: Pairs that are compared side by side, and elements that are looked up side by side.
        logic_cycles: Cycles of an operation of in-memory logic.
        compare_operations: Operations of a comparison.
        select_operations: Operations of a selection.
        table_cycles: Cycles of a subtraction and a look-up.
        compare_pj: Energy of a comparison.
        select_pj: Energy of a selection.
        table_pj: Energy of a subtraction and a look-up.
        fraction_bits: Bits behind the point of arguments and entries of the tables.
        leakage_mw: Static power.
        area_mm2: Silicon area, when known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    lanes: _Count
    logic_cycles: _Count
    compare_operations: _Count
    select_operations: _Count
    table_cycles: _Count
    compare_pj: _Number
    select_pj: _Number
    table_pj: _Number
    fraction_bits: Annotated[int, Field(ge=1, le=20)]
    leakage_mw: _Number = 0.0
    area_mm2: _Number | None = None

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """Time of the rounds of all tournaments, or of looking all elements up."""
        if mnemonic != "xmax":
            cycles = -(-rows * length // self.lanes) * self.table_cycles
            return Duration(cycles, cycles)
        passes, left = 0, length
        while left > 1:
            left = -(-left // 2)
            passes += -(-rows * left // self.lanes)
        cycles = max(passes, 1) * (self.compare_operations + self.select_operations) * self.logic_cycles
        return Duration(cycles, cycles)

    def energies_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """Energy of an element: a comparison and a selection for each that enters a tournament, or a look-up."""
        if mnemonic == "xmax":
            return {"softmax_compare": self.compare_pj, "softmax_select": self.select_pj}
        return {"softmax_table": self.table_pj}

    def leakages_mw(self) -> dict[str, float]:
        """Static power, of the tables; the logic has none of its own."""
        return {"softmax_compare": 0.0, "softmax_select": 0.0, "softmax_table": self.leakage_mw}
