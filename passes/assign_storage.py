"""Where constants are stored, and in which type."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from passes.interpreter.operations import Array
from passes.ir import Graph, Node, Value

_MATRIX_OPERANDS = {"linear": (1,), "expert_linear": (2,), "feed_forward": (1, 3, 5)}


@dataclass(frozen=True)
class Storage:
    """How one constant is stored.

    Attributes:
        space: `bank` (beside the MAC units) or `sb` (shared buffer).
        dtype: `bfloat16`, `float32` or `int32`. Programs in fp32 numerics store float32 everywhere.
        role: `matrix` (of a product), `table` (rows are taken by number) or `vector` (everything else).
        tied_to: Name of the table whose transpose this matrix is; the matrix need not be stored a second time.
    """

    space: str
    dtype: str
    role: str
    tied_to: str | None = None


@dataclass(frozen=True)
class AssignStorage:
    """Decide for every constant: matrices and tables into banks as bf16, the rest into the shared buffer as fp32.

    Precondition: fusion is done.
    Effect: writes `graph.facts["assign_storage"]`, a dict from the constant's name to its `Storage`; the graph stays
    as it is. A matrix is tied to a table when it is its transpose, element by element. Tables of at most
    `largest_shared_words` elements count as vectors, unless they are tied.
    Postcondition: every constant that a node uses has an entry.
    """

    name: ClassVar[str] = "assign_storage"
    optional: ClassVar[bool] = False
    reassociates: ClassVar[bool] = False
    largest_shared_words: int = 8192

    def run(self, graph: Graph) -> bool:
        """Write the facts; the graph never changes."""
        tables = _tables(graph)
        tied = {matrix: _tied_table(matrix, tables) for matrix in _matrices(graph)}
        storage: dict[str, Storage] = {}
        for value in graph.values():
            if not value.is_constant:
                continue
            is_large_table = value in tables and _size(value) > self.largest_shared_words
            if value in tied:
                storage[value.name] = Storage("bank", "bfloat16", "matrix", tied[value])
            elif is_large_table or value.name in tied.values():
                storage[value.name] = Storage("bank", "bfloat16", "table")
            else:
                storage[value.name] = Storage("sb", _shared_dtype(value), "vector")
        graph.facts[self.name] = storage
        return False


def _matrices(graph: Graph) -> Iterator[Value]:
    for node in graph.nodes:
        for position in _MATRIX_OPERANDS.get(node.op, ()):
            value = node.inputs[position]
            if value is not None and value.is_constant:
                yield value


def _tables(graph: Graph) -> list[Value]:
    return list(dict.fromkeys(node.operand(0) for node in graph.nodes if _takes_rows(node)))


def _takes_rows(node: Node) -> bool:
    table = node.operand(0) if node.op == "gather" else None
    return table is not None and table.is_constant and table.type.rank == 2 and node.attributes["axis"] == 0


def _size(value: Value) -> int:
    return 0 if value.constant is None else int(value.constant.size)


def _shared_dtype(value: Value) -> str:
    return "float32" if value.type.dtype in ("float16", "bfloat16", "float32", "float64") else "int32"


def _tied_table(matrix: Value, tables: list[Value]) -> str | None:
    """Name of the table [N, K] that the matrix [K, N] is the transpose of."""
    for table in tables:
        if table.shape == matrix.shape[::-1] and _is_transpose(np.asarray(matrix.constant), np.asarray(table.constant)):
            return table.name
    return None


def _is_transpose(matrix: Array, table: Array) -> bool:
    mirrored = table.T
    same_memory = matrix.__array_interface__["data"] == mirrored.__array_interface__["data"]
    if same_memory and matrix.strides == mirrored.strides and matrix.dtype == mirrored.dtype:
        return True
    return np.array_equal(matrix[:, :8], mirrored[:, :8]) and np.array_equal(matrix, mirrored)
