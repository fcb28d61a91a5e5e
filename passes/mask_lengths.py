"""At which lengths a mask has to be evaluated to know it: around every integer that it is computed with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from passes.dims import Affine, Dim, evaluate
from passes.interpreter_ops import Array
from passes.ir import Attribute, Graph, Value
from passes.ops import FLOAT_DTYPES
from passes.rewriting import attribute_parts

_SMALL_LENGTHS = (0, 1, 2, 3, 5)
_SHORT_RUNS = (1, 2, 3)
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

    Floating-point numbers that mask a score, or that a mask is multiplied by, are not among them.
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
        if np.isfinite(number) and number == np.rint(number) and not is_mask:
            yield int(abs(number))


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
    around = sorted({n + d for n in constants for d in (-1, 0, 1, 2) if n + d >= 0} | set(_SMALL_LENGTHS))
    largest = _LARGEST_SCORES_WITH_PAST if every - own else _LARGEST_SCORES
    for length in [n for n in around if n > 0] if own else [1]:
        for before in around if every - own else [0]:
            numbers = {**dict.fromkeys(batch, _BATCH), **dict.fromkeys(every, before), **dict.fromkeys(own, length)}
            run, total = evaluate(queries, numbers), evaluate(keys, numbers)
            is_short = length in _SHORT_RUNS or before <= 1
            fits = run <= total or not shares_positions
            if is_short and fits and run * total <= (_LARGEST_SCORES if run <= 3 else largest):
                yield numbers


def _symbols(dim: Dim) -> frozenset[str]:
    return dim.symbols if isinstance(dim, Affine) else frozenset()
