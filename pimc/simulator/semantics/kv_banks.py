"""Meaning of the instructions that write and multiply packed codes in the banks.

A column of `lanes` elements of 16 bits holds 16 div bits beats; a beat is `lanes` codes, lowest bits first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pimc.simulator.semantics.kv_codec_kernels import multiply_codes
from pimc.simulator.state.machine_state import MachineState

_ELEMENT_BITS = 16


def kstore(
    state: MachineState,
    ch: int,
    addr: int,
    beat: int,
    count: int,
    src: int,
    bits: int,
    bstride: int,
    cdiv: int,
    si: int,
    sj: int,
    sn: int,
) -> None:
    """Shared buffer to one beat in every bank, stripe by stripe."""
    region = state.region_at(addr)
    assert region is not None
    lanes, banks = state.geometry.lanes, state.geometry.banks
    width = lanes * bits // _ELEMENT_BITS
    number = np.arange(count)
    bases = (src + state.channel_offsets(ch, cdiv, si, sj))[:, None, None] + (number * sn)[:, None]
    words = state.shared_integers[bases + np.arange(width // 2)].view(np.uint16)
    first = (addr - region.low) * lanes + (beat + number // banks * bstride) * width
    channels = state.channels(ch)[:, None, None]
    region.data[channels, (number % banks)[:, None], first[:, None] + np.arange(width)] = words


def kmac(
    state: MachineState,
    ch: int,
    addr: int,
    beat: int,
    gb: int,
    beats: int,
    outs: int,
    acc: int,
    bstride: int,
    gstride: int,
    astride: int,
    bits: int,
) -> None:
    """Multiply-accumulate of packed codes in all banks."""
    region = state.region_at(addr)
    assert region is not None
    lanes = state.geometry.lanes
    width = lanes * bits // _ELEMENT_BITS
    multiply_codes(
        region.data,
        state.global_buffer,
        state.accumulators,
        state.channels(ch),
        (addr - region.low) * lanes + beat * width,
        gb * lanes,
        beats,
        outs,
        acc,
        bstride * width,
        gstride * lanes,
        astride,
        lanes,
        bits,
    )


KV_BANK_SEMANTICS: Mapping[str, Callable[..., Any]] = {"kstore": kstore, "kmac": kmac}
"""Semantics by mnemonic: f(state, *operands) with resolved operands in the order of the table."""
