"""DRAM channels with a compute unit at every bank: organisation, command timing, energy."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

from isa.formula import parse_formula

_Count = Annotated[int, Field(ge=1)]
_Cycles = Annotated[int, Field(ge=0, le=1_000_000)]
_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Command = Literal[
    "ACT",
    "PREA",
    "PRE",
    "RD",
    "WR",
    "RDA",
    "WRA",
    "REFab",
    "REFpb",
    "ACT4",
    "ACT16",
    "PRE4",
    "MAC",
    "MAC16",
    "AF16",
    "EWMUL16",
    "RDCP",
    "WRCP",
    "WRGB",
    "RDMAC16",
    "RDAF16",
    "WRMAC16",
    "WRA16",
    "TMOD",
    "SYNC",
    "EOC",
]
"""Commands of a channel; SYNC and EOC are markers of the published command streams."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Timing(_Part):
    """Command timing in cycles, under the names of the DRAM data sheets with `n` for cycles.

    `nRCD*` are the delays from row activation to the named column command, `nMODCH` is the switch between register
    mode and bank mode, `nREFI` the refresh interval, `nCLREG`, `nCWLREG`, `nCLGB`, `nCWLGB` the column latencies of
    the accumulators and of the global buffer.
    """

    nBL: _Cycles
    nCL: _Cycles
    nRCDRD: _Cycles
    nRCDRDMAC: _Cycles
    nRCDEWMUL: _Cycles
    nRCDRDAF: _Cycles
    nRCDRDCP: _Cycles
    nRCDWR: _Cycles
    nRCDWRCP: _Cycles
    nRP: _Cycles
    nRAS: _Cycles
    nRC: _Cycles
    nWR: _Cycles
    nRTP: _Cycles
    nCWL: _Cycles
    nCCDS: _Cycles
    nCCDL: _Cycles
    nRRDS: _Cycles
    nRRDL: _Cycles
    nWTRS: _Cycles
    nWTRL: _Cycles
    nRFC: _Cycles
    nRFCpb: _Cycles
    nRREFD: _Cycles
    nREFI: _Cycles
    nCLREG: _Cycles
    nCLGB: _Cycles
    nCWLREG: _Cycles
    nCWLGB: _Cycles
    nWPRE: _Cycles
    nMODCH: _Cycles


class Refresh(_Part):
    """How rows are refreshed every `nREFI` cycles: all banks of a channel at once, one after the other, or never."""

    mode: Literal["all_bank", "per_bank", "none"]


class SpacingRule(_Part):
    """A following command may issue no earlier than the last preceding one in the same scope plus `latency`.

    Attributes:
        scope: What the two commands share.
        preceding: Earlier commands.
        following: Later commands.
        latency: Cycles, as a sum of timing names and integers.
    """

    scope: Literal["channel", "bankgroup", "bank"]
    preceding: Annotated[tuple[Command, ...], Field(min_length=1)]
    following: Annotated[tuple[Command, ...], Field(min_length=1)]
    latency: str

    @field_validator("latency")
    @classmethod
    def _is_formula(cls, latency: str) -> str:
        parse_formula(latency, Timing.model_fields)
        return latency

    def latency_cycles(self, timing: Timing) -> int:
        """The latency under `timing`, in cycles."""
        return parse_formula(self.latency, Timing.model_fields).value(timing)


class Spacing(NamedTuple):
    """A spacing rule between one pair of commands, as a number."""

    scope: str
    preceding: str
    following: str
    cycles: int


