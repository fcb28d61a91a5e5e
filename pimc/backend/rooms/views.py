"""Where the elements of a value lie in the shared buffer: a first word and a stride for every axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

from passes import Dim, Node, Value
from pimc.backend.emitter import Words


@dataclass(frozen=True)
class View:
    """Elements of a value in the shared buffer.

    Attributes:
        words: First word.
        shape: Size of every axis; the axes of the current row have the size 1.
        strides: Words from one element to the next along every axis; 0 where the axis is broadcast.
    """

    words: Words
    shape: tuple[Dim, ...]
    strides: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def at(self, words: int) -> View:
        """The same elements `words` further on."""
        return replace(self, words=self.words + words)

    def transposed(self, order: Sequence[int]) -> View:
        """Axes in another order."""
        axes = [axis % self.rank for axis in order]
        return View(self.words, tuple(self.shape[a] for a in axes), tuple(self.strides[a] for a in axes))

    def sliced(self, axis: int, start: int, size: Dim, step: int = 1) -> View:
        """`size` elements of one axis from `start` on, every `step`-th."""
        axis %= self.rank
        shape, strides = list(self.shape), list(self.strides)
        words = self.words + start * strides[axis]
        shape[axis], strides[axis] = size, strides[axis] * step
        return View(words, tuple(shape), tuple(strides))

    def broadcast(self, shape: Sequence[Dim]) -> View:
        """The view under a broadcast shape, aligned from the right."""
        missing = len(shape) - self.rank
        strides = [0] * missing
        for own, wanted, stride in zip(self.shape, shape[missing:], self.strides, strict=True):
            strides.append(0 if own == 1 and wanted != 1 else stride)
        return View(self.words, tuple(shape), tuple(strides))

    def split_axes(self, shape: Sequence[Dim]) -> View | None:
        """The same elements in the same order under another shape, `None` when no strides say that."""
        strides = reshape_strides(self.shape, self.strides, tuple(shape))
        return None if strides is None else View(self.words, tuple(shape), strides)

    def without(self, axis: int) -> View:
        """Drop an axis (of which the first element stays)."""
        axis %= self.rank
        return View(
            self.words,
            self.shape[:axis] + self.shape[axis + 1 :],
            self.strides[:axis] + self.strides[axis + 1 :],
        )

    def moved_last(self, axis: int) -> View:
        """The axis `axis` behind all others."""
        axis %= self.rank
        return self.transposed([*(a for a in range(self.rank) if a != axis), axis])

    @property
    def is_contiguous(self) -> bool:
        """Whether the elements lie side by side in order; needs integer sizes."""
        return self.strides_match(dense_strides(self.shape))

    def strides_match(self, strides: Sequence[int] | None) -> bool:
        """Whether the strides are those, wherever an axis has more than one element."""
        if strides is None:
            return False
        return all(
            size == 1 or own == other for size, own, other in zip(self.shape, self.strides, strides, strict=True)
        )


def row_major(sizes: Sequence[int]) -> tuple[int, ...]:
    """Strides of elements side by side under fixed sizes."""
    return tuple(prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


def dense_strides(shape: Sequence[Dim]) -> tuple[int, ...] | None:
    """Strides of elements side by side, `None` when an axis inside has no fixed size."""
    strides, step = [], 1
    for position in range(len(shape) - 1, -1, -1):
        strides.append(step)
        size = shape[position]
        if position and not isinstance(size, int):
            return None
        step *= size if isinstance(size, int) else 1
    return tuple(reversed(strides))


def reshape_strides(
    shape: tuple[Dim, ...], strides: tuple[int, ...], target: tuple[Dim, ...]
) -> tuple[int, ...] | None:
    """Strides under another shape of the same elements in the same order, `None` when there are none.

    Inside every group of axes with equal products the old axes must be evenly spaced, unless each new axis is one of
    them.
    """
    groups = axis_groups(target, shape)
    if groups is None:
        return None
    result = [0] * len(target)
    for ours, theirs in groups:
        old = [(shape[axis], strides[axis]) for axis in theirs if shape[axis] != 1]
        new = [axis for axis in ours if target[axis] != 1]
        steps = _cut_evenly(old, [target[axis] for axis in new])
        if steps is None:
            return None
        for axis, step in zip(new, steps, strict=True):
            result[axis] = step
    return tuple(result)


AxisGroups = list[tuple[list[int], list[int]]]
"""Axes of two shapes of the same elements, in groups of equal products from the left."""


def axis_groups(target: tuple[Dim, ...], source: tuple[Dim, ...]) -> AxisGroups | None:
    """The smallest groups, `None` when products of dynamic sizes do not show that they are equal."""
    groups: AxisGroups = []
    ours, theirs = _axes_with_elements(target), _axes_with_elements(source)
    while ours or theirs:
        left: list[int] = []
        right: list[int] = []
        have: Dim = 1
        want: Dim = 1
        while have != want or not (left or right):
            grow_left = ours and (not theirs or not left or (right and _is_smaller(have, want)))
            if grow_left and _can_multiply(have, target[ours[0]]):
                have = have * target[ours[0]]
                left.append(ours.pop(0))
            elif theirs and _can_multiply(want, source[theirs[0]]):
                want = want * source[theirs[0]]
                right.append(theirs.pop(0))
            else:
                return None
        groups.append((left, right))
    return groups


def _axes_with_elements(shape: tuple[Dim, ...]) -> list[int]:
    return [axis for axis, size in enumerate(shape) if size != 1]


def _can_multiply(first: Dim, second: Dim) -> bool:
    return isinstance(first, int) or isinstance(second, int)


def _is_smaller(left: Dim, right: Dim) -> bool:
    """Whether the left product needs another factor to become the right one."""
    if isinstance(left, int) and isinstance(right, int):
        return left < right
    if isinstance(left, int):
        return True
    if isinstance(right, int):
        return False
    return _magnitude(left) < _magnitude(right)


def _magnitude(dim: Dim) -> int:
    return dim if isinstance(dim, int) else dim.constant + 1009 * sum(factor for _, factor in dim.terms)


def even_spacing(axes: Sequence[tuple[Dim, int]]) -> int | None:
    """Words from one element of the axes (size, stride) to the next, `None` when they are not evenly spaced."""
    for (_, outer), (size, inner) in pairwise(axes):
        if not isinstance(size, int) or outer != inner * size:
            return None
    return axes[-1][1] if axes else 0


def _cut_evenly(old: list[tuple[Dim, int]], sizes: list[Dim]) -> list[int] | None:
    """Strides of the new sizes of one group, `None` when the old axes are not one evenly spaced run."""
    if len(old) == len(sizes) and all(size == own for (size, _), own in zip(old, sizes, strict=True)):
        return [stride for _, stride in old]
    spacing = even_spacing(old)
    if spacing is None:
        return None
    strides, step = [], spacing
    for number, size in enumerate(reversed(sizes)):
        strides.append(step)
        if number + 1 < len(sizes):
            if not isinstance(size, int):
                return None
            step *= size
    return strides[::-1]


VIEWS = frozenset({"reshape", "identity", "transpose", "slice", "split", "expand", "cast"})
"""Operations whose results may be views of their first operand."""


def derived_view(node: Node, value: Value, view: View, shape: tuple[Dim, ...]) -> View | None:
    """The result `value` of `node` as a view of its operand, `None` when the elements must be copied.

    Args:
        node: A node.
        value: One of its results.
        view: Of the first operand.
        shape: Of the result, with 1 for the axes of the current row.
    """
    if node.op not in VIEWS:
        return None
    if node.op == "cast":
        return view if _same_words(node.operand(0).type.dtype, value.type.dtype) else None
    if node.op == "identity":
        return view
    if node.op == "reshape":
        return view.split_axes(shape)
    if node.op == "transpose":
        return view.transposed(node.attributes["perm"])
    if node.op == "expand":
        return view.broadcast(shape)
    axis = int(node.attributes["axis"]) % view.rank
    if node.op == "split":
        before = node.attributes["sizes"][: node.outputs.index(value)]
        start = sum(size for size in before if isinstance(size, int))
        return view.sliced(axis, start, shape[axis]) if all(isinstance(size, int) for size in before) else None
    start, step = node.attributes["start"], node.attributes["step"]
    return view.sliced(axis, start, shape[axis], step) if isinstance(start, int) and step > 0 else None


def _same_words(source: str, target: str) -> bool:
    """Whether a conversion leaves the words as they are: floats are binary32, integers and bool are int32."""
    floats = [name.startswith(("float", "bfloat")) for name in (source, target)]
    if all(floats):
        return not loses_digits(source, target)
    if any(floats):
        return False
    return source == target or (source in _NARROW | _WIDE and target in _WIDE)


def loses_digits(source: str, target: str) -> bool:
    """Whether a conversion rounds: words are binary32, and the narrow types hold bool and 8 bits of an integer."""
    return target in ("float16", "bfloat16") and source != target and source not in _NARROW


_WIDE = frozenset({"int64", "int32"})
_NARROW = frozenset({"bool", "int8", "uint8"})
