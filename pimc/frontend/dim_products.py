"""Products of dimensions with several symbolic factors, as reshapes need them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from isa import InputError, UnsupportedError
from passes import Affine, Dim, product
from pimc.frontend.symbols import SymbolTable, dimensions_help

Factors = tuple[int, Counter[Affine]]
"""A number times symbolic factors, each without a common divisor of its coefficients."""


def quotient(symbols: SymbolTable, dividend: Sequence[Dim], divisor: Sequence[Dim]) -> Dim:
    """Product of one list of dimensions divided by the product of another one.

    Raises:
        InputError: Both are numbers and do not divide.
        UnsupportedError: The result is not affine.
    """
    number, factors, other_number, other_factors = _cancelled(symbols, dividend, divisor)
    divides = other_number != 0 and number % other_number == 0
    if other_factors or sum(factors.values()) > 1 or (factors and not divides):
        raise UnsupportedError(
            f"the dimension {_written(dividend)} / {_written(divisor)} is not affine",
            help=dimensions_help((*dividend, *divisor)),
        )
    if not divides:
        raise InputError(f"{_written(dividend)} elements cannot be divided into pieces of {_written(divisor)}")
    return product((number // other_number, *factors))


def same_product(symbols: SymbolTable, a: Sequence[Dim], b: Sequence[Dim]) -> None:
    """Demand that two shapes have the same number of elements; one pair of different factors is unified.

    Raises:
        InputError: They never have.
        UnsupportedError: They have only for some values of the symbols.
    """
    number, factors, other_number, other_factors = _cancelled(symbols, a, b)
    if number == other_number and factors == other_factors:
        return
    if not factors and not other_factors:
        raise InputError(f"{_written(a)} elements cannot take the shape {_written(b)}")
    if sum(factors.values()) > 1 or sum(other_factors.values()) > 1:
        raise UnsupportedError(
            f"it is not known whether {_written(a)} and {_written(b)} are the same number of elements",
            help=dimensions_help((*a, *b)),
        )
    left, right = product((number, *factors)), product((other_number, *other_factors))
    symbols.unify(left, right, f"giving {_written(a)} elements the shape {_written(b)}")


def _cancelled(
    symbols: SymbolTable, a: Sequence[Dim], b: Sequence[Dim]
) -> tuple[int, Counter[Affine], int, Counter[Affine]]:
    (number, factors), (other_number, other_factors) = _factors(symbols, a), _factors(symbols, b)
    common = factors & other_factors
    divisor = math.gcd(number, other_number) if number and other_number else 1
    return number // divisor, factors - common, other_number // divisor, other_factors - common


def _factors(symbols: SymbolTable, dims: Sequence[Dim]) -> Factors:
    number, factors = 1, Counter[Affine]()
    for dim in symbols.resolve_all(dims):
        if isinstance(dim, Affine):
            content = math.gcd(dim.constant, *(factor for _, factor in dim.terms))
            number, primitive = number * content, dim // content
            assert isinstance(primitive, Affine)
            factors[primitive] += 1
        else:
            number *= dim
    return (0, Counter()) if number == 0 else (number, factors)


def _written(dims: Sequence[Dim]) -> str:
    return f"[{', '.join(str(dim) for dim in dims)}]"
