"""Constant matrices in groups of arrays: products with them, and writing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from isa import OperandValue
from passes import ArrayTile
from pimc.backend.emitter import Emitter

Place = Callable[[int], OperandValue]
"""Address of an element of a vector."""


def multiply(
    emitter: Emitter,
    tiles: Iterable[ArrayTile],
    array_rows: int,
    source: Place,
    target: Place,
    begin: Place | None,
) -> None:
    """Emit target = begin + source times a matrix: part sums of tiles that share outputs are added one after another.

    Args:
        emitter: Where instructions go.
        tiles: The parts of the matrix, those of the same outputs in a row.
        array_rows: Lines of an array.
        source: Elements of the vector.
        target: Elements of the result.
        begin: What is added to the product, `None` for nothing.
    """
    for tile in tiles:
        out = target(tile.first_output)
        first = begin(tile.first_output) if begin is not None else None
        if tile.first_input > 0:
            first = out
        emitter.emit(
            "xmvm",
            dst=out,
            a=source(tile.first_input),
            begin=0 if first is None else first,
            group=tile.group,
            inputs=tile.inputs,
            rows=-(-tile.inputs // array_rows),
            len=tile.outputs,
            add="no" if first is None else "begin",
        )