class NearBankEnergy(_Part):
    """Energy of each action, and static power of one channel.

    Attributes:
        activate_pj_per_bank: Opening and closing one row of one bank.
        read_pj: Reading one column, without the data pins.
        write_pj: Writing one column, without the data pins.
        mac_all_banks_pj: One column read and multiplied in all banks.
        ewmul_pj: One element-wise product of a column in all bank groups.
        af_pj: One activation function in all banks.
        refresh_pj: One refresh of all banks.
        global_buffer_read_pj: Reading one column of the global buffer where `mac_all_banks_pj` does not contain it.
        global_buffer_write_pj: Writing one column of the global buffer.
        accumulator_access_pj: Reading or writing one accumulator of all banks.
        dq_pj_per_bit: One bit over the channel's data pins.
        background_active_mw: Static power while a row is open.
        background_precharged_mw: Static power while all rows are closed.
    """

    activate_pj_per_bank: _Number
    read_pj: _Number
    write_pj: _Number
    mac_all_banks_pj: _Number
    ewmul_pj: _Number
    af_pj: _Number
    refresh_pj: _Number
    global_buffer_read_pj: _Number = 0.0
    global_buffer_write_pj: _Number = 0.0
    accumulator_access_pj: _Number = 0.0
    dq_pj_per_bit: _Number
    background_active_mw: _Number
    background_precharged_mw: _Number


class NearBank(_Part):
    """Channels whose banks work in lock step on columns of `lanes` elements.

    Attributes:
        computes: Whether programs may multiply in the banks; else they only store.
        channels: Channels of the device, at most the 32 of a channel mask.
        bank_groups: Bank groups of a channel.
        banks_per_group: Banks of a bank group.
        rows: Rows of a bank.
        columns_per_row: Columns of a row.
        lanes: Elements of a column.
        element_bits: Width of a stored element.
        global_buffer_columns: Columns of the channel's global buffer (memory space `gb`).
        accumulators: Accumulators of a bank (memory space `acc`), binary32 inside.
        acc_read_bits: Width in which an accumulator leaves the bank; 32 takes two reads.
        mac_gb_column: Whether the global buffer column of a MAC is independent of the bank column (`free`) or the same.
        write_mask: Whether a write can be masked to one lane.
        timing: Command timing.
        refresh: Refresh.
        spacing_rules: Distances between commands, as published.
        additional_rules: Distances that the published rules lack; left out in compatibility runs.
        energy: Energy of the actions.
        area_mm2: Silicon area of the device, when known.
    """

    computes: bool = True
    channels: Annotated[int, Field(ge=1, le=32)]
    bank_groups: _Count
    banks_per_group: _Count
    rows: _Count
    columns_per_row: _Count
    lanes: _Count
    element_bits: Literal[16]
    global_buffer_columns: Annotated[int, Field(ge=1, le=256)]
    accumulators: Annotated[int, Field(ge=1, le=64)]
    acc_read_bits: Literal[16, 32]
    mac_gb_column: Literal["free", "equal"]
    write_mask: Literal["lane", "none"]
    timing: Timing
    refresh: Refresh
    spacing_rules: tuple[SpacingRule, ...]
    additional_rules: tuple[SpacingRule, ...] = ()
    energy: NearBankEnergy
    area_mm2: _Number | None = None

    @property
    def banks(self) -> int:
        """Banks of a channel."""
        return self.bank_groups * self.banks_per_group

    @property
    def columns_per_bank(self) -> int:
        """Linear columns of a bank: an address is row * columns_per_row + column."""
        return self.rows * self.columns_per_row

    @property
    def all_channels(self) -> int:
        """Mask of every channel."""
        return (1 << self.channels) - 1

    @property
    def column_bytes(self) -> int:
        """Bytes of a column."""
        return self.lanes * self.element_bits // 8

    @cached_property
    def spacings(self) -> tuple[Spacing, ...]:
        """Every pair of commands of the published and the additional rules, in cycles."""
        return self.resolve((*self.spacing_rules, *self.additional_rules))

    def resolve(self, rules: tuple[SpacingRule, ...]) -> tuple[Spacing, ...]:
        """Each pair of commands of `rules`, in cycles."""
        return tuple(
            Spacing(rule.scope, preceding, following, rule.latency_cycles(self.timing))
            for rule in rules
            for preceding in rule.preceding
            for following in rule.following
        )
