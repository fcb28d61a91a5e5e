"""Machines: validated, immutable descriptions of the hardware that a program runs on."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from isa.cam import Cam
from isa.costs import vector_function
from isa.crossbar import Crossbar
from isa.digital_cim import DigitalCim
from isa.dram_device import DramDevice
from isa.hybrid_softmax import HybridSoftmax
from isa.kv_codec import KvCodec
from isa.near_bank import NearBank
from isa.off_chip import OffChipMemory
from isa.units import Duration

_Count = Annotated[int, Field(ge=1)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_WORD_BYTES = 4


class Component(BaseModel):
    """A part of a machine. Unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Sequencer(Component):
    """Fetches instructions, runs control and scalar instructions, hands the rest to the units in order.

    Attributes:
        cycles_per_instruction: Cycles between two instructions handed over; 0 for hard-wired control beside the units.
        control_cycles: Cycles of a control or scalar instruction, and of handing over one to a unit with a queue of its
            own; as `cycles_per_instruction` unless given, 0 where loops are counters beside the units.
        queue_depth: Instructions that each unit may have waiting; with 0 an instruction waits in the sequencer for its
            unit and its operands, and so does everything behind it.
        energy_pj_per_instruction: Fetch and decode of one 32-byte word.
        area_mm2: Silicon area, when known.
    """

    cycles_per_instruction: Annotated[int, Field(ge=0)]
    control_cycles: Annotated[int, Field(ge=0)] | None = None
    queue_depth: Annotated[int, Field(ge=0)]
    energy_pj_per_instruction: _Number = 0.0
    area_mm2: _Number | None = None


class SharedBuffer(Component):
    """The controller's buffer of 32-bit words (memory space `sb`).

    Attributes:
        capacity_bytes: Size, at most what 24 address bits reach.
        read_energy_pj_per_word: Energy of reading one 32-bit word.
        write_energy_pj_per_word: Energy of writing one 32-bit word.
        leakage_mw: Static power.
        area_mm2: Silicon area, when known.
    """

    capacity_bytes: Annotated[int, Field(ge=4, le=_WORD_BYTES << 24, multiple_of=_WORD_BYTES)]
    read_energy_pj_per_word: _Number
    write_energy_pj_per_word: _Number
    leakage_mw: _Number = 0.0
    area_mm2: _Number | None = None

    @property
    def capacity_words(self) -> int:
        """Number of 32-bit words."""
        return self.capacity_bytes // _WORD_BYTES


