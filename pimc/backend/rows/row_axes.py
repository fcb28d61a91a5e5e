"""Where values have their rows (a row is a token of a sequence), and which nodes work row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from passes import Dim, Node, Value


@dataclass(frozen=True)
class Space:
    """The rows that one loop runs over.

    Attributes:
        batch: Number of sequences.
        tokens: Tokens of a sequence.
    """

    batch: int
    tokens: Dim


@dataclass(frozen=True)
class RowAxes:
    """Where a value has its rows.

    Attributes:
        space: The rows.
        token: Axis of the tokens.
        batch: Axis of the sequences; `None` when all sequences share the value, the token axis when both are one.
        fold: Elements of a row along the token axis, which counts tokens * fold.
    """

    space: Space
    token: int
    batch: int | None = None
    fold: int = 1

    @property
    def axes(self) -> frozenset[int]:
        """Axes that count rows."""
        return frozenset({self.token} if self.batch is None else {self.token, self.batch})

    @property
    def is_merged(self) -> bool:
        """Whether one axis counts the rows of all sequences."""
        return self.batch == self.token and self.space.batch > 1

    @property
    def is_uneven(self) -> bool:
        """Whether the elements of an axis are not evenly spaced when every row has a room of its own."""
        return self.is_merged or self.fold > 1


@dataclass(frozen=True)
class RowMap:
    """What works row by row.

    Attributes:
        main: Rows of the tokens that the host counts, `None` when the model has no attention.
        rows: Row axes of every value that has a part for each row; all other values are whole tensors.
        dense: Nodes that work on whole tensors.
    """

    main: Space | None
    rows: Mapping[Value, RowAxes]
    dense: frozenset[Node]

    def part_shape(self, value: Value) -> tuple[Dim, ...]:
        """Shape of one row's part: that of the value, with 1 (or the fold) for the axes that count rows."""
        own = self.rows.get(value)
        if own is None:
            return value.shape
        sizes = {**dict.fromkeys(own.axes, 1), own.token: own.fold}
        return tuple(sizes.get(axis, dim) for axis, dim in enumerate(value.shape))

    def words(self, value: Value) -> int:
        """Elements of one row's part; for whole tensors of fixed size all of them."""
        count = 1
        for size in self.part_shape(value):
            assert isinstance(size, int), f"'{value.name}' has a part of dynamic size"
            count *= size
        return count

    def space(self, node: Node) -> Space | None:
        """Rows that a node runs over, `None` for a dense one."""
        if node in self.dense:
            return None
        own = self.rows.get(node.output)
        return None if own is None else own.space


_RENAMES = frozenset({"cast", "reshape", "expand", "identity", "transpose"})
_IN_WORDS = frozenset({"topk", "argmax"})
"""Operations that write integers to the shared buffer, also for each row."""


def is_token_integer(rows: RowMap, value: Value) -> bool:
    """Whether the value is an integer that is computed row by row in a scalar register."""
    node = value.producer
    if node is None or value.type.dtype not in ("int64", "int32") or value not in rows.rows or node.op in _IN_WORDS:
        return False
    source = node.operand(0) if node.op in _RENAMES else None
    if source is None or source.producer is None or source.type.dtype not in ("int64", "int32"):
        return True
    return is_token_integer(rows, source)
