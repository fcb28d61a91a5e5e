"""Loops around two-dimensional vector instructions, so that they cover operands of any rank and layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import permutations
from itertools import product as combinations
from math import prod

from isa import Indexed, OperandValue
from passes import Affine, Dim
from pimc.backend.emitter import Words
from pimc.backend.extents import Extents
from pimc.backend.rooms.views import View

LARGEST_STEP = 2047
"""What the step fields of vector instructions hold."""

_LARGEST_ROW = (1 << 20) - 1
_MOST_ROWS = (1 << 16) - 1
_MOST_UNROLLED = 8
_LANES = 512
_LOOP_COST = 16


@dataclass(frozen=True)
class Piece:
    """Operands of one two-dimensional instruction.

    Attributes:
        places: First word of each view.
        length: Elements of a row.
        rows: Number of rows.
        row_strides: Words from row to row, for each view.
        steps: Words from element to element, for each view.
    """

    places: tuple[Words, ...]
    length: int | Indexed
    rows: int | Indexed
    row_strides: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def operands(self) -> list[OperandValue]:
        """The first words as operand values."""
        return [place.operand for place in self.places]

    @property
    def extent(self) -> tuple[OperandValue, ...]:
        """Length, rows, row strides and steps in the order of the instructions' operands."""
        return (self.length, self.rows, *self.row_strides, *self.steps)


@dataclass(frozen=True)
class Axis:
    """One axis of a nest.

    Attributes:
        size: Number of elements.
        strides: Words from one to the next in each view; an affine one is computed when the program runs.
    """

    size: Dim
    strides: tuple[Dim, ...]


def pieces(extents: Extents, views: Sequence[View]) -> Iterator[Piece]:
    """Instructions that cover all elements of views of the same shape; emit the body for each piece that is yielded."""
    yield from nest(extents, _axes(views), [view.words for view in views])


def nest(extents: Extents, axes: Sequence[Axis], words: Sequence[Words]) -> Iterator[Piece]:
    """As `pieces`, for axes whose strides may be affine dimensions."""
    yield from _covered(extents, *_choose(extents, _join(axes), len(words)), words)


def row_pieces(extents: Extents, views: Sequence[View]) -> Iterator[Piece]:
    """As `pieces`, but with rows alone: the length is left to the caller, who works on another axis."""
    joined, single = _join(_axes(views)), Axis(1, (0,) * len(views))
    rows = [axis for axis in joined if _fits(axis, _LARGEST_ROW) and extents.capacity(axis.size) <= _MOST_ROWS]
    row = max(rows, key=lambda axis: extents.capacity(axis.size), default=single)
    outer = [axis for axis in joined if axis is not row]
    yield from _covered(extents, outer, row, single, [view.words for view in views])


def element_loops(extents: Extents, views: Sequence[View]) -> Iterator[tuple[Words, ...]]:
    """Hardware loops over all elements of views of the same shape; gives the address of the element in each view."""
    single = Axis(1, (0,) * len(views))
    for piece in _looped(extents, _join(_axes(views)), single, single, [view.words for view in views]):
        yield piece.places


def _axes(views: Sequence[View]) -> list[Axis]:
    """Axes of views of the same shape, without those of size 1."""
    shape = views[0].shape
    return [Axis(size, tuple(view.strides[number] for view in views)) for number, size in enumerate(shape) if size != 1]


def _covered(extents: Extents, outer: list[Axis], row: Axis, inner: Axis, words: Sequence[Words]) -> Iterator[Piece]:
    """Pieces of `row` and `inner` for all indices of the outer axes: few fixed ones apart, others in a loop."""
    if all(isinstance(axis.size, int) for axis in outer) and _fixed_count(outer) <= _MOST_UNROLLED:
        yield from _unrolled(extents, outer, row, inner, words)
    else:
        yield from _looped(extents, outer, row, inner, words)


def _fixed_count(axes: Sequence[Axis]) -> int:
    fixed = all(isinstance(stride, int) for axis in axes for stride in axis.strides)
    return prod(axis.size for axis in axes if isinstance(axis.size, int)) if fixed else _MOST_UNROLLED + 1


def _join(axes: Sequence[Axis]) -> list[Axis]:
    """Join neighbouring axes that every view walks evenly."""
    joined: list[Axis] = []
    for axis in axes:
        if joined and isinstance(axis.size, int):
            last = joined[-1]
            if all(
                isinstance(before, int) and isinstance(own, int) and before == own * axis.size
                for before, own in zip(last.strides, axis.strides, strict=True)
            ):
                joined[-1] = Axis(last.size * axis.size, axis.strides)
                continue
        joined.append(axis)
    return joined


