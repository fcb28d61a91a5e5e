"""The request stream of one attention layer on AttAcc, one head a channel, as the published trace generator orders it.

Keys lie in all bank groups of a channel: each takes its share of the context. Softmax overlaps nothing. The
result of one group of multiplications moves to the softmax buffer while the next group multiplies; barriers stand
between the groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import MachineError, UnsupportedError

if TYPE_CHECKING:
    from isa import DramDevice, Machine

_VALUES_AT = 1 << 23  # address of the values in each bank, behind the keys
_SCORES_A_MOVE = 16  # scores of a unit that one move to the softmax buffer takes

_Group = Sequence[tuple[str, int]]
"""Requests of one channel: opcode, address."""


@dataclass(frozen=True)
class AttentionShape:
    """An attention layer in one decoding step.

    Attributes:
        context_length: Tokens in the cache.
        heads: Heads, at most one a channel.
        head_size: Elements of a head's key.
        element_bytes: Bytes of an element.
    """

    context_length: int
    heads: int = 1
    head_size: int = 128
    element_bytes: int = 2


@dataclass(frozen=True)
class _Layout:
    """Sizes that the stream depends on: lanes of a unit, elements of a key a bank or bank group holds, addresses."""

    device: DramDevice
    shape: AttentionShape

    @property
    def lanes(self) -> int:
        return self.device.column_bytes // self.shape.element_bytes

    @property
    def per_bank(self) -> bool:
        return self.device.units.level == "bank"

    @property
    def key_parts(self) -> int:
        """Banks that share a key."""
        return self.device.levels["bank"] if self.per_bank else 1

    @property
    def key_columns(self) -> int:
        return -(-self.shape.head_size // (self.key_parts * self.lanes))

    @property
    def tokens(self) -> int:
        """Tokens of a bank group."""
        return -(-self.shape.context_length // self.device.nodes["bankgroup"])

    def node_bytes(self, level: str) -> int:
        """Distance of two nodes of `level` in the address space."""
        device = self.device
        return device.span(level) * device.rows * device.columns_per_row * device.column_bytes

    def mac(self, base: int, index: int) -> tuple[str, int]:
        """The multiplication of the `index`-th column of a unit: along a bank, or row by row over its banks."""
        if self.per_bank:
            return "PIM_MAC_AB", base + index * self.device.column_bytes
        row, column = divmod(index, self.device.columns_per_row)
        row, bank = divmod(row, self.device.levels["bank"])
        place = row * self.device.columns_per_row + column
        return "PIM_MAC_SB", base + bank * self.node_bytes("bank") + place * self.device.column_bytes

    def places(self, levels: Sequence[str]) -> list[int]:
        """Addresses of the first nodes under every combination of the levels' numbers, the last level fastest."""
        places = [0]
        for level in levels:
            count = self.device.levels[level]
            places = [place + number * self.node_bytes(level) for place in places for number in range(count)]
        return places


def _score_groups(layout: _Layout) -> Iterator[tuple[_Group, _Group]]:
    moves = [("PIM_MV_SB", place) for place in layout.places(("bankgroup", "rank"))]
    for first in range(0, layout.tokens, _SCORES_A_MOVE):
        last = min(layout.tokens, first + _SCORES_A_MOVE)
        columns = range(first * layout.key_columns, last * layout.key_columns)
        yield [layout.mac(0, column) for column in columns], moves


def _context_groups(layout: _Layout) -> Iterator[tuple[_Group, _Group]]:
    levels = ("bank", "rank") if layout.per_bank else ("rank",)
    moves = [("PIM_MV_SB", _VALUES_AT + place) for place in layout.places(levels)]
    for output in range(layout.key_columns):
        columns = range(output * layout.tokens, (output + 1) * layout.tokens)
        yield [layout.mac(_VALUES_AT, column) for column in columns], moves


def _phases(groups: Iterator[tuple[_Group, _Group]]) -> Iterator[list[_Group]]:
    """Each group's multiplications with the moves of the group before; a barrier follows every phase but the last."""
    moves: _Group = []
    for macs, following in groups:
        yield [macs, moves]
        moves = following
    yield [[], moves]


def _blocks(layout: _Layout) -> Iterator[_Group | None]:
    """Requests of one channel, phase by phase; `None` stands for a barrier."""
    keys = layout.places(("bank",)) if layout.per_bank else [0]
    yield [("PIM_WR_GB", place + column) for place in keys for column in range(layout.key_columns)]
    yield None
    score = list(_phases(_score_groups(layout)))
    for number, phase in enumerate(score):
        yield from phase
        if number < len(score) - 1:
            yield None
    yield [("PIM_SFM", 0)]
    columns = -(-layout.shape.context_length // (layout.device.nodes["bankgroup"] * layout.lanes))
    places = layout.places(("rank", "bankgroup"))
    yield [("PIM_MV_GB", _VALUES_AT + place + column) for place in places for column in range(columns)]
    yield None
    context = list(_phases(_context_groups(layout)))
    for number, phase in enumerate(context):
        yield from phase
        if number < len(context) - 1:
            yield None


def attention_trace(machine: Machine, shape: AttentionShape) -> str:
    """The trace of an attention layer, as text.

    Raises:
        MachineError: the machine is not an AttAcc.
        UnsupportedError: there are more heads than channels.
    """
    device = machine.dram
    if device is None or device.controller.kind != "attacc_reference":
        raise MachineError(f"the machine '{machine.name}' has no DRAM with the controller 'attacc_reference'")
    if not 1 <= shape.heads <= device.channels:
        raise UnsupportedError(f"{shape.heads} heads: a stream has one head a channel, 1 to {device.channels}")
    layout = _Layout(device, shape)
    channel_bytes = layout.node_bytes("channel")
    lines: list[str] = []
    for block in _blocks(layout):
        requests, channels = (block, shape.heads) if block is not None else ([("PIM_BARRIER", 0)], device.channels)
        for opcode, address in requests:
            lines += [f"{opcode} 0x{address + channel * channel_bytes:08x}" for channel in range(channels)]
    return "\n".join(lines) + "\n"
