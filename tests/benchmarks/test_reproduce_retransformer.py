"""ReTransformer's rows: gains follow the closed form, and move when the machine does."""

import pytest

from benchmarks.reproduce_retransformer import BASE, base_layer, efficiency, gains, rows


@pytest.mark.parametrize(("vector_ns", "factor"), [(3.7, 1.0), (4.9, 1.0), (3.7, 2.0), (20.0, 2.0)])
def test_scores_gain_what_the_closed_form_says(vector_ns: float, factor: float) -> None:
    """n (2 t_m + t_w) against 3 n t_m, or n (t_w + t_m) where writing X outlasts Q and R."""
    write_ns = 7.2 * factor
    closed = (2 * vector_ns + write_ns) / (max(2 * vector_ns, write_ns) + vector_ns)
    assert gains(vector_ns, factor)[0] == pytest.approx(closed, rel=0.03)


def test_cheap_writes_make_decomposition_slower() -> None:
    assert gains(3.7, 0.1)[0] < 1 < gains(3.7, 1.0)[0]


def test_gains_are_near_the_published_ones_and_whole_attention_gains_nothing() -> None:
    found = {row.claim: row for row in rows()}
    for model in "AB":
        assert abs(found[f"scores without written keys, model {model}: gain"].difference) < 0.02
        assert found[f"whole attention, model {model}: gain"].ours < 1
    assert found["writes of keys and values against X"].ours == pytest.approx(2)


def test_decomposition_costs_energy_when_heads_share_x() -> None:
    assert efficiency(base_layer(False)) > efficiency(base_layer(True))


def test_operations_by_hand() -> None:
    """128 tokens: 4 x 512 x 512 and 2 x 512 x 2048 products a token, and 2 x 128 x 512 of attention; two operations."""
    assert BASE.operations == 2 * 128 * (4 * 512 * 512 + 2 * 512 * 2048 + 2 * 128 * 512)