def _choose(extents: Extents, axes: list[Axis], views: int) -> tuple[list[Axis], Axis, Axis]:
    """(axes to loop over, axis of the rows, axis of the length): the fewest vector cycles, then the natural order."""
    single = Axis(1, (0,) * views)
    steps = [axis for axis in axes if _fits(axis, LARGEST_STEP)]
    rows = [axis for axis in axes if _fits(axis, _LARGEST_ROW) and extents.capacity(axis.size) <= _MOST_ROWS]
    choices: list[tuple[Axis, Axis]] = [(single, inner) for inner in reversed(steps)]
    choices += [pair for pair in permutations(reversed(axes), 2) if pair[0] in rows and pair[1] in steps]
    choices += [(row, single) for row in reversed(rows)]
    natural = {id(axis): number for number, axis in enumerate(axes)}

    def cost(pair: tuple[Axis, Axis]) -> tuple[int, int]:
        row, inner = pair
        others = prod(max(extents.capacity(a.size), 1) for a in axes if a is not row and a is not inner)
        length = extents.capacity(inner.size)
        cycles = others * (extents.capacity(row.size) * -(-length // _LANES) + (_LOOP_COST if others > 1 else 0))
        return cycles, -(2 * natural.get(id(inner), -1) + natural.get(id(row), -1))

    row, inner = min(choices, key=cost, default=(single, single))
    return [axis for axis in axes if axis is not row and axis is not inner], row, inner


def _fits(axis: Axis, largest: int) -> bool:
    return all(isinstance(stride, int) and 0 <= stride <= largest for stride in axis.strides)


def _integers(strides: tuple[Dim, ...]) -> tuple[int, ...]:
    return tuple(stride for stride in strides if isinstance(stride, int))


def _steps(axis: Axis) -> tuple[int, ...]:
    return _integers(axis.strides) if axis.size != 1 else (1,) * len(axis.strides)


def _unrolled(extents: Extents, outer: list[Axis], row: Axis, inner: Axis, words: Sequence[Words]) -> Iterator[Piece]:
    with extents.operand(inner.size) as length, extents.operand(row.size) as rows:
        for index in combinations(*(range(extents.capacity(axis.size)) for axis in outer)):
            offsets = [
                sum(i * _integers(axis.strides)[view] for i, axis in zip(index, outer, strict=True))
                for view in range(len(words))
            ]
            places = tuple(place + offset for place, offset in zip(words, offsets, strict=True))
            yield Piece(places, length, rows, _integers(row.strides), _steps(inner))


def _looped(extents: Extents, outer: list[Axis], row: Axis, inner: Axis, words: Sequence[Words]) -> Iterator[Piece]:
    emitter = extents.emitter
    with ExitStack() as stack:
        length = stack.enter_context(extents.operand(inner.size))
        rows = stack.enter_context(extents.operand(row.size))
        counts = [stack.enter_context(extents.operand(axis.size)) for axis in outer]
        dynamic = {stride for axis in outer for stride in axis.strides if isinstance(stride, Affine)}
        factors = {stride: stack.enter_context(extents.operand(stride)) for stride in sorted(dynamic)}
        counters = [stack.enter_context(emitter.loop(count)) for count in counts]
        places = []
        for view, place in enumerate(words):
            strides = [factors.get(axis.strides[view], axis.strides[view]) for axis in outer]  # type: ignore[arg-type]
            places.append(_address(extents, place, counters, strides))
        yield Piece(tuple(places), length, rows, _integers(row.strides), _steps(inner))
        emitter.release(*(new.register for new, old in zip(places, words, strict=True) if new is not old))  # type: ignore[arg-type]


def _address(extents: Extents, place: Words, counters: list[int], strides: Sequence[object]) -> Words:
    """The address at the loops' counters; the very same object when it does not move."""
    emitter = extents.emitter
    register: int | None = None
    for counter, stride in zip(counters, strides, strict=True):
        if stride == 0:
            continue
        if not isinstance(stride, int | Indexed):
            raise AssertionError(f"the stride {stride!r} is not an operand")
        term = emitter.scalar("mul", counter, stride)
        if register is None:
            register = term
        else:
            emitter.emit("add", register, register, Indexed(0, term))
            emitter.release(term)
    if register is None:
        return place
    if place.register is not None:
        emitter.emit("add", register, register, Indexed(0, place.register))
    return Words(place.word, register)
