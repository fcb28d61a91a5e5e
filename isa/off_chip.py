"""Off-chip memory behind a core: blocks of bytes at a bandwidth and an energy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from isa.units import Duration

_Count = Annotated[int, Field(ge=1)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_PJ_PER_NJ = 1000.0


class OffChipMemory(BaseModel):
    """Memory that is read and written in one stream.

    Attributes:
        capacity_bytes: Size.
        bytes_per_cycle: Bandwidth.
        latency_cycles: Cycles before the first byte arrives.
        block_bytes: Bytes that `block_energy_nj` moves.
        block_energy_nj: Energy of reading or writing a block.
        queue_depth: Transfers that may wait for the memory without holding up the sequencer.
        area_mm2: Silicon area, when it counts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    capacity_bytes: _Count
    bytes_per_cycle: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    latency_cycles: Annotated[int, Field(ge=0)]
    block_bytes: _Count
    block_energy_nj: _Number
    queue_depth: _Count
    area_mm2: _Number | None = None

    @property
    def energy_pj_per_byte(self) -> float:
        """Energy of moving one byte."""
        return self.block_energy_nj * _PJ_PER_NJ / self.block_bytes

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """Time of `rows` records of `length` bytes."""
        cycles = -(-(rows * length) // self.bytes_per_cycle)
        return Duration(int(cycles), int(cycles) + self.latency_cycles)

    def energies_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """Energy of one byte."""
        return {"off_chip": self.energy_pj_per_byte}

    def leakages_mw(self) -> dict[str, float]:
        """None is known."""
        return {"off_chip": 0.0}

    def published(self) -> PublishedMemory:
        """The memory as the authors of Titanus account for it: a transfer takes a cycle."""
        return PublishedMemory(self)


@dataclass(frozen=True)
class PublishedMemory:
    """A memory whose time is left out.

    Attributes:
        memory: What it accounts for.
    """

    memory: OffChipMemory

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """One cycle: the published simulator multiplies the bandwidth by 1,024 to run faster."""
        return Duration(1, 1)

    def energies_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """As the memory."""
        return self.memory.energies_pj(mnemonic, function)

    def leakages_mw(self) -> dict[str, float]:
        """As the memory."""
        return self.memory.leakages_mw()
