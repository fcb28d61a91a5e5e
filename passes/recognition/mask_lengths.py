"""At which lengths a mask has to be evaluated to know it: around every integer that it is computed with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from passes.dims import Affine, Dim, evaluate
from passes.interpreter.operations import Array
from passes.ir import Attribute, Graph, Value
from passes.ops import FLOAT_DTYPES
from passes.rewriting import attribute_parts

_SMALL_LENGTHS = (0, 1, 2, 3, 5)
_SHORT_RUNS = (1, 2, 3)
_DENSE_LENGTH = 512
_DENSE_PAST = 4096
_MOST_DERIVED = 6
_LARGEST_DERIVED = 1 << 15
_LARGEST_SCORES = 1 << 25
_LARGEST_SCORES_WITH_PAST = 1 << 22
_NOT_A_LENGTH = (1 << 31) - 1
MASKED_BELOW = -9999.0
"""Numbers at or below this one, added to a score, mask it. Exporters write minus infinity, the lowest float32, -65504,
-1e9 or -10000; in binary32 the softmax is exactly 0 wherever a score lies 104 or more below the largest of its row, so
that all of these are the same as long as scores differ by less than 9800."""
_BATCH = 2


def integer_constants(part: Graph, targets: Sequence[Value]) -> list[int]:
    """Magnitudes of all integers that the targets are computed with: in constants, attributes and dimensions.

    Fractions count as the integer below them. Floating-point numbers that mask a score, or that a mask is multiplied
    by, are not among them.
    """
    found: set[int] = set()
    for value in {*part.values(), *targets}:
        found.update(_numbers(value.shape))
        if value.constant is not None and value.constant.size <= 16 and value.type.dtype != "bool":
            found.update(_whole_numbers(value, value.constant))
    for node in part.nodes:
        for attribute in node.attributes.values():
            found.update(_numbers(attribute))
    return sorted(number for number in found if number < _NOT_A_LENGTH)


def _whole_numbers(value: Value, array: Array) -> Iterator[int]:
    is_factor = bool(value.uses) and all(user.op == "mul" for user in value.users)
    for number in array.astype(np.float64).reshape(-1):
        is_low = number <= MASKED_BELOW or (is_factor and number >= -MASKED_BELOW)
        is_mask = is_low and value.type.dtype in FLOAT_DTYPES
        if np.isfinite(number) and not is_mask:
            yield int(abs(number))


def derived_lengths(part: Graph, constants: Sequence[int]) -> list[int]:
    """Lengths at which a mask may change that is computed with sums, products and quotients of its constants.

    Everything up to one long run is looked at, whatever the arithmetic; beyond it the shortest sums and products of two
    constants.
    """
    scales = {round(1 / abs(number)) for number in _fractions(part)}
    terms = sorted({number for number in constants if number > _SMALL_LENGTHS[-2]} | scales)
    pairs = {joined for a in terms for b in terms for joined in (a + b, a * b)}
    beyond = sorted(number for number in pairs if _DENSE_LENGTH < number <= _LARGEST_DERIVED)
    return [_DENSE_LENGTH, *beyond[:_MOST_DERIVED]]


def _fractions(part: Graph) -> Iterator[float]:
    for value in part.values():
        if value.constant is not None and value.constant.size <= 16 and value.type.dtype in FLOAT_DTYPES:
            yield from (float(x) for x in value.constant.astype(np.float64).reshape(-1) if 1e-4 < abs(x) < 1)


def _numbers(attribute: Attribute) -> Iterator[int]:
    for part in attribute_parts(attribute):
        if isinstance(part, Affine):
            yield abs(part.constant)
        elif isinstance(part, int):
            yield abs(part)


def longest_table(part: Graph) -> int | None:
    """Size of the smallest constant table that parts are cut from: the mask is not defined beyond it."""
    sizes = [
        size
        for node in part.nodes
        if node.op == "slice" and node.operand(0).is_constant
        for size in node.operand(0).shape[node.attributes["axis"] : node.attributes["axis"] + 1]
        if isinstance(size, int)
    ]
    return min(sizes, default=None)


def length_choices(
    part: Graph, constants: Sequence[int], queries: Dim, keys: Dim, shares_positions: bool = True
) -> Iterator[dict[str, int]]:
    """Numbers for all symbols, small ones first.

    Symbols of S take every length around the constants, and so do those that only T has (the past), but not both at
    once a large one. There may be more queries than keys only when they do not share their positions.
    """
    own, every = _symbols(queries), _symbols(keys) | _symbols(queries)
    batch = {name for value in part.values() for name in value.type.symbols} - every
    largest = _LARGEST_SCORES_WITH_PAST if every - own else _LARGEST_SCORES
    for length, before in _runs_and_pasts(part, constants, bool(own), bool(every - own)):
        numbers = {**dict.fromkeys(batch, _BATCH), **dict.fromkeys(every, before), **dict.fromkeys(own, length)}
        run, total = evaluate(queries, numbers), evaluate(keys, numbers)
        fits = run <= total or not shares_positions
        if fits and run * total <= (_LARGEST_SCORES if run <= 3 else largest):
            yield numbers


def _runs_and_pasts(part: Graph, constants: Sequence[int], has_run: bool, has_past: bool) -> Iterator[tuple[int, int]]:
    """Numbers for the symbols of S and for those that only T has: around the constants, then a few long ones."""
    around = sorted({n + d for n in constants for d in (-1, 0, 1, 2) if n + d >= 0} | set(_SMALL_LENGTHS))
    for length in [n for n in around if n > 0] if has_run else [1]:
        for before in around if has_past else [0]:
            if length in _SHORT_RUNS or before <= 1:
                yield length, before
    derived = derived_lengths(part, constants)
    if has_run:
        yield from ((n + 2, 0) for n in (derived[:1] if has_past else derived))
    if has_past:
        yield from ((1, n + 2) for n in (*derived, _DENSE_PAST))


def _symbols(dim: Dim) -> frozenset[str]:
    return dim.symbols if isinstance(dim, Affine) else frozenset()
