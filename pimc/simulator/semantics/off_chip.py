"""Meaning of transfers between the shared buffer and off-chip memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pimc.simulator.semantics.digital_cim import int8
from pimc.simulator.semantics.kv_record_kernels import append_records, fetch_records
from pimc.simulator.state.machine_state import MachineState


def ldoff(state: MachineState, dst: int, addr: int, count: int) -> None:
    """Bytes to words."""
    state.shared[dst : dst + count] = state.cim.off_chip[addr : addr + count].view(np.int8)


def stoff(state: MachineState, addr: int, src: int, count: int) -> None:
    """Words to bytes."""
    values = int8(state.shared[src : src + count])
    state.cim.off_chip[addr : addr + count] = values.astype(np.int8).view(np.uint8)


def ldnz(
    state: MachineState,
    dst: int,
    addr: int,
    channels: int,
    split: int,
    bits: int,
    bits2: int,
    rows: int,
    slot: int,
    declared: int,
    content: int,
) -> None:
    """Records to codes, or to values."""
    codes = np.zeros(2 * channels, np.int32)
    for row in range(rows):
        fetch_records(
            state.cim.off_chip, codes, addr + row * slot, 0, channels, channels, split, bits, bits2, 1, channels
        )
        words = slice(dst + row * channels, dst + (row + 1) * channels)
        if content:
            state.shared[words] = codes[:channels].astype(np.int8)
        else:
            state.shared_integers[words] = codes[:channels]


def stnz(
    state: MachineState,
    addr: int,
    src: int,
    channels: int,
    split: int,
    bits: int,
    bits2: int,
    rows: int,
    slot: int,
    declared: int,
    content: int,
) -> None:
    """Codes to records, or values."""
    codes = np.zeros(2 * channels, np.int32)
    for row in range(rows):
        words = slice(src + row * channels, src + (row + 1) * channels)
        if content:
            codes[:channels] = int8(state.shared[words]).astype(np.int8).view(np.uint8)
        else:
            codes[:channels] = state.shared_integers[words]
        append_records(
            state.cim.off_chip, codes, addr + row * slot, 0, channels, channels, split, bits, bits2, 1, channels
        )


OFF_CHIP_SEMANTICS: Mapping[str, Callable[..., Any]] = {
    "ldoff": ldoff,
    "stoff": stoff,
    "ldnz": ldnz,
    "stnz": stnz,
}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
