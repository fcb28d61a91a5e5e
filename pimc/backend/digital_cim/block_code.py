"""Code for a block of tokens on a core: what all phases share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isa import DIGITAL_CIM_MATRICES, DigitalCim, Indexed
from pimc.backend.digital_cim.layer import Activities, CimLayer
from pimc.backend.digital_cim.rooms import Rooms, Tiling
from pimc.backend.emitter import Emitter, indexed


@dataclass(frozen=True)
class Block:
    """Tokens that go through the layer together.

    Attributes:
        tokens: How many.
        columns: Words of a head's scores; the longest context of one of them.
        position: Register with the number of tokens before them, or `None` when they are the first.
        cached: For each step of a generation that the block stands for, the tokens before it, whose records are read:
            numbers, or the register `position`.
        is_stored: Whether the outputs go off chip, for the core with the next layer.
        by_token: Whether all phases of a token follow one another, so that units with queues work on different tokens;
            else a unit works on all tokens before the next one begins.
    """

    tokens: int
    columns: int
    position: int | None = None
    cached: tuple[int | Indexed, ...] = ()
    is_stored: bool = True
    by_token: bool = False


class BlockCode:
    """Emits code for one block."""

    def __init__(
        self,
        emitter: Emitter,
        layer: CimLayer,
        core: DigitalCim,
        tiles: Tiling,
        places: Rooms,
        shares: Activities,
        block: Block,
        token: int | None = None,
    ) -> None:
        """Everything that the phases need; nothing is emitted yet.

        Args:
            emitter: Where instructions go.
            layer: The layer.
            core: The core.
            tiles: Its tiles of the layer.
            places: Rooms of the values.
            shares: Activities of the tiles.
            block: The tokens.
            token: Register of the one token of the block that each phase works on; `None`: on all of them.
        """
        self.emitter, self.layer, self.core, self.tiles = emitter, layer, core, tiles
        self.places, self.shares, self.block, self.token = places, shares, block, token

    @contextmanager
    def tokens(self, count: int) -> Iterator[int]:
        """A register with each of the first `count` tokens of the block, or with the one token that it is about."""
        if self.token is None:
            with self.emitter.loop(count) as token:
                yield token
        else:
            yield self.token

    @contextmanager
    def offset(self, *terms: tuple[int, int]) -> Iterator[int]:
        """A register with the sum of register * factor."""
        emitter = self.emitter
        total = emitter.register()
        (first, factor), *further = terms
        emitter.emit("mul", total, first, factor)
        for register, factor in further:
            part = emitter.scalar("mul", register, factor)
            emitter.emit("add", total, total, Indexed(0, part))
            emitter.release(part)
        yield total
        emitter.release(total)

    @contextmanager
    def position(self, token: int) -> Iterator[int]:
        """A register with the position of a token of the block."""
        position = self.emitter.scalar("add", token, indexed(0, self.block.position))
        yield position
        self.emitter.release(position)

    def scale(self, matrix: str) -> float:
        """Factor of the sums of a matrix."""
        return self.layer.numbers.scales[DIGITAL_CIM_MATRICES.index(matrix)]

    def addend(self, matrix: str) -> int:
        """First word of the biases of a matrix."""
        return self.places.addends + ("query", "key", "value", "up").index(matrix) * self.layer.hidden
