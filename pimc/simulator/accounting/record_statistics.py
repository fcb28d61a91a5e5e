"""What the records of levelled KV caches hold after a run with data: bytes, survivors, levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from isa import Program, Symbol
from pimc.kv_stream import StreamLayout
from pimc.simulator.accounting.record_kernels import count_codes

if TYPE_CHECKING:
    from pimc.simulator.state.machine_state import MachineState

_META_BYTES = 4


@dataclass(frozen=True)
class Records:
    """The records of one layer.

    Attributes:
        bytes: Bytes of the records, and of the meta words of all open levels.
        tokens: Number of records.
        survivors: Elements that are not pruned.
        channels: Elements of a token.
        levels: Open levels, summed over the channels.
    """

    bytes: int
    tokens: int
    survivors: int
    channels: int
    levels: int


class RecordReader:
    """Finds the records of a program's caches."""

    def __init__(self, program: Program) -> None:
        """Note where records lie."""
        self._program = program
        self._streams = [symbol for symbol in program.symbols if symbol.layout.get("kind") == "records"]

    def read(self, state: MachineState) -> Mapping[str, Records]:
        """What each cache holds, by its name; caches without a record yet are left out."""
        return dict(self._found(state))

    def _found(self, state: MachineState) -> Iterator[tuple[str, Records]]:
        for symbol in self._streams:
            layout = StreamLayout.from_json(symbol.layout)
            first = self._state(symbol)
            size = int(state.shared_integers[first + layout.size])
            if size and state.shared_integers[first + layout.has_data]:
                yield str(symbol.layout["cache"]), _records(state, symbol, layout, size, first)

    def _state(self, stream: Symbol) -> int:
        return self._program.symbol(f"{stream.name.removesuffix('.records')}.newest").address


def _records(state: MachineState, stream: Symbol, layout: StreamLayout, size: int, first: int) -> Records:
    region = state.region_at(stream.address)
    assert region is not None
    octets = layout.load(region.data, stream.address - region.low, size)
    bits = layout.key_bits, layout.value_bits
    tokens, survivors = count_codes(octets, layout.channels, layout.key_channels, *bits)
    words = state.shared_integers[first : first + layout.table]
    keys = words[layout.latest_keys :][: layout.key_channels]
    values = words[layout.latest_values :][: layout.value_channels]
    levels = int(keys.sum(dtype=np.int64) + values.sum(dtype=np.int64))
    return Records(size + levels * _META_BYTES, int(tokens), int(survivors), layout.channels, levels)
