"""What the records of a levelled KV cache are worth, read back by the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from isa import Program, Symbol
from pimc.kv_layout import KvLayout
from pimc.kv_stream import StreamLayout
from pimc.simulator.semantics.kv_record_kernels import expand_rows, fetch_records

if TYPE_CHECKING:
    from pimc.simulator.state.machine_state import MachineState

Array = NDArray[Any]
_LOOK_AHEAD = 8
"""Bytes behind the last record that reading may look at."""


def stored_records(state: MachineState, program: Program, exact: Symbol, tokens: int) -> Array | None:
    """Keys or values of the first tokens, as their records are worth.

    Args:
        state: What the machine holds.
        program: Its program.
        exact: Symbol of the exact keys or values of the same cache.
        tokens: Number of tokens.

    Returns:
        [1, kv_heads, tokens, head_dim], or `None` while there are no records.
    """
    stem = exact.name.rpartition(".")[0]
    found = {symbol.name: symbol for symbol in program.symbols if symbol.name in (f"{stem}.records", f"{stem}.newest")}
    if len(found) < 2:
        return None
    stream, first = found[f"{stem}.records"], found[f"{stem}.newest"].address
    layout, shape = StreamLayout.from_json(stream.layout), KvLayout.from_json(exact.layout)
    if not state.shared_integers[first + layout.has_data]:
        return None
    elements = _elements(state, stream, layout, first, tokens)
    split = layout.key_channels
    own = elements[:, :split] if shape.kind == "key" else elements[:, split:]
    return own.reshape(1, tokens, shape.kv_heads, shape.head_dim).swapaxes(1, 2)


def _elements(state: MachineState, stream: Symbol, layout: StreamLayout, first: int, tokens: int) -> Array:
    """[tokens, channels], by the kernels of the machine on words of the host's own."""
    region, size = state.region_at(stream.address), int(state.shared_integers[first + layout.size])
    assert region is not None
    octets = np.zeros(size + _LOOK_AHEAD, np.uint8)
    octets[:size] = layout.load(region.data, stream.address - region.low, size)
    channels, levels = layout.channels, layout.levels
    flags, counters = tokens * channels, 2 * tokens * channels
    words = np.zeros(counters + (1 + levels) * channels, np.int32)
    words[counters + channels :] = state.shared_integers[first + layout.table :][: levels * channels]
    record = (channels, layout.key_channels, layout.key_bits, layout.value_bits, tokens, channels)
    fetch_records(octets, words, 0, 0, flags, *record)
    values = words.view(np.float32)
    expand_rows(values, words, 0, 0, flags, counters, counters + channels, channels, tokens, channels, channels, levels)
    return values[:flags].reshape(tokens, channels).copy()
