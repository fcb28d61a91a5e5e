"""How axes correspond across reshapes, and conversion between token-major and head-major tensors."""

from __future__ import annotations

from collections.abc import Iterable

from isa import GraphError
from passes.dims import Dim, product
from passes.ir import Graph, Value
from passes.rewriting import reshape, transpose

Group = tuple[tuple[int, ...], tuple[int, ...]]
"""Consecutive source axes and the consecutive target axes with the same number of elements."""


def reshape_groups(source: tuple[Dim, ...], target: tuple[Dim, ...]) -> list[Group] | None:
    """The finest correspondence between the axes of two shapes with the same elements in the same order.

    Axes of size 1 that stand alone join a neighbouring group.

    Returns:
        Groups from front to back, or `None` when symbols or zero sizes hide the correspondence.
    """
    if 0 in source or 0 in target:
        return None
    groups: list[Group] = []
    i = j = 0
    while i < len(source) and j < len(target):
        first_i, first_j = i, j
        i, j = i + 1, j + 1
        while (left := _size(source[first_i:i])) != (right := _size(target[first_j:j])):
            if left is None or right is None:
                return None
            if i < len(source) and (j == len(target) or _weight(left) <= _weight(right)):
                i += 1
            elif j < len(target):
                j += 1
            else:
                return None
        groups.append((tuple(range(first_i, i)), tuple(range(first_j, j))))
    return _with_rest(groups, source, target, i, j)


def _with_rest(
    groups: list[Group], source: tuple[Dim, ...], target: tuple[Dim, ...], i: int, j: int
) -> list[Group] | None:
    if any(size != 1 for size in (*source[i:], *target[j:])):
        return None
    if not groups:
        return [(tuple(range(len(source))), tuple(range(len(target))))] if source or target else []
    left, right = groups[-1]
    groups[-1] = ((*left, *range(i, len(source))), (*right, *range(j, len(target))))
    return groups


def _size(dims: tuple[Dim, ...]) -> Dim | None:
    try:
        return product(dims)
    except GraphError:
        return None


def _weight(dim: Dim) -> int:
    """A size by which to tell which of two unequal products has to grow; a number is below every symbol."""
    if isinstance(dim, int):
        return dim
    return (1 << 40) * sum(abs(factor) for _, factor in dim.terms)


def moves_only_units(shape: tuple[Dim, ...], perm: tuple[int, ...]) -> bool:
    """Whether a transpose leaves the order of all axes longer than 1 as it is, so that it is a reshape."""
    long = [axis for axis in perm if shape[axis] != 1]
    return long == sorted(long)


def token_major(graph: Graph, value: Value, origins: Iterable[str]) -> Value:
    """[B, heads, S, D] as [B, S, heads*D]."""
    batch, heads, length, width = value.shape
    swapped = transpose(graph, value, (0, 2, 1, 3), origins)
    return reshape(graph, swapped, (batch, length, heads * width), origins)


def head_major(graph: Graph, value: Value, shape: tuple[Dim, ...], origins: Iterable[str]) -> Value:
    """[B, S, heads*D] as `shape`, which is [B, heads, S, D]."""
    batch, heads, length, width = shape
    apart = reshape(graph, value, (batch, length, heads, width), origins)
    return transpose(graph, apart, (0, 2, 1, 3), origins)


def merged_axes(groups: Iterable[Group]) -> bool:
    """Whether every group has exactly one target axis: the reshape only joins axes."""
    return all(len(target) == 1 for _, target in groups)
