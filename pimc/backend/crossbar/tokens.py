"""Instructions for one token at a time: the body of a loop over tokens, with addresses that follow the token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from isa import Indexed
from pimc.backend.crossbar.matrices import multiply
from pimc.backend.crossbar.rooms import Stored
from pimc.backend.emitter import Emitter


@dataclass(frozen=True)
class Row:
    """Words of a token, a part of a row of a two-dimensional array.

    Attributes:
        address: First word of token 0.
        stride: Words from one token to the next.
        width: Words of a token.
    """

    address: int
    stride: int
    width: int

    def meets(self, other: Row) -> bool:
        """Whether both are parts of the same words."""
        return self.address < other.address + other.width and other.address < self.address + self.width

    def part(self, start: int, width: int) -> Row:
        """Some of the words."""
        return Row(self.address + start, self.stride, width)


class TokenLoop:
    """A loop over tokens that is being emitted.

    Attributes:
        emitter: Where instructions go.
        token: Register of the token.
    """

    def __init__(self, emitter: Emitter, token: int) -> None:
        """A loop without instructions yet."""
        self.emitter, self.token = emitter, token
        self._offsets: dict[int, int] = {1: token}

    def at(self, row: Row, word: int = 0) -> Indexed:
        """The address of a word of the token's row."""
        if row.stride not in self._offsets:
            self._offsets[row.stride] = self.emitter.scalar("mul", self.token, row.stride)
        return Indexed(row.address + word, self._offsets[row.stride])

    def release(self) -> None:
        """Give the registers of addresses back."""
        self.emitter.release(*(register for stride, register in self._offsets.items() if stride != 1))


@dataclass(frozen=True)
class Step:
    """What happens to every token.

    Attributes:
        emit: Emits it for the token of a loop.
        sources: Words that it reads.
        result: Words that it writes; `None` where it writes cells.
    """

    emit: Callable[[TokenLoop], None]
    sources: tuple[Row, ...]
    result: Row | None = None


def emit_loops(emitter: Emitter, steps: Iterable[Step], tokens: int, one_by_one: bool) -> None:
    """Emit a loop over tokens for each step.

    A unit begins with a token as soon as its operands are there. With `one_by_one` a loop is not even issued before
    the steps that it depends on have written their last words: its trip count is `tokens` plus zero times these.
    """
    count: int | Indexed = tokens
    waiting = emitter.register()
    fresh: list[Row] = []
    for step in steps:
        if one_by_one and any(source.meets(row) for source in step.sources for row in fresh):
            count = _await(emitter, fresh, tokens, waiting)
            fresh = []
        with emitter.loop(count) as token:
            loop = TokenLoop(emitter, token)
            step.emit(loop)
            loop.release()
        fresh += [] if step.result is None else [step.result]
    emitter.release(waiting)


def _await(emitter: Emitter, rows: Iterable[Row], tokens: int, register: int) -> Indexed:
    """A trip count that is known when the last words of the rows are."""
    for row in rows:
        emitter.emit("lds", register, row.address + (tokens - 1) * row.stride + row.width - 1)
        emitter.emit("and", register, register, 0)
    return Indexed(tokens, register)


def product(loop: TokenLoop, matrix: Stored, source: Row, target: Row, bias: int | None, array_rows: int) -> None:
    """The token's row times a matrix, and a bias."""
    multiply(
        loop.emitter,
        matrix.tiles,
        array_rows,
        lambda element: loop.at(source, element),
        lambda element: loop.at(target, element),
        None if bias is None else lambda element: bias + element,
    )


def load_matrices(emitter: Emitter, matrices: Sequence[Stored]) -> None:
    """Write matrices into their groups, column by column."""
    for matrix in matrices:
        for tile in matrix.tiles:
            with emitter.loop(tile.outputs) as column:
                offset = emitter.scalar("mul", column, matrix.inputs)
                start = matrix.address + tile.first_output * matrix.inputs + tile.first_input
                emitter.emit("xprog", tile.group, Indexed(0, column), Indexed(start, offset), tile.inputs)
                emitter.release(offset)