class VectorUnit(Component):
    """Works on ranges of the shared buffer: cycles = startup + cycles_per_pass * passes * ceil(elements / lanes).

    Attributes:
        lanes: Elements that one pass takes.
        startup_cycles: Cycles before the first pass.
        cycles_per_pass: Cycles from one pass to the next.
        special_passes: Passes of each function that needs more than one; `division` stands for `vdiv`.
        operation_energy_pj: Energy of one lane operation, without the buffer.
        special_energy_pj: Energy of one lane operation of a function in `special_passes`.
        leakage_mw: Static power.
        area_mm2: Silicon area, when known.
    """

    lanes: _Count
    startup_cycles: Annotated[int, Field(ge=0)]
    cycles_per_pass: _Count
    special_passes: dict[str, _Count] = Field(default_factory=dict[str, int])
    operation_energy_pj: _Number
    special_energy_pj: _Number
    leakage_mw: _Number = 0.0
    area_mm2: _Number | None = None

    @field_validator("special_passes")
    @classmethod
    def _known_functions(cls, passes: dict[str, int]) -> dict[str, int]:
        from isa.operands import VECTOR_FUNCTIONS

        for name in passes:
            if name != "division" and name not in VECTOR_FUNCTIONS:
                raise ValueError(f"'{name}' is neither 'division' nor a function of the vector unit")
        return passes

    def passes(self, function: str) -> int:
        """Passes over the lanes that `function` (or `division`) takes."""
        return self.special_passes.get(function, 1)

    def duration(self, mnemonic: str, function: str, rows: int, length: int) -> Duration:
        """Time of an instruction: startup + cycles_per_pass * passes * ceil(rows * length / lanes) cycles."""
        groups = -(-rows * length // self.lanes)
        cycles = self.startup_cycles + self.cycles_per_pass * self.passes(vector_function(mnemonic, function)) * groups
        return Duration(cycles, cycles)

    def energies_pj(self, mnemonic: str, function: str) -> dict[str, float]:
        """Energy of one lane operation."""
        is_special = vector_function(mnemonic, function) in self.special_passes
        return {"vector_unit": self.special_energy_pj if is_special else self.operation_energy_pj}

    def leakages_mw(self) -> dict[str, float]:
        """Static power."""
        return {"vector_unit": self.leakage_mw}


class Machine(Component):
    """A machine: a composition of components, each of which brings an ISA extension.

    Attributes:
        name: Unique name.
        description: One line for people.
        clock_ns: Length of one cycle.
        controller: How a DRAM channel orders its commands: `in_order`, or as the published AiM simulator does.
        sequencer: Control and scalar instructions (extension I).
        shared_buffer: Memory space `sb` (extension I).
        vector_unit: Vector instructions (extension I).
        near_bank: DRAM channels with compute units at the banks (extension B), or `None`.
        kv_codec: Unit that compresses keys and values (extension K), or `None`.
        crossbar: Groups of resistive arrays that hold matrices (extension X), or `None`.
        hybrid_softmax: Softmax unit of in-memory logic and tables beside them (extension X), or `None`.
        digital_cim: Core of digital CIM arrays with the units around them (extension X), or `None`.
        cam: Associative memory with the units around it (extension C), or `None`.
        off_chip: Memory behind the shared buffer (extension L), or `None`.
        dram: DRAM channels that are driven by command streams of their own, or `None`.
        sources: For a dotted path of this description, where its numbers were read; a path covers what is below it.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)]
    description: str = ""
    clock_ns: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    controller: Literal["in_order", "aim_reference"] = "in_order"
    sequencer: Sequencer
    shared_buffer: SharedBuffer
    vector_unit: VectorUnit
    near_bank: NearBank | None = None
    kv_codec: KvCodec | None = None
    crossbar: Crossbar | None = None
    hybrid_softmax: HybridSoftmax | None = None
    digital_cim: DigitalCim | None = None
    off_chip: OffChipMemory | None = None
    cam: Cam | None = None
    dram: DramDevice | None = None
    sources: dict[str, str] = Field(default_factory=dict[str, str])

    @property
    def extensions(self) -> tuple[str, ...]:
        """Letters of the ISA extensions that the components bring; a codec that needs banks brings none without."""
        codec = self.kv_codec
        has_codec = codec is not None and (self.near_bank is not None or not codec.bank_decode)
        brought = {
            "I": True,
            "B": self.near_bank is not None,
            "K": has_codec,
            "X": any(part is not None for part in (self.crossbar, self.hybrid_softmax, self.digital_cim)),
            "C": self.cam is not None,
            "L": self.off_chip is not None,
        }
        return tuple(letter for letter, is_there in brought.items() if is_there)

    @model_validator(mode="after")
    def _banks_can_decode(self) -> Machine:
        if self.kv_codec is None or self.near_bank is None:
            return self
        if self.kv_codec.bank_decode and self.near_bank.mac_gb_column != "free":
            raise ValueError("kv_codec.bank_decode needs mac_gb_column: free; beats of a column meet different columns")
        return self

    @model_validator(mode="after")
    def _one_clock(self) -> Machine:
        if self.digital_cim is not None and self.digital_cim.clock_ns != self.clock_ns:
            raise ValueError("digital_cim.clock_ns and clock_ns differ; the units run at the clock of the machine")
        return self

    @property
    def computes_in_banks(self) -> bool:
        """Whether it has units at its banks that multiply."""
        return self.near_bank is not None and self.near_bank.computes

    @cached_property
    def sha256(self) -> str:
        """Hash of the resolved description without its prose (`description`, `sources`) and absent devices."""
        absent = {name for name in type(self).model_fields if name != "near_bank" and getattr(self, name) is None}
        facts = self.model_dump(mode="json", exclude={"description", "sources"} | absent)
        if self.sequencer.control_cycles is None:
            del facts["sequencer"]["control_cycles"]
        if self.computes_in_banks:
            del facts["near_bank"]["computes"]
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()
