"""Reading of a row of a lookup table, or of the weights of one output, from the banks."""

from __future__ import annotations

from isa import Indexed
from passes import MatrixLayout, PlacedMatrix
from pimc.backend.emitter import Emitter, Words, indexed


def load_row(emitter: Emitter, matrix: PlacedMatrix, index: int, target: Words) -> None:
    """Read row `index` of a table, which is output `index` of its matrix: all columns lie in one bank."""
    layout, scalar = matrix.layout, emitter.scalar
    place = scalar("remu", index, layout.group_outputs)
    channel = scalar("divu", place, layout.banks)
    bank = scalar("remu", place, layout.banks)
    one = emitter.register()
    emitter.emit("li", one, 1)
    emitter.emit("shl", one, one, Indexed(0, channel))
    output = scalar("divu", index, layout.group_outputs)
    width_done = 0
    tile = scalar("divu", output, layout.tile_outputs)
    inside = scalar("remu", output, layout.tile_outputs)
    emitter.emit("mul", tile, tile, layout.tile_outputs * layout.slice_columns)
    for start, width in layout.chunks():
        column = scalar("mul", inside, width)
        emitter.emit("add", column, column, Indexed(0, tile))
        if start:
            _add_chunk_start(emitter, column, output, layout, start)
        emitter.emit(
            "ldb",
            ch=indexed(0, one),
            bank=indexed(0, bank),
            addr=indexed(matrix.column, column),
            cols=width,
            dst=(target + width_done).operand,
        )
        emitter.release(column)
        width_done += width * layout.lanes
    emitter.release(place, channel, bank, one, output, tile, inside)


def _add_chunk_start(emitter: Emitter, column: int, output: int, layout: MatrixLayout, start: int) -> None:
    """column += start * outputs of the tile that `output` lies in; the last tile may have fewer than the others."""
    before = emitter.scalar("divu", output, layout.tile_outputs)
    emitter.emit("mul", before, before, layout.tile_outputs)
    size = emitter.register()
    emitter.emit("li", size, layout.bank_outputs)
    emitter.emit("sub", size, size, Indexed(0, before))
    emitter.emit("min", size, size, layout.tile_outputs)
    emitter.emit("mul", size, size, start)
    emitter.emit("add", column, column, Indexed(0, size))
    emitter.release(before, size)
