"""The request stream of one attention layer on AttAcc as the published trace generator orders it.

Heads come in rounds of one a channel. Keys lie in all bank groups of a channel: each takes its share of the context.
The result of one group of multiplications moves to the softmax buffer while the next group multiplies; barriers stand
between the groups. Two rounds go together: while one multiplies, the softmax of the other is computed and its buffers
are filled. A last round without partner goes alone, and its softmax overlaps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa import MachineError, UnsupportedError

if TYPE_CHECKING:
    from isa import DramDevice, Machine

_VALUES_AT = 1 << 23  # address of the values in each bank, behind the keys
_SCORES_A_MOVE = 16  # scores of a unit that one move to the softmax buffer takes

_LONGEST_CONTEXT = 4096  # tokens for which the generator keeps room between the rounds

_Request = tuple[str, int]
"""Opcode, address."""
_Groups = Sequence[tuple[list[_Request], list[_Request]]]
"""Multiplications, and the moves of their results."""


@dataclass(frozen=True)
class AttentionShape:
    """An attention layer in one decoding step.

    Attributes:
        context_length: Tokens in the cache.
        heads: Heads of the stack.
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


@dataclass(frozen=True)
class _Round:
    """The requests of one head in each of some channels.

    Attributes:
        writes: Queries to the buffers of the units.
        score: Multiplications with the keys.
        softmax: Softmax.
        fills: Weights of the values to the buffers of the units.
        context: Multiplications with the values.
        channels: Number of heads.
    """

    writes: list[_Request]
    score: _Groups
    softmax: list[_Request]
    fills: list[_Request]
    context: _Groups
    channels: int


def _rounds(layout: _Layout) -> Iterator[_Round]:
    """All heads, a round behind the other in the address space."""
    shape, channels = layout.shape, layout.device.channels
    units = layout.device.nodes["bankgroup"] * layout.device.levels["bank"]
    distance = -(-_LONGEST_CONTEXT * shape.head_size // units)
    for number in range(-(-shape.heads // channels)):
        yield _round(layout, number * distance, min(channels, shape.heads - number * channels))


def _round(layout: _Layout, base: int, channels: int) -> _Round:
    distance = layout.node_bytes("channel")

    def of_channels(requests: Iterable[_Request]) -> list[_Request]:
        return [(name, address + number * distance) for name, address in requests for number in range(channels)]

    values = base + _VALUES_AT
    keys = layout.places(("bank",)) if layout.per_bank else [0]
    columns = -(-layout.shape.context_length // (layout.device.nodes["bankgroup"] * layout.lanes))
    units = layout.places(("rank", "bankgroup"))
    return _Round(
        writes=of_channels(("PIM_WR_GB", base + key + column) for key in keys for column in range(layout.key_columns)),
        score=[(of_channels(macs), of_channels(moves)) for macs, moves in _score_groups(layout, base)],
        softmax=of_channels([("PIM_SFM", 0)]),
        fills=of_channels(("PIM_MV_GB", values + unit + column) for unit in units for column in range(columns)),
        context=[(of_channels(macs), of_channels(moves)) for macs, moves in _context_groups(layout, values)],
        channels=channels,
    )


def _score_groups(layout: _Layout, base: int) -> Iterator[tuple[list[_Request], list[_Request]]]:
    moves = [("PIM_MV_SB", base + place) for place in layout.places(("bankgroup", "rank"))]
    for first in range(0, layout.tokens, _SCORES_A_MOVE):
        last = min(layout.tokens, first + _SCORES_A_MOVE)
        columns = range(first * layout.key_columns, last * layout.key_columns)
        yield [layout.mac(base, column) for column in columns], moves


def _context_groups(layout: _Layout, base: int) -> Iterator[tuple[list[_Request], list[_Request]]]:
    levels = ("bank", "rank") if layout.per_bank else ("rank",)
    moves = [("PIM_MV_SB", base + place) for place in layout.places(levels)]
    for output in range(layout.key_columns):
        columns = range(output * layout.tokens, (output + 1) * layout.tokens)
        yield [layout.mac(base, column) for column in columns], moves


_Block = list[_Request] | None
"""Requests, or a barrier."""


def _phases(groups: _Groups, beside: Sequence[list[_Request]] = ()) -> Iterator[_Block]:
    """Each group's multiplications with the moves of the group before and what goes on beside, barriers between."""
    moves: list[_Request] = []
    for number, (macs, following) in enumerate(groups):
        yield macs
        yield moves
        if number < len(beside):
            yield beside[number]
        yield None
        moves = following
    yield moves


def _alone(single: _Round) -> Iterator[_Block]:
    yield single.writes
    yield None
    yield from _phases(single.score)
    yield single.softmax
    yield single.fills
    yield None
    yield from _phases(single.context)


def _pair(first: _Round, second: _Round, opens: bool) -> Iterator[_Block]:
    """Two rounds; the very first multiplication of all opens the rows ahead.

    As the published generator has it, what does not go in even shares is left out, and the second round multiplies with
    the values of the first.
    """
    yield first.writes
    if opens:
        yield first.score[0][0][: first.channels]
    yield None
    share = len(second.writes) // len(first.score)
    writes = [second.writes[number * share : (number + 1) * share] for number in range(len(first.score))]
    yield from _phases(first.score, writes)
    yield from _phases(second.score, _softmax(first, len(second.score)))
    yield from _phases(first.context, _softmax(second, len(first.context)))
    yield from _phases(first.context)


def _softmax(one: _Round, phases: int) -> list[list[_Request]]:
    """Softmax in the first of `phases`, then in equal shares from the middle on what it fills."""
    half = phases // 2
    share = len(one.fills) // (phases - half)
    beside: list[list[_Request]] = [[] for _ in range(phases)]
    beside[0] += one.softmax
    for number in range(phases - half):
        beside[half + number] += one.fills[number * share : (number + 1) * share]
    return beside


def _blocks(layout: _Layout) -> Iterator[_Block]:
    rounds = list(_rounds(layout))
    for number in range(0, len(rounds) - 1, 2):
        yield from _pair(rounds[number], rounds[number + 1], number == 0)
    if len(rounds) % 2:
        yield from _alone(rounds[-1])


def attention_trace(machine: Machine, shape: AttentionShape) -> str:
    """The trace of an attention layer, as text.

    Raises:
        MachineError: the machine is not an AttAcc.
        UnsupportedError: there is no head.
    """
    device = machine.dram
    if device is None or device.controller.kind != "attacc_reference":
        raise MachineError(f"the machine '{machine.name}' has no DRAM with the controller 'attacc_reference'")
    if shape.heads < 1:
        raise UnsupportedError(f"{shape.heads} heads: a layer has at least one")
    layout = _Layout(device, shape)
    distance = layout.node_bytes("channel")
    barrier = [("PIM_BARRIER", number * distance) for number in range(device.channels)]
    lines = [
        f"{name} 0x{address:08x}"
        for block in _blocks(layout)
        for name, address in (barrier if block is None else block)
    ]
    return "\n".join(lines) + "\n"
