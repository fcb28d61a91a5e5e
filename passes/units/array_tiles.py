"""How a matrix is cut into parts that groups of crossbars hold."""

from __future__ import annotations

from dataclasses import dataclass

from isa import Crossbar


@dataclass(frozen=True)
class ArrayTile:
    """The part of a matrix that a group holds.

    Attributes:
        group: The group.
        first_input: First row of the matrix.
        inputs: Its rows.
        first_output: First column of the matrix.
        outputs: Its columns.
    """

    group: int
    first_input: int
    inputs: int
    first_output: int
    outputs: int


def array_tiles(crossbar: Crossbar, inputs: int, outputs: int, first_group: int) -> tuple[ArrayTile, ...]:
    """A matrix [inputs, outputs] in consecutive groups; parts of the same outputs follow one another."""
    corners = [(i, j) for j in range(0, outputs, crossbar.columns) for i in range(0, inputs, crossbar.rows)]
    return tuple(
        ArrayTile(
            first_group + number,
            first_input,
            min(crossbar.rows, inputs - first_input),
            first_output,
            min(crossbar.columns, outputs - first_output),
        )
        for number, (first_input, first_output) in enumerate(corners)
    )
