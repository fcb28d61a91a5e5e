"""How often cells of crossbars were written, against the writes that they bear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class CellWear:
    """Writes of a run, and of the cells that were written most often. `+` adds the former and takes the later latter.

    Attributes:
        columns_written: Columns of groups that the run wrote, each time counted.
        most_writes: Writes of the column that was written most often since the program was loaded or reset; 0 without
            data, when only their number is known.
        endurance_writes: Writes that a cell bears.
    """

    columns_written: int
    most_writes: int
    endurance_writes: float

    def __add__(self, later: CellWear) -> CellWear:
        return replace(later, columns_written=self.columns_written + later.columns_written)

    @property
    def lives(self) -> float | None:
        """How many times what has run since the program was loaded can run until a cell is worn out."""
        return self.endurance_writes / self.most_writes if self.most_writes else None

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "columns_written": self.columns_written,
            "most_writes": self.most_writes,
            "endurance_writes": self.endurance_writes,
            "lives": self.lives,
        }


def summed_wear(earlier: CellWear | None, later: CellWear | None) -> CellWear | None:
    """The wear of two runs one after another; `None` on machines without such cells."""
    return later if earlier is None or later is None else earlier + later
