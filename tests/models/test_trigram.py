"""The trigram yardstick is a probability and mixes its orders as Witten and Bell say."""

from __future__ import annotations

import numpy as np
import pytest
from trigram import Trigram


def test_probabilities_sum_to_one_after_every_history() -> None:
    model = Trigram(np.random.default_rng(0).integers(0, 7, 200), 9)
    np.testing.assert_allclose(model.probabilities.sum(axis=-1), 1.0)
    assert (model.probabilities > 0).all()


def test_orders_are_mixed_by_hand_computed_weights() -> None:
    model = Trigram(np.array([0, 1, 0, 1]), 2)
    # After 1: one successor seen once, P(0|1) = (1 + 1 * 0.5) / 2; after 0 1: the same, over P(0|1).
    assert model.probabilities[0, 1, 0] == pytest.approx((1 + 0.75) / 2)
    # After 1 1, never seen: what follows 1.
    assert model.probabilities[1, 1, 0] == pytest.approx(0.75)


def test_loss_is_the_mean_negative_log_likelihood() -> None:
    model = Trigram(np.array([0, 1, 0, 1]), 2)
    expected = -np.log([model.probabilities[0, 1, 1], model.probabilities[1, 1, 0]]).mean()
    assert model.loss(np.array([0, 1, 1, 0])) == pytest.approx(expected)
