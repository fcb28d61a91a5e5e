"""Reductions and running sums along an axis, for the part of a row or for whole tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod

from passes import Dim, Node
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.operations.elementwise import emit_binary, emit_map, everywhere, integer_word, word_type
from pimc.backend.operations.nest import LARGEST_STEP, row_pieces
from pimc.backend.rooms.views import View

_MNEMONICS = {"reduce_sum": "rsum", "reduce_mean": "rsum", "reduce_max": "rmax", "reduce_min": "rmin"}
_TYPED = frozenset({"rsum", "rmax", "rmin", "rargmax"})
"""Reductions that say the type of their words; sums of squares are real."""


def reduce_last(low: Lowering, mnemonic: str, target: View, source: View, kind: str = "f32") -> None:
    """Emit the reduction of the last axis of `source` into `target`, which has all other axes."""
    with _walkable(low, source) as walked, low.extents.operand(walked.shape[-1]) as length:
        step = walked.strides[-1] if walked.shape[-1] != 1 else 1
        for piece in row_pieces(low.extents, [target, walked.without(-1)]):
            dst, a = piece.operands
            dst_row, a_row = piece.row_strides
            strides = dst_row, a_row, step
            own_type = (kind,) if mnemonic in _TYPED else ()
            low.emitter.emit(mnemonic, dst, a, length, piece.rows, *strides, *own_type)


@contextmanager
def _walkable(low: Lowering, source: View) -> Iterator[View]:
    """The view, or a copy whose last axis has a step that instructions can take."""
    if 0 <= source.strides[-1] <= LARGEST_STEP:
        yield source
        return
    with low.storage.scratch(low.storage.capacity_words(source), "an operand of a reduction") as words:
        copy = low.dense(source, words)
        low.copy_view(copy, source)
        yield copy


def lower_reduction(low: Lowering, node: Node) -> None:
    """Lower sum, mean, maximum and minimum over any axes, one axis after the other."""
    source, result = node.operand(0), node.output
    axes = sorted({int(axis) % source.type.rank for axis in node.attributes["axes"]}, reverse=True)
    view, kind = low.storage.view(source), word_type(source)
    target = _without_axes(low.storage.define(result), axes, bool(node.attributes["keepdims"]))
    if not axes:
        low.copy_view(target, view)
        return
    _reduce_axes(low, _MNEMONICS[node.op], target, view, axes, kind)
    if result.type.dtype == "bool":  # the largest of no elements is false
        with integer_word(low, 0) as zero:
            emit_binary(low, "vmax", (target, target, everywhere(zero, target)), "i32")
    if node.op == "reduce_mean":
        _divide(low, target, [view.shape[axis] for axis in axes], kind)


def _reduce_axes(low: Lowering, mnemonic: str, target: View, source: View, axes: list[int], kind: str) -> None:
    """Reduce the axes, which are given in descending order; intermediate results stay in the shared buffer."""
    axis, rest = axes[0], axes[1:]
    moved = source.moved_last(axis)
    if not rest:
        reduce_last(low, mnemonic, target, moved, kind)
        return
    between = moved.without(-1)
    with low.storage.scratch(low.storage.capacity_words(between), "a partial reduction") as words:
        partial = low.dense(between, words)
        reduce_last(low, mnemonic, partial, moved, kind)
        _reduce_axes(low, mnemonic, target, partial, rest, kind)


def _without_axes(view: View, axes: list[int], kept: bool) -> View:
    if kept:
        for axis in axes:
            view = view.without(axis)
    return view


def _divide(low: Lowering, target: View, sizes: list[Dim], kind: str) -> None:
    """Divide by the number of reduced elements, which is a factor where it is known and the words are real."""
    if kind == "f32" and all(isinstance(size, int) for size in sizes):
        emit_map(low, target, target, "copy", 1.0 / max(prod(size for size in sizes if isinstance(size, int)), 1))
        return
    register = low.extents.register(sizes[0])
    for size in sizes[1:]:
        with low.extents.operand(size) as factor:
            low.emitter.emit("mul", register, register, factor)
    with low.storage.scratch(1, "a number of elements") as word:
        low.emitter.emit("sts", word.operand, register)
        if kind == "f32":
            low.emitter.emit("vmap", word.operand, word.operand, "from_int", 1)
        emit_binary(low, "vdiv", (target, target, everywhere(word, target)), kind)
    low.emitter.release(register)


def lower_argmax(low: Lowering, node: Node) -> None:
    """Lower the index of the first largest element along an axis."""
    source = low.storage.view(node.operand(0))
    axis = int(node.attributes["axis"]) % source.rank
    target = _without_axes(low.storage.define(node.output), [axis], bool(node.attributes["keepdims"]))
    reduce_last(low, "rargmax", target, source.moved_last(axis), word_type(node.operand(0)))


def lower_cumsum(low: Lowering, node: Node) -> None:
    """Lower a running sum: each element adds to the one before."""
    source, target = low.storage.view(node.operand(0)), low.storage.define(node.output)
    axis, kind = int(node.attributes["axis"]) % source.rank, word_type(node.output)
    size = source.shape[axis]
    with integer_word(low, 0) as zero, low.extents.operand(size) as count:
        rest = source.without(axis)
        with low.storage.scratch(low.storage.capacity_words(rest), "a running sum") as words:
            total = low.dense(rest, words)
            low.copy_view(total, everywhere(zero, rest))
            with low.emitter.loop(count) as number:
                own, of = (low.storage.element(view, axis, number) for view in (target, source))
                emit_binary(low, "vadd", (total, total, of), kind)
                low.copy_view(own, total)
                low.storage.release_element(own, target)
                low.storage.release_element(of, source)


REDUCTIONS: dict[str, Lower] = {
    **dict.fromkeys(_MNEMONICS, lower_reduction),
    "argmax": lower_argmax,
    "cumsum": lower_cumsum,
}
