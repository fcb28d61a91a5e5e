"""The entry that writes constant matrices from the banks into groups of arrays, once before anything else runs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from isa import Indexed, Source
from passes import ArrayTile, PlacedMatrix
from pimc.backend.emitter import Emitter, Words
from pimc.backend.operations.table_rows import load_row

LOAD = "load"
"""Name of the entry."""


def staging_words(matrices: Iterable[PlacedMatrix]) -> int:
    """Words of the shared buffer that a column takes on its way."""
    return max((each.layout.padded_inputs for each in matrices if each.tiles), default=0)


def emit_loading(emitter: Emitter, matrices: Iterable[PlacedMatrix], staging: int) -> None:
    """Emit the writing of all parts, column by column; `staging` is the first of the words on the way."""
    for matrix in matrices:
        with emitter.origin(Source(matrix.name)):
            for first, tiles in groupby(matrix.tiles, lambda tile: tile.first_output):
                _load_columns(emitter, matrix, first, list(tiles), staging)
    emitter.emit("halt")


def _load_columns(emitter: Emitter, matrix: PlacedMatrix, first: int, tiles: list[ArrayTile], staging: int) -> None:
    """The columns that the parts have in common: one read from the banks, then a write into each part."""
    with emitter.loop(tiles[0].outputs) as column:
        output = emitter.scalar("add", column, first)
        load_row(emitter, matrix, output, Words(staging))
        for tile in tiles:
            emitter.emit("xprog", tile.group, Indexed(0, column), staging + tile.first_input, tile.inputs)
        emitter.release(output)
