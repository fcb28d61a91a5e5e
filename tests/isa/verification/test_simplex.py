from __future__ import annotations

import itertools
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from isa.verification.linear import Linear, unknown
from isa.verification.simplex import maximise
from isa.verification.unknowns import Unknowns

SMALL = st.integers(-5, 5)
ROWS = st.lists(st.tuples(st.tuples(SMALL, SMALL), st.integers(-9, 9)), max_size=4)


def _best_corner(objective: tuple[int, int], rows: list[tuple[tuple[int, int], int]]) -> Fraction | None:
    """The maximum over two variables by looking at every corner."""
    lines = [*rows, ((-1, 0), 0), ((0, -1), 0)]
    values: list[Fraction] = []
    for (a, b), (c, d) in itertools.combinations(lines, 2):
        determinant = a[0] * c[1] - a[1] * c[0]
        if determinant:
            x, y = Fraction(b * c[1] - a[1] * d, determinant), Fraction(a[0] * d - b * c[0], determinant)
            if all(row[0] * x + row[1] * y <= bound for row, bound in lines):
                values.append(objective[0] * x + objective[1] * y)
    return max(values, default=None)


@given(st.tuples(SMALL, SMALL), st.tuples(st.integers(0, 9), st.integers(0, 9)), ROWS)
def test_the_maximum_is_that_of_the_best_corner(
    objective: tuple[int, int], box: tuple[int, int], rows: list[tuple[tuple[int, int], int]]
) -> None:
    bounded = [((1, 0), box[0]), ((0, 1), box[1]), *rows]
    assert maximise(objective, bounded) == _best_corner(objective, bounded)


@given(st.lists(st.tuples(st.integers(0, 3), SMALL), max_size=4), SMALL, st.integers(1, 7))
def test_a_split_puts_an_expression_together_again(terms: list[tuple[int, int]], constant: int, divisor: int) -> None:
    value = Linear((), constant)
    for number, factor in terms:
        value = value + unknown(number) * factor
    quotient, rest = value.split(divisor)
    assert quotient * divisor + rest == value
    assert 0 <= rest.constant < divisor


def test_contradictory_facts_prove_anything() -> None:
    unknowns = Unknowns()
    value = unknowns.make(0, 9)
    assert unknowns.upper(value, (value - 5,)) == 9
    assert unknowns.lower(value, (value - 5,)) == 5
    assert unknowns.upper(value, (value - 5, -value + 4)) is None
    assert unknowns.at_most(value, -100, (value - 5, -value + 4))


def test_long_chains_of_definitions_stay_cheap() -> None:
    unknowns = Unknowns()
    values = [unknowns.make(0, 1000)]
    for _ in range(500):
        values.append(unknowns.make(0, 1000))
        unknowns.define(values[-1], values[-2] - values[-1] - 1)
    assert unknowns.upper(values[20]) == 980
    assert unknowns.upper(values[-1]) == 1000 - 63
