"""Lookups and scatters by integers that are known only when the program runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from isa import Indexed
from passes import Node, is_bank_table
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.operations.elementwise import emit_binary, word_type
from pimc.backend.operations.indices import index_at, keep_inside
from pimc.backend.operations.nest import element_loops
from pimc.backend.operations.scalars import is_scalar_index, token_integer
from pimc.backend.operations.table_rows import load_row
from pimc.backend.rooms.views import View
from pimc.backend.rows.row_axes import is_token_integer


def lower_gather(low: Lowering, node: Node) -> None:
    """Lower a lookup along one axis: a copy for each index, of the rows that are needed and no others."""
    if is_token_integer(low.map, node.output):
        return
    table, indices = node.operand(0), node.operand(1)
    axis = int(node.attributes["axis"]) % table.type.rank
    if low.storage.row is not None and is_scalar_index(low.map, indices):
        own, index = token_integer(low, indices), low.emitter.register()
        keep_inside(low, index, own, table.shape[axis])
        _look_up(low, node, axis, index, low.storage.define(node.output))
        low.emitter.release(index)
        return
    places = low.storage.aligned(indices, node)
    target = low.storage.define(node.output)
    count = places.rank
    outer = View(target.words, target.shape[axis : axis + count], target.strides[axis : axis + count])
    shape, strides = target.shape, target.strides
    rest = View(target.words, shape[:axis] + shape[axis + count :], strides[:axis] + strides[axis + count :])
    for place, result in element_loops(low.extents, [places, outer]):
        with index_at(low, place, table.shape[axis]) as index:
            _look_up(low, node, axis, index, View(result, rest.shape, rest.strides))


def _look_up(low: Lowering, node: Node, axis: int, index: int, target: View) -> None:
    """Copy element `index` of the table's axis; of a table in the banks only that row is read."""
    if is_bank_table(node):
        _load(low, node, index, target)
        return
    table = low.storage.view(node.operand(0))
    part = low.storage.element(table, axis, index)
    wanted = View(part.words, target.shape, part.strides) if part.rank == target.rank else _squeezed(part, target)
    low.copy_view(target, wanted)
    low.storage.release_element(part, table)


def _load(low: Lowering, node: Node, index: int, target: View) -> None:
    """Read a row from the banks: straight to its place when whole columns fit there."""
    matrix = low.placement.matrix(node, "table")
    if target.is_contiguous and (low.storage.row is not None or matrix.layout.padded_inputs == matrix.layout.inputs):
        load_row(low.emitter, matrix, index, target.words)
        return
    with low.storage.scratch(matrix.layout.padded_inputs, "a row of a table") as words:
        load_row(low.emitter, matrix, index, words)
        low.copy_view(target, low.dense(target, words))


def _squeezed(part: View, target: View) -> View:
    """The part under the target's shape, which has one axis of size 1 more or less for each axis of the index."""
    strides = [stride for size, stride in zip(part.shape, part.strides, strict=True) if size != 1]
    spread = [strides.pop(0) if size != 1 else 0 for size in target.shape]
    return View(part.words, target.shape, tuple(spread))


def lower_gather_nd(low: Lowering, node: Node) -> None:
    """Lower a lookup by tuples of indices."""
    batch = int(node.attributes["batch_dims"])
    source, tuples = (low.storage.view(node.operand(position)) for position in (0, 1))
    target = low.storage.define(node.output)
    outer = tuples.rank - 1
    views = [_first_axes(tuples, outer), _first_axes(target, outer), _batched(source, batch, tuples, outer)]
    axes = range(batch, batch + int(str(tuples.shape[-1])))
    rest = _last_axes(target, outer)
    for places, result, words in element_loops(low.extents, views):
        with _tuple_place(low, places, tuples.strides[-1], source, axes, words) as place:
            part = View(place, source.shape[axes.stop :], source.strides[axes.stop :])
            low.copy_view(View(result, rest.shape, rest.strides), part)


