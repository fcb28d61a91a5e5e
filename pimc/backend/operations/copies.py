"""Parts, joins and reshapes that no strides can express: the words are copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from isa import Indexed, Place, UnsupportedError
from passes import Dim, Node, product
from pimc.backend.emitter import Words
from pimc.backend.lowering import Lower, Lowering
from pimc.backend.operations.nest import Axis, nest, row_pieces
from pimc.backend.rooms.views import View, axis_groups, even_spacing
from pimc.backend.rows.row_axes import is_token_integer


@contextmanager
def sliced(low: Lowering, view: View, axis: int, start: Dim, size: Dim, step: int = 1) -> Iterator[View]:
    """`size` elements of an axis from `start` on, which may be known only when the program runs."""
    if isinstance(start, int):
        yield view.sliced(axis, start, size, step)
        return
    register = low.extents.register(start)
    low.emitter.emit("mul", register, register, view.strides[axis])
    if view.words.register is not None:
        low.emitter.emit("add", register, register, Indexed(0, view.words.register))
    part = view.sliced(axis, 0, size, step)
    yield View(Words(part.words.word, register), part.shape, part.strides)
    low.emitter.release(register)


def lower_slice(low: Lowering, node: Node) -> None:
    """Lower a slice that begins at a dynamic place, or runs backwards."""
    axis = int(node.attributes["axis"]) % node.output.type.rank
    target = low.storage.define(node.output)
    source = low.storage.view(node.operand(0))
    start, step = node.attributes["start"], int(node.attributes["step"])
    with sliced(low, source, axis, start, target.shape[axis], step) as part:
        low.copy_view(target, part)


def lower_split(low: Lowering, node: Node) -> None:
    """Lower a split into parts of dynamic size."""
    axis = int(node.attributes["axis"]) % node.output.type.rank
    source = low.storage.view(node.operand(0))
    start: Dim = 0
    for value, size in zip(node.outputs, node.attributes["sizes"], strict=True):
        with sliced(low, source, axis, start, size) as part:
            low.copy_view(low.storage.define(value), part)
        start = start + size


def lower_concat(low: Lowering, node: Node) -> None:
    """Lower a join: one copy an operand."""
    if is_token_integer(low.map, node.output):
        return
    axis = int(node.attributes["axis"]) % node.output.type.rank
    operands = [node.operand(position) for position in range(len(node.inputs))]
    views = [low.storage.aligned(value, node) for value in operands]
    target = low.storage.define(node.output)
    start: Dim = 0
    for view in views:
        size = view.shape[axis]
        shape = (*target.shape[:axis], size, *target.shape[axis + 1 :])
        with sliced(low, target, axis, start, size) as part:
            low.copy_view(part, view.broadcast(shape))
        start = start + size


def lower_reshape(low: Lowering, node: Node) -> None:
    """Lower a reshape: inside groups of axes of equal product, walk whichever side is cut more finely."""
    if is_token_integer(low.map, node.output):
        return
    source, target = low.storage.view(node.operand(0)), low.storage.define(node.output)
    axes: list[Axis] = []
    groups = axis_groups(target.shape, source.shape)
    if groups is None:
        raise _inexpressible(node)
    for ours, theirs in groups:
        own = [(target.shape[axis], target.strides[axis]) for axis in ours if target.shape[axis] != 1]
        other = [(source.shape[axis], source.strides[axis]) for axis in theirs if source.shape[axis] != 1]
        found = _walk(own, other)
        if found is None:
            raise _inexpressible(node)
        axes += found
    low.copy_pieces(nest(low.extents, axes, [target.words, source.words]))


Strided = list[tuple[Dim, int]]


def _walk(own: Strided, other: Strided) -> list[Axis] | None:
    """Axes that walk both sides of a group, whose elements are in the same order."""
    if len(own) == len(other):
        sizes_match = all(a == b for (a, _), (b, _) in zip(own, other, strict=True))
        if sizes_match:
            return [Axis(size, (a, b)) for (size, a), (_, b) in zip(own, other, strict=True)]
    even_own, even_other = even_spacing(own), even_spacing(other)
    if even_own is not None:
        return [Axis(size, (step, stride)) for (size, stride), step in zip(other, _cut(other, even_own), strict=True)]
    if even_other is not None:
        return [Axis(size, (stride, step)) for (size, stride), step in zip(own, _cut(own, even_other), strict=True)]
    return None


def _cut(axes: Strided, step: int) -> list[Dim]:
    """Strides of the axes on the side whose elements are `step` words apart."""
    return [product(tuple(size for size, _ in axes[number + 1 :])) * step for number in range(len(axes))]


def _inexpressible(node: Node) -> UnsupportedError:
    return UnsupportedError(
        f"the reshape from {node.operand(0).type} to {node.output.type} cannot be lowered",
        Place(node=node.name),
        help="bind its dynamic dimensions with --dim",
    )


def lower_trilu(low: Lowering, node: Node) -> None:
    """Lower a triangle: copy every row, and clear what lies outside."""
    source, target = low.storage.view(node.operand(0)), low.storage.define(node.output)
    diagonal, is_upper = int(node.attributes["diagonal"]), bool(node.attributes["upper"])
    low.copy_view(target, source)
    with low.extents.operand(target.shape[-2]) as rows, low.emitter.loop(rows) as number:
        row = low.storage.element(target, target.rank - 2, number)
        border = low.emitter.scalar("add", number, diagonal if is_upper else diagonal + 1)
        low.emitter.emit("max", border, border, 0)
        width = low.extents.register(target.shape[-1])
        low.emitter.emit("min", border, border, Indexed(0, width))
        if is_upper:
            _clear(low, row, None, border)
        else:
            low.emitter.emit("sub", width, width, Indexed(0, border))
            _clear(low, row, border, width)
        low.storage.release_element(row, target)
        low.emitter.release(border, width)


def _clear(low: Lowering, row: View, first: int | None, count: int) -> None:
    """Clear `count` elements of the last axis of all rows from the register `first` on."""
    outer = row.without(-1)
    start = None if first is None else low.emitter.scalar("mul", first, row.strides[-1])
    if start is not None and outer.words.register is not None:
        low.emitter.emit("add", start, start, Indexed(0, outer.words.register))
    words = outer.words if start is None else Words(outer.words.word, start)
    step = row.strides[-1]
    for piece in row_pieces(low.extents, [View(words, outer.shape, outer.strides)]):
        place, row_stride = piece.operands[0], piece.row_strides[0]
        low.emitter.emit("vfill", place, 0.0, Indexed(0, count), piece.rows, row_stride, step)
    if start is not None:
        low.emitter.release(start)


COPIES: dict[str, Lower] = {
    "slice": lower_slice,
    "split": lower_split,
    "concat": lower_concat,
    "reshape": lower_reshape,
    "trilu": lower_trilu,
}
