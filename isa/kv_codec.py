"""The KV codec: a unit that quantises, packs and selects keys and values, and banks that multiply packed codes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from isa.units import Duration

_Count = Annotated[int, Field(ge=1)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_ACTIONS = {
    "kscale": "quantise",
    "kunscale": "dequantise",
    "kquant": "quantise",
    "kdequant": "dequantise",
    "kpack": "pack",
    "kunpack": "pack",
    "kselect": "select",
    "kprune": "prune",
    "klevel": "quantise",
    "kappend": "pack",
    "kfetch": "pack",
    "kexpand": "dequantise",
}
"""What the codec does to each element, by mnemonic."""


_IN_ROWS = ("klevel", "kappend", "kfetch", "kexpand")
"""Instructions whose rows need what the row before them left."""


class KvCodec(BaseModel):
    """Works on ranges of the shared buffer beside the vector unit: cycles as `isa.codec_cycles` says.

    Attributes:
        lanes: Elements that one pass takes.
        startup_cycles: Cycles before the first pass.
        cycles_per_pass: Cycles from one pass to the next.
        select_passes: Passes of a selection: digits of the keys by which it sorts.
        prune_energy_pj: Comparing one element with a threshold, or a digit of it in a selection.
        quantise_energy_pj: Quantising one element.
        dequantise_energy_pj: One element back from its code.
        pack_energy_pj: Moving one code into a packed word or out of it.
        bank_decode: Widths of packed codes in bits that the banks can multiply (`kmac`) and store (`kstore`).
        beat_energy_pj: Multiplying one more beat of a column that was read, in all banks of a channel.
        leakage_mw: Static power, while a program with extension K is loaded; otherwise the unit is switched off.
        area_mm2: Silicon area, when known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    lanes: _Count
    startup_cycles: Annotated[int, Field(ge=0)]
    cycles_per_pass: _Count
    select_passes: _Count
    prune_energy_pj: _Number
    quantise_energy_pj: _Number
    dequantise_energy_pj: _Number
    pack_energy_pj: _Number
    bank_decode: tuple[Literal[8, 4, 2], ...] = ()
    beat_energy_pj: _Number = 0.0
    leakage_mw: _Number = 0.0
    area_mm2: _Number | None = None

    @field_validator("bank_decode")
    @classmethod
    def _each_once(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(widths)) != len(widths):
            raise ValueError("a width is named twice")
        return widths

    def passes(self, mnemonic: str) -> int:
        """Passes over the lanes that an instruction of the codec takes."""
        return self.select_passes if _ACTIONS[mnemonic] == "select" else 1

    def groups(self, mnemonic: str, rows: int, length: int) -> int:
        """Groups of at most `lanes` elements: of all rows together, or row by row where a row needs the one before."""
        if mnemonic in _IN_ROWS:
            return rows * -(-length // self.lanes)
        return -(-rows * length // self.lanes)

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """Time of an instruction: startup + cycles_per_pass * passes * groups cycles."""
        groups = self.groups(mnemonic, rows, length)
        cycles = self.startup_cycles + self.cycles_per_pass * self.passes(mnemonic) * groups
        return Duration(cycles, cycles)

    def leakages_mw(self) -> dict[str, float]:
        """Static power."""
        return {"kv_codec": self.leakage_mw}

    def energies_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """Energy of one element of an instruction of the codec."""
        energies = {
            "prune": self.prune_energy_pj,
            "quantise": self.quantise_energy_pj,
            "dequantise": self.dequantise_energy_pj,
            "pack": self.pack_energy_pj,
            "select": self.prune_energy_pj * self.select_passes,
        }
        return {"kv_codec": energies[_ACTIONS[mnemonic]]} if mnemonic in _ACTIONS else {}
