"""Integer expressions that are linear in named unknowns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """constant + sum of coefficient * unknown.

    Attributes:
        terms: (number of the unknown, coefficient) pairs, sorted, coefficients not zero.
        constant: Integer addend.
    """

    terms: tuple[tuple[int, int], ...] = ()
    constant: int = 0

    def __add__(self, other: Linear | int) -> Linear:
        if isinstance(other, int):
            return Linear(self.terms, self.constant + other)
        if not other.terms:
            return Linear(self.terms, self.constant + other.constant)
        return _collect((*self.terms, *other.terms), self.constant + other.constant)

    def __neg__(self) -> Linear:
        return self * -1

    def __sub__(self, other: Linear | int) -> Linear:
        return self + -other

    def __mul__(self, factor: int) -> Linear:
        if factor == 0:
            return Linear()
        return Linear(tuple((unknown, value * factor) for unknown, value in self.terms), self.constant * factor)

    @property
    def is_constant(self) -> bool:
        """Whether no unknown occurs."""
        return not self.terms

    @property
    def unknowns(self) -> tuple[int, ...]:
        """Unknowns that occur."""
        return tuple(unknown for unknown, _ in self.terms)

    def split(self, divisor: int) -> tuple[Linear, Linear]:
        """(quotient, rest) with self = divisor * quotient + rest: what is divisible goes to the quotient."""
        whole = tuple((unknown, value // divisor) for unknown, value in self.terms if value % divisor == 0)
        rest = tuple((unknown, value) for unknown, value in self.terms if value % divisor)
        return Linear(whole, self.constant // divisor), Linear(rest, self.constant % divisor)


def _collect(terms: Iterable[tuple[int, int]], constant: int) -> Linear:
    total: dict[int, int] = {}
    for unknown, value in terms:
        total[unknown] = total.get(unknown, 0) + value
    return Linear(tuple(sorted((unknown, value) for unknown, value in total.items() if value)), constant)


def unknown(number: int) -> Linear:
    """The unknown itself."""
    return Linear(((number, 1),))
