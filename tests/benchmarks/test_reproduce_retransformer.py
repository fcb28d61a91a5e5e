"""ReTransformer's rows: gains follow the closed form, and move when the machine does."""

import pytest

from benchmarks.reproduce_retransformer import (
    BASE,
    base_layer,
    efficiency,
    gains,
    machine_with,
    measured,
    rows,
    softmax_powers,
)
from isa import HybridSoftmax
from pimc.backend import CrossbarOptions


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
        assert abs(found[f"ReTransformer model {model}, scores without written keys: gain"].difference) < 0.02
        assert found[f"ReTransformer model {model}, whole attention: gain"].ours < 1
    assert found["ReTransformer: writes of keys and values against X"].ours == pytest.approx(2)


def test_decomposition_costs_energy_when_heads_share_x() -> None:
    assert efficiency(base_layer(False)) > efficiency(base_layer(True))


def test_operations_by_hand() -> None:
    """128 tokens: 4 x 512 x 512 and 2 x 512 x 2048 products a token, and 2 x 128 x 512 of attention; two operations."""
    assert BASE.operations == 2 * 128 * (4 * 512 * 512 + 2 * 512 * 2048 + 2 * 128 * 512)


def test_softmax_takes_the_published_powers_at_the_fitted_energies() -> None:
    found = {row.claim: row for row in rows()}
    for claim in ("softmax power", "softmax power, comparing and selecting", "softmax power against CMOS"):
        assert abs(found[f"ReTransformer: {claim}"].difference) < 0.005


@pytest.mark.parametrize(
    ("changed", "part", "factor"),
    [
        ({"compare_pj": 0.1932}, "softmax_compare", 2.0),
        ({"table_pj": 0.1209}, "softmax_table", 2.0),
        ({"logic_cycles": 20}, "softmax_select", 4110 / (4110 + 3780)),
        ({"compare_operations": 34}, "softmax_table", 4110 / (4110 + 3780)),
    ],
)
def test_softmax_power_moves_with_the_machine(changed: dict[str, float], part: str, factor: float) -> None:
    """A token of the base layer: 18 rounds of 21 operations of 10 cycles, and 33 look-ups of 64 elements."""
    base = machine_with()
    assert base.hybrid_softmax is not None
    unit = HybridSoftmax(**{**base.hybrid_softmax.model_dump(), **changed})
    other = base.model_copy(update={"hybrid_softmax": unit})
    before = softmax_powers(base_layer(True))[part]
    after = softmax_powers(measured(other, BASE, True, CrossbarOptions(schedule="rows")).statistics)[part]
    assert after / before == pytest.approx(factor)