def lower_scatter_nd(low: Lowering, node: Node) -> None:
    """Lower updates at tuples of indices, in order; the last one stays."""
    data, tuples, updates = (low.storage.view(node.operand(position)) for position in range(3))
    target = low.storage.define(node.output)
    low.copy_view(target, data)
    outer = tuples.rank - 1
    axes = range(int(str(tuples.shape[-1])))
    views = [_first_axes(tuples, outer), _first_axes(updates, outer)]
    rest = _last_axes(updates, outer)
    for places, source in element_loops(low.extents, views):
        with _tuple_place(low, places, tuples.strides[-1], target, axes, target.words) as place:
            part = View(place, target.shape[axes.stop :], target.strides[axes.stop :])
            _update(low, node, part, View(source, rest.shape, rest.strides))


_UPDATES = {"add": "vadd", "mul": "vmul", "max": "vmax", "min": "vmin"}


def _update(low: Lowering, node: Node, target: View, source: View) -> None:
    mnemonic = _UPDATES.get(str(node.attributes["reduction"]))
    if mnemonic is None:
        low.copy_view(target, source)
    else:
        emit_binary(low, mnemonic, (target, target, source), word_type(node.output))


def lower_gather_elements(low: Lowering, node: Node) -> None:
    """Lower a lookup of single elements along an axis."""
    source, indices = (low.storage.view(node.operand(position)) for position in (0, 1))
    axis = int(node.attributes["axis"]) % source.rank
    target = low.storage.define(node.output)
    fixed = View(source.words, indices.shape, _without_stride(source, axis))
    for place, result, words in element_loops(low.extents, [indices, target, fixed]):
        with index_at(low, place, source.shape[axis]) as index:
            low.emitter.emit("mul", index, index, source.strides[axis])
            if words.register is not None:
                low.emitter.emit("add", index, index, Indexed(0, words.register))
            low.emitter.emit("vmap", result.operand, Indexed(words.word, index), len=1)


def lower_scatter_elements(low: Lowering, node: Node) -> None:
    """Lower updates of single elements along an axis."""
    data, indices, updates = (low.storage.view(node.operand(position)) for position in range(3))
    axis = int(node.attributes["axis"]) % data.rank
    target = low.storage.define(node.output)
    low.copy_view(target, data)
    fixed = View(target.words, indices.shape, _without_stride(target, axis))
    single = ((), ())
    for place, source, words in element_loops(low.extents, [indices, updates, fixed]):
        with index_at(low, place, target.shape[axis]) as index:
            low.emitter.emit("mul", index, index, target.strides[axis])
            if words.register is not None:
                low.emitter.emit("add", index, index, Indexed(0, words.register))
            _update(low, node, View(Words(words.word, index), *single), View(source, *single))


def _without_stride(view: View, axis: int) -> tuple[int, ...]:
    return tuple(0 if position == axis else stride for position, stride in enumerate(view.strides))


def _first_axes(view: View, count: int) -> View:
    return View(view.words, view.shape[:count], view.strides[:count])


def _last_axes(view: View, first: int) -> View:
    return View(view.words, view.shape[first:], view.strides[first:])


def _batched(source: View, batch: int, tuples: View, outer: int) -> View:
    """The source's first word under the tuples' outer axes: it moves along the batch axes only."""
    strides = (*source.strides[:batch], *([0] * (outer - batch)))
    return View(source.words, tuples.shape[:outer], strides)


@contextmanager
def _tuple_place(
    low: Lowering, places: Words, step: int, view: View, axes: Sequence[int], words: Words
) -> Iterator[Words]:
    """The word that a tuple of indices points at."""
    offset = low.emitter.register()
    low.emitter.emit("li", offset, 0 if words.register is None else Indexed(0, words.register))
    for number, axis in enumerate(axes):
        with index_at(low, places + number * step, view.shape[axis]) as index:
            low.emitter.emit("mul", index, index, view.strides[axis])
            low.emitter.emit("add", offset, offset, Indexed(0, index))
    yield Words(words.word, offset)
    low.emitter.release(offset)


INDEXING: dict[str, Lower] = {
    "gather": lower_gather,
    "gather_nd": lower_gather_nd,
    "gather_elements": lower_gather_elements,
    "scatter_nd": lower_scatter_nd,
    "scatter_elements": lower_scatter_elements,
}
