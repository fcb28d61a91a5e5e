"""Attention masks as predicates: which key may serve which query, found by evaluating the mask at chosen lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import GraphError
from passes.dims import Dim, evaluate
from passes.interpreter.interpret import evaluate as evaluate_values
from passes.ir import Graph, Value
from passes.ops import INTEGER_DTYPES
from passes.recognition.mask_lengths import MASKED_BELOW, integer_constants, length_choices, longest_table
from passes.recognition.mask_sources import mask_sources
from passes.recognition.matching import Refusal

_MOST_NUMBERED = 64
"""Elements of a key mask that is tried with other numbers than 0 and 1."""

Allowed = NDArray[np.bool_]
"""[B, H, S, T], axes of size 1 where it does not matter: true where the key may be attended to."""


@dataclass(frozen=True)
class MaskTerm:
    """One operand that masks scores, or is added to them.

    Attributes:
        value: Broadcasts to the scores.
        kind: `additive` (a number; 0 and huge negative numbers mask), `allowed` (bool, true: attend) or `masked` (bool,
            true: not).
        factor: What an additive value is multiplied by.
        low: What a score becomes that another kind of term masks.
        scores: Shape of the scores at this place; empty when it is [B, H, S, T].
    """

    value: Value
    kind: str
    factor: float = 1.0
    low: float = -np.inf
    scores: tuple[Dim, ...] = ()


@dataclass(frozen=True)
class Predicate:
    """What a mask means.

    Attributes:
        causal: Key j serves query i only when j <= P + i, with P = T - S.
        window: When above 0, only when j > P + i - window.
        key_mask: Value with one element for each [B|1, T]; a key serves only where it is not zero. `None` when the mask
            does not read one.
    """

    causal: bool = False
    window: int = 0
    key_mask: Value | None = None

    def __str__(self) -> str:
        words = ["causal" if self.causal else "full"]
        words += [f"window {self.window}"] if self.window else []
        words += ["key mask"] if self.key_mask is not None else []
        return ", ".join(words)


@dataclass(frozen=True)
class _Sample:
    """The mask at one choice of lengths and inputs: what it allows, and the contents of the key mask [B, T]."""

    queries: int
    keys: int
    allowed: Allowed
    key_mask: Allowed | None


@dataclass(frozen=True)
class _Mask:
    """The terms as a graph of their own, which has the key mask as its only input."""

    part: Graph
    values: list[Value]
    terms: Sequence[MaskTerm]
    key_mask: Value | None
    queries: Dim
    keys: Dim
    shares_positions: bool


def classify(terms: Sequence[MaskTerm], queries: Dim, keys: Dim, shares_positions: bool = True) -> Predicate:
    """The predicate that the terms are together.

    The terms are evaluated at lengths below, at and above every integer constant that they are computed with, with
    key masks of ones and random ones. A predicate is accepted when it agrees in every row in which it allows a key and,
    where keys are masked, the terms allow one too: the result of a query without any key is arbitrary.

    Args:
        terms: Operands of one attention; a key is attended to when all of them allow it.
        queries: S.
        keys: T.
        shares_positions: Whether the queries are the last S of the T positions that the keys have; in
            cross-attention they are not, and a mask can only be full.

    Raises:
        Refusal: No predicate agrees everywhere, or the mask reads something else than a key mask.
    """
    if not terms:
        return Predicate()
    reasons: list[str] = []
    for mask in _masks(terms, queries, keys, shares_positions):
        try:
            return _predicate(mask)
        except Refusal as refusal:
            reasons.append(str(refusal))
    raise Refusal(reasons[0])


def _predicate(mask: _Mask) -> Predicate:
    constants = integer_constants(mask.part, mask.values)
    candidates = list(_candidates(constants, mask.key_mask, mask.shares_positions))
    longest_tested = 0
    for sample in _samples(mask, constants):
        longest_tested = max(longest_tested, sample.keys)
        candidates = [candidate for candidate in candidates if _agrees(candidate, sample)]
        if not candidates:
            raise Refusal("the mask is neither causal, windowed nor full, with or without a key mask")
    _check_range(constants, longest_tested, longest_table(mask.part), mask.keys)
    return candidates[0]


def is_mask(term: MaskTerm, queries: Dim, keys: Dim, shares_positions: bool = True) -> bool:
    """Whether a term only masks, as far as its first samples tell; classification decides.

    A term that cannot be evaluated, as it depends on other things than lengths and a key mask, is none.
    """
    try:
        mask = next(_masks([term], queries, keys, shares_positions))
        return any(True for _ in islice(_samples(mask, integer_constants(mask.part, mask.values)[:2]), 6))
    except Refusal:
        return False


def _masks(terms: Sequence[MaskTerm], queries: Dim, keys: Dim, shares_positions: bool) -> Iterator[_Mask]:
    for source in mask_sources([term.value for term in terms], keys):
        yield _Mask(source.part, source.values, terms, source.key_mask, queries, keys, shares_positions)


def _check_range(constants: list[int], longest_tested: int, longest: int | None, keys: Dim) -> None:
    if longest_tested == 0:
        raise Refusal("the mask could not be evaluated at any length")
    if isinstance(keys, int) or longest is not None:
        return
    for constant in constants:
        if constant >= longest_tested:
            raise Refusal(f"the mask is computed with {constant}, which is more than can be tested")


def _samples(mask: _Mask, constants: list[int]) -> Iterator[_Sample]:
    generator = np.random.default_rng(0)
    limit = longest_table(mask.part)
    for numbers in length_choices(mask.part, constants, mask.queries, mask.keys, mask.shares_positions):
        length, total = evaluate(mask.queries, numbers), evaluate(mask.keys, numbers)
        if limit is not None and total > limit:
            continue
        for given in _key_masks(generator, mask.key_mask, numbers):
            inputs = {value.name: given.astype(value.type.dtype) for value in mask.part.inputs if given is not None}
            try:
                arrays = evaluate_values(mask.part, mask.values, numbers, inputs)
            except GraphError as problem:
                raise Refusal(f"the mask cannot be evaluated: {problem.message}") from None
            rows = None if given is None else given.reshape(given.shape[0], total) != 0
            try:
                yield _Sample(length, total, _conjunction(mask.terms, arrays), rows)
            except Refusal:
                if given is None or given.max(initial=0) <= 1:
                    raise  # other contents than 0 and 1 mean nothing to arithmetic as (1 - mask) * lowest


def _key_masks(
    generator: np.random.Generator, key_mask: Value | None, numbers: dict[str, int]
) -> Iterator[NDArray[np.int64] | None]:
    """A random key mask, and one of ones, without which a masked key could hide where a window begins.

    Short ones of integers are also tried with numbers that some models tell sequences of one row apart by.
    """
    if key_mask is None:
        yield None
        return
    shape = tuple(evaluate(dim, numbers) for dim in key_mask.shape)
    yield (generator.integers(0, 3, shape) > 0).astype(np.int64)
    yield np.ones(shape, np.int64)
    if key_mask.type.dtype in INTEGER_DTYPES and np.prod(shape) <= _MOST_NUMBERED:
        yield generator.integers(0, 4, shape)


def _conjunction(terms: Sequence[MaskTerm], arrays: Sequence[NDArray[Any]]) -> Allowed:
    allowed: Allowed = np.ones((1, 1, 1, 1), np.bool_)
    for term, array in zip(terms, arrays, strict=True):
        if term.kind == "additive":
            added = np.asarray(array, np.float64) * term.factor
            masked = added <= MASKED_BELOW
            if not np.all(masked | (added == 0)):
                raise Refusal("the mask adds other numbers than 0 and minus infinity: it is a bias")
            allowed = allowed & ~masked
        else:
            allowed = allowed & (array.astype(np.bool_) == (term.kind == "allowed"))
    return allowed


def _candidates(constants: list[int], key_mask: Value | None, shares_positions: bool) -> Iterator[Predicate]:
    windows = sorted({constant + step for constant in constants for step in (-1, 0, 1)})
    for mask in (None,) if key_mask is None else (key_mask, None):
        if shares_positions:
            yield Predicate(True, 0, mask)
        yield Predicate(False, 0, mask)
        for window in windows:
            if window > 0 and shares_positions:
                yield Predicate(True, window, mask)


def _agrees(candidate: Predicate, sample: _Sample) -> bool:
    query = sample.keys - sample.queries + np.arange(sample.queries)[:, None]
    key = np.arange(sample.keys)[None, :]
    expected = np.ones((1, 1, sample.queries, sample.keys), np.bool_)
    if candidate.causal:
        expected = expected & (key <= query)
    if candidate.window:
        expected = expected & (key > query - candidate.window)
    if candidate.key_mask is not None and sample.key_mask is not None:
        expected = expected & sample.key_mask[:, None, None, :]
    decided = expected.any(axis=-1, keepdims=True)
    if sample.key_mask is not None and not sample.key_mask.all():
        decided = decided & sample.allowed.any(axis=-1, keepdims=True)
    return bool(np.all((sample.allowed == expected) | ~decided))
