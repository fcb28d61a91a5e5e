"""Closed-form cycles of instructions, shared by the cost models of the passes and by the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa.errors import MachineError

if TYPE_CHECKING:
    from isa.kv_codec import KvCodec
    from isa.machine import Machine
    from isa.near_bank import NearBank


def vector_function(mnemonic: str, fn: str = "copy") -> str:
    """The key of `VectorUnit.special_passes` for an instruction: its function, or `division` for `vdiv`."""
    return "division" if mnemonic == "vdiv" else fn


def vector_cycles(machine: Machine, mnemonic: str, fn: str, rows: int, length: int) -> int:
    """Cycles of an instruction of the vector unit on rows x length elements.

    startup + cycles_per_pass * passes * ceil(rows * length / lanes). A scalar access (`lds`, `sts`) is one element.
    """
    return machine.vector_unit.duration(mnemonic, fn, rows, length).latency


def codec_cycles(machine: Machine, mnemonic: str, rows: int, length: int) -> int:
    """Cycles of an instruction of the KV codec on rows x length elements.

    startup + cycles_per_pass * passes * groups, where groups = ceil(rows * length / lanes), or rows * ceil(length /
    lanes) for `klevel`, `kappend`, `kfetch` and `kexpand`, whose rows follow from one another.
    """
    return kv_codec(machine).duration(mnemonic, mnemonic, rows, length).latency


def record_bytes(channels: int, split: int, bits: int, bits2: int) -> tuple[int, int]:
    """Fewest and most bytes of a record of `kappend`: a bitmap; bitmap, flags and all codes.

    ceil(channels / 8), and 2 * ceil(channels / 8) + ceil((split * bits + (channels - split) * bits2) / 8).
    """
    bitmap = -(-channels // 8)
    return bitmap, 2 * bitmap + -(-(split * bits + (channels - split) * bits2) // 8)


def beats_per_column(machine: Machine, bits: int) -> int:
    """Beats of packed codes in a column of a bank: element_bits div bits (16 bits: 2, 4, 8 beats of 8, 4, 2 bits)."""
    return near_bank(machine).element_bits // bits


def beat_ranges(per_column: int, beat: int, beats: int, outputs: int, stride: int) -> list[tuple[int, int]]:
    """Columns that each output of `kmac` reads: (first behind column addr, number), from beat to its last beat.

    A column is read once for the beats of one output in it: output o reads the columns floor(s / p) to
    floor((s + beats - 1) / p), where s = beat + o * stride and p is `per_column`.
    """
    starts = [beat + output * stride for output in range(outputs if beats else 0)]
    return [(start // per_column, (start + beats - 1) // per_column - start // per_column + 1) for start in starts]


def mac_stream_cycles(machine: Machine, columns: int) -> int:
    """Cycles of `columns` MAC columns of rows that are open: one column every nCCDL."""
    return near_bank(machine).timing.nCCDL * columns


def row_overhead_cycles(machine: Machine) -> int:
    """Cycles that a row costs beside its columns: activation, precharge and the distances around them.

    ACT16 to the first MAC16, last MAC16 to PREA, PREA to ACT16: nRCDRDMAC + nRTP + nRP - nCCDL (98 on GDDR6-AiM).
    """
    timing = near_bank(machine).timing
    return timing.nRCDRDMAC + timing.nRTP + timing.nRP - timing.nCCDL


def row_sweep_cycles(machine: Machine, columns: int) -> int:
    """Cycles of opening a row in all banks, `columns` MAC columns, and closing it (98 + 2n on GDDR6-AiM).

    Never less than one row cycle nRC.
    """
    timing = near_bank(machine).timing
    return max(timing.nRC, row_overhead_cycles(machine) + mac_stream_cycles(machine, columns))


def accumulator_reads(machine: Machine) -> int:
    """RDMAC16 commands that one accumulator takes: two when it leaves the bank with 32 bits."""
    return near_bank(machine).acc_read_bits // 16


def register_visit_cycles(machine: Machine, gb_columns: int, accumulators_written: int, accumulators_read: int) -> int:
    """Upper bound of a visit to register mode between two MAC phases.

    Two mode switches, nCCDS a global buffer column and accumulator write, nCCDL an accumulator read, and the
    turnarounds from global buffer writes and from accumulator writes to reads.
    """
    timing = near_bank(machine).timing
    writes = timing.nCCDS * (gb_columns + accumulators_written)
    reads = timing.nCCDL * accumulators_read * accumulator_reads(machine)
    turnaround = timing.nCWLGB + timing.nCWLREG + 2 * timing.nBL + timing.nWTRS + timing.nWTRL
    return 2 * timing.nMODCH + writes + reads + turnaround


def near_bank(machine: Machine) -> NearBank:
    """The near-bank component; raises `MachineError` when the machine has none."""
    if machine.near_bank is None:
        raise MachineError(f"the machine '{machine.name}' has no near-bank units (extension B)")
    return machine.near_bank


def kv_codec(machine: Machine) -> KvCodec:
    """The KV codec; raises `MachineError` when the machine has none."""
    if machine.kv_codec is None:
        raise MachineError(f"the machine '{machine.name}' has no KV codec (extension K)")
    return machine.kv_codec
