"""Products of symbolic dimensions, multiplied out."""

from __future__ import annotations

from collections.abc import Iterable

from passes.dims import Affine, Dim

Polynomial = dict[tuple[str, ...], int]
"""Coefficient by monomial; a monomial is its symbols, sorted."""


def equal_products(a: Iterable[Dim], b: Iterable[Dim]) -> bool:
    """Whether two lists of dimensions have the same product for all values of their symbols."""
    return multiplied(a) == multiplied(b)


def multiplied(dims: Iterable[Dim]) -> Polynomial:
    """The product of dimensions as a polynomial without zero coefficients."""
    result: Polynomial = {(): 1}
    for dim in dims:
        terms: Polynomial = {(): dim} if isinstance(dim, int) else _terms(dim)
        product: Polynomial = {}
        for monomial, factor in result.items():
            for other, other_factor in terms.items():
                key = tuple(sorted((*monomial, *other)))
                product[key] = product.get(key, 0) + factor * other_factor
        result = {monomial: factor for monomial, factor in product.items() if factor}
    return result


def _terms(dim: Affine) -> Polynomial:
    return {**{(name,): factor for name, factor in dim.terms}, (): dim.constant}
