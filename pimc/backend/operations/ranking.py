"""The largest or smallest elements along an axis, in order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from isa import Indexed
from passes import Node
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.operations.elementwise import (
    emit_binary,
    emit_comparison,
    emit_map,
    everywhere,
    integer_word,
    word_type,
)
from pimc.backend.operations.indices import index_at
from pimc.backend.operations.nest import element_loops
from pimc.backend.operations.reductions import reduce_last
from pimc.backend.rooms.views import View

_LOWEST = {"f32": float("-inf"), "i32": float(-(2**31))}
"""What no candidate is below, by type of the words."""


@dataclass(frozen=True)
class _Candidates:
    """Rows of elements that were not taken yet.

    Attributes:
        kind: Type of the words, `f32` or `i32`.
        keys: A larger key is taken before a smaller one; those taken have the lowest key.
        free: 1 where the element was not taken, else 0; it tells elements with the lowest key from those taken.
        best: The largest key of each row.
        chosen: 1 where an element with the best key is free, else 0.
    """

    kind: str
    keys: View
    free: View
    best: View
    chosen: View


def lower_topk(low: Lowering, node: Node) -> None:
    """Lower the k largest or smallest elements: find one after the other, of equal ones the first."""
    source, axis = node.operand(0), int(node.attributes["axis"]) % node.operand(0).type.rank
    view = low.storage.view(source).moved_last(axis)
    values, indices = (low.storage.define(value).moved_last(axis) for value in node.outputs)
    with _candidates(low, view, word_type(source), bool(node.attributes["largest"])) as left:
        for number in range(int(node.attributes["k"])):
            place, found = (each.sliced(-1, number, 1).without(-1) for each in (indices, values))
            _find(low, left, place)
            _take(low, left, view, place, found)


@contextmanager
def _candidates(low: Lowering, view: View, kind: str, is_largest: bool) -> Iterator[_Candidates]:
    """All elements of the view as candidates."""
    rest = view.without(-1)
    sizes = [low.storage.capacity_words(each) for each in (view, view, view, rest)]
    with low.storage.scratch(sum(sizes), "the candidates of a top-k") as words:
        keys, free, chosen = (low.dense(view, words + number * sizes[0]) for number in range(3))
        best = low.dense(rest, words + 3 * sizes[0])
        if is_largest:
            low.copy_view(keys, view)
        elif kind == "f32":
            emit_map(low, keys, view, "copy", -1.0)
        else:  # -1 - x turns the order round, and unlike -x it never overflows
            with integer_word(low, -1) as minus_one:
                emit_binary(low, "vsub", (keys, everywhere(minus_one, view), view), kind)
        with integer_word(low, 1) as one:
            low.copy_view(free, everywhere(one, view))
        yield _Candidates(kind, keys, free, best, chosen)


def _find(low: Lowering, left: _Candidates, place: View) -> None:
    """Emit place = index of the first free element with the best key, for each row."""
    reduce_last(low, "rmax", left.best, left.keys, left.kind)
    best = View(left.best.words, left.keys.shape, (*left.best.strides, 0))
    emit_comparison(low, "equal", (left.chosen, left.keys, best), left.kind)
    emit_binary(low, "vmul", (left.chosen, left.chosen, left.free), "i32")
    reduce_last(low, "rargmax", place, left.chosen, "i32")


def _take(low: Lowering, left: _Candidates, view: View, place: View, found: View) -> None:
    """Copy the elements at the indices, and let nothing find them again."""
    rows = [place, found, *(each.without(-1) for each in (view, left.keys, left.free))]
    for index, value, row, keys, free in element_loops(low.extents, rows):
        with index_at(low, index, view.shape[-1]) as register:
            with _element(low, row, register, view.strides[-1]) as element:
                low.emitter.emit("vmap", value.operand, element, len=1)
            with _element(low, keys, register, 1) as element:
                low.emitter.emit("vfill", element, _LOWEST[left.kind], 1, type=left.kind)
            with _element(low, free, register, 1) as element:
                low.emitter.emit("vfill", element, 0.0, 1)


@contextmanager
def _element(low: Lowering, row: Words, index: int, step: int) -> Iterator[Indexed]:
    """The address of an element of a row, for the time of the block."""
    offset = low.emitter.scalar("mul", index, step) if step != 1 else index
    if row.register is None:
        yield Indexed(row.word, offset)
    else:
        place = low.emitter.scalar("add", offset, Indexed(0, row.register))
        yield Indexed(row.word, place)
        low.emitter.release(place)
    if offset != index:
        low.emitter.release(offset)


RANKING: dict[str, Lower] = {"topk": lower_topk}
