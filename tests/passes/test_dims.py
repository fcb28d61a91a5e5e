"""Affine dimensions: arithmetic is that of the numbers they stand for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import GraphError
from passes.dims import Affine, Dim, bind, evaluate, parse, product, symbol

NOT_AFFINE = "is not affine\nhelp: bind one of its symbols"
NAMES = ("batch", "past", "seq")
VALUES = st.fixed_dictionaries({name: st.integers(0, 1000) for name in NAMES})


@st.composite
def dims(draw: st.DrawFn) -> Dim:
    dim: Dim = draw(st.integers(-50, 50))
    for name in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
        dim = dim + symbol(name) * draw(st.integers(-5, 5))
    return dim


@given(dims(), dims(), st.integers(-7, 7), VALUES)
def test_arithmetic_commutes_with_binding(a: Dim, b: Dim, factor: int, values: dict[str, int]) -> None:
    x, y = evaluate(a, values), evaluate(b, values)
    assert evaluate(a + b, values) == x + y
    assert evaluate(a - b, values) == x - y
    assert evaluate(b - a, values) == y - x
    assert evaluate(a * factor, values) == x * factor
    assert evaluate(-a, values) == -x


@given(dims(), st.integers(1, 9), VALUES)
def test_exact_division_undoes_multiplication(a: Dim, divisor: int, values: dict[str, int]) -> None:
    assert (a * divisor) // divisor == a


@given(dims())
def test_text_round_trip(a: Dim) -> None:
    assert parse(str(a)) == a


@given(dims(), st.sampled_from(NAMES), st.integers(0, 99), VALUES)
def test_binding_in_two_steps(a: Dim, name: str, number: int, values: dict[str, int]) -> None:
    assert evaluate(bind(a, {name: number}), values) == evaluate(a, {**values, name: number})


def test_an_expression_without_symbols_is_a_number() -> None:
    assert symbol("seq") - symbol("seq") == 0
    assert isinstance(symbol("seq") * 0, int)
    assert product((2, symbol("seq"), 3)) == symbol("seq") * 6


def test_equal_expressions_are_equal_and_hash_alike() -> None:
    a, b = symbol("seq") + symbol("past") + 1, symbol("past") + 1 + symbol("seq")
    assert a == b
    assert hash(a) == hash(b)
    assert str(a) == "past + seq + 1"
    assert isinstance(a, Affine)
    assert a.symbols == {"past", "seq"}


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda: symbol("a") * symbol("b"), f"error: the dimension (a) * (b) {NOT_AFFINE}"),
        (lambda: symbol("a") // 2, f"error: the dimension (a) / 2 {NOT_AFFINE}"),
        (lambda: symbol("a") // symbol("b"), f"error: the dimension (a) / (b) {NOT_AFFINE}"),
        (lambda: evaluate(symbol("a") + 1, {}), "error: the dimension 'a + 1' is not bound\nhelp: give --dim a=N"),
        (lambda: parse("a*b"), "error: 'a*b' is not an affine dimension"),
    ],
)
def test_what_is_not_affine_is_refused(operation: object, message: str) -> None:
    assert callable(operation)
    with pytest.raises(GraphError) as caught:
        operation()
    assert str(caught.value) == message


def test_a_dimension_divided_by_itself_is_one() -> None:
    assert (symbol("past") + symbol("seq")) // (symbol("seq") + symbol("past")) == 1
