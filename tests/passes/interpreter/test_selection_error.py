"""What a selection of keys loses: by hand on few keys, and in the meaning of policies."""

from __future__ import annotations

import numpy as np
import pytest

from passes import BestKeys, BinaryKeys, Cache, Compression
from passes.interpreter.compression import CompressedCache, Scoring, attend_compressed
from passes.interpreter.selection_error import SelectionError, selection_error
from passes.kv_policies import Selection

VALUES = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]], np.float32)
"""Of 3 tokens of one key head."""


def test_two_heads_of_three_keys_by_hand() -> None:
    scores = np.log(np.array([[2.0, 1.0, 1.0], [1.0, 1.0, 2.0]], np.float32))
    allowed, chosen = np.ones((2, 3), bool), np.array([[True, False, True], [True, True, True]])
    result = np.array([[0.75, 0.5], [0.0, 0.0]], np.float32)  # the exact result of head 0; the other one is all wrong
    found = selection_error(scores, allowed, chosen, VALUES, result)
    assert (found.queries, found.narrowed) == (2, 1)
    assert found.recall == 0.5  # the best two of head 0 are keys 0 and 1
    assert found.weight == pytest.approx(0.75)
    assert found.relative_error == pytest.approx(0.5)


def test_nothing_left_out_has_no_share_to_miss() -> None:
    everyone = np.ones((1, 3), bool)
    found = selection_error(np.zeros((1, 3), np.float32), everyone, everyone, VALUES, np.float32([[2 / 3, 2 / 3]]))
    assert (found.narrowed, found.recall, found.weight) == (0, 1.0, 1.0)
    assert found.relative_error < 1e-6


def test_sums_weigh_every_query_alike() -> None:
    total = SelectionError(2, 1, 0.5, 0.25, 1.0) + SelectionError(2, 3, 1.5, 1.75, 3.0)
    assert (total.recall, total.weight, total.relative_error) == (0.5, 0.5, 1.0)


def _error(selection: Selection, tokens: int = 40) -> SelectionError:
    state = CompressedCache(Cache("kv", 2, 16, 8, compression=Compression(selection=selection)), lambda x: x)
    random = np.random.default_rng(0)
    query, key, value = (random.standard_normal((1, tokens, n), np.float32) for n in (64, 32, 16))
    attend_compressed(state, query, key, value, 4, Scoring(0.25, 0.0, None, None))
    return state.error


def test_the_best_keys_by_exact_scores_are_all_found() -> None:
    found = _error(BestKeys(8))
    assert (found.queries, found.narrowed) == (4 * 40, 4 * 32)
    assert found.recall == 1.0
    assert 0 < found.relative_error < 1 - found.weight + 0.5


def test_signs_find_some_of_the_best_keys_and_more_with_a_wider_choice() -> None:
    few, more, every = (_error(BinaryKeys(count, 16, 16, 7)) for count in (4, 16, 40))
    assert few.recall < 1
    assert few.weight < more.weight < 1
    assert every.narrowed == 0
    assert every.relative_error > 0.05  # exact scores are others
