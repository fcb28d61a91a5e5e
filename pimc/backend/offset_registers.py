"""Scalar registers with the offset of the current row, each computed once in a loop over rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from isa import Indexed
from pimc.backend.emitter import Emitter, Words
from pimc.backend.rooms.views import View
from pimc.backend.rows.row_axes import Space

_BARE = frozenset({"token", "sequence"})
"""Indices whose register is that of the loop."""


@dataclass(frozen=True)
class CurrentRow:
    """Registers of a loop over rows.

    Attributes:
        space: The rows.
        token: Register of the token's index in the run.
        sequence: Register of the sequence, `None` when there is one only.
    """

    space: Space
    token: int
    sequence: int | None


@dataclass
class OffsetRegisters:
    """Registers that say where the parts of the current row lie.

    Attributes:
        emitter: Receives the instructions that compute offsets.
        tokens: For each space the most tokens of a sequence in one run.
        row: The current row, inside a loop over rows.
    """

    emitter: Emitter
    tokens: dict[Space, int]
    row: CurrentRow | None = None
    _registers: dict[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])

    def begin(self, row: CurrentRow | None) -> None:
        """Begin a phase; `row` when it is a loop over rows."""
        self.row = row
        self._registers = {}

    def forget(self) -> None:
        """All registers are free again; what is needed again is computed again."""
        self._drop([*self._registers])

    @contextmanager
    def temporary(self) -> Iterator[None]:
        """Registers that are computed inside are free again behind the block, which may be skipped."""
        kept = set(self._registers)
        yield
        self._drop([key for key in self._registers if key not in kept])

    def _drop(self, keys: Iterable[tuple[str, int]]) -> None:
        for kind, size in keys:
            register = self._registers.pop((kind, size))
            if not (size == 1 and kind in _BARE):
                self.emitter.release(register)

    def of_index(self, kind: str, stride: int) -> int:
        """Register of an index times `stride`; computed at its first use in a phase.

        Args:
            kind: `token`, `sequence`, or `row` for the number of the row, sequence * tokens + token.
            stride: Words.
        """
        if self.row is None:
            raise AssertionError("a part of a row is addressed outside a loop over rows")
        if kind == "row" and self.row.sequence is None:
            kind = "token"
        if (kind, stride) not in self._registers:
            self._registers[kind, stride] = self._index(self.row, kind, stride)
        return self._registers[kind, stride]

    def _index(self, row: CurrentRow, kind: str, stride: int) -> int:
        if kind == "token":
            return row.token if stride == 1 else self.emitter.scalar("mul", row.token, stride)
        assert row.sequence is not None
        if kind == "sequence":
            return row.sequence if stride == 1 else self.emitter.scalar("mul", row.sequence, stride)
        result = self.emitter.scalar("mul", row.sequence, self.tokens[row.space])
        self.emitter.emit("add", result, result, Indexed(0, row.token))
        if stride != 1:
            self.emitter.emit("mul", result, result, stride)
        return result

    def of_sum(self, first: int, second: int) -> int:
        """Register of the sum of two others, computed once for the current row."""
        key = (f"sum {first}", second)
        if key not in self._registers:
            self._registers[key] = self.emitter.scalar("add", first, Indexed(0, second))
        return self._registers[key]

    def part(self, view: View, axis: int, kind: str) -> View:
        """The current row's part of a whole tensor, whose `axis` runs over tokens or sequences."""
        register = self.of_index(kind, view.strides[axis])
        if view.words.register is not None:
            register = self.of_sum(view.words.register, register)
        shape = (*view.shape[:axis], 1, *view.shape[axis + 1 :])
        return View(Words(view.words.word, register), shape, view.strides)
