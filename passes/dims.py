"""Dimensions of tensors: integers, or affine expressions in symbols such as `past + seq`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isa import GraphError


@dataclass(frozen=True, order=True)
class Affine:
    """constant + sum of coefficient * symbol, with at least one symbol (otherwise it is an `int`).

    Attributes:
        terms: (symbol, coefficient) pairs, sorted by symbol, coefficients not zero.
        constant: Integer addend.
    """

    terms: tuple[tuple[str, int], ...]
    constant: int = 0

    def __str__(self) -> str:
        parts = [symbol if factor == 1 else f"{factor}*{symbol}" for symbol, factor in self.terms]
        if self.constant:
            parts.append(str(self.constant))
        return " + ".join(parts).replace("+ -", "- ")

    def __add__(self, other: Dim) -> Dim:
        terms = dict(self.terms)
        constant = self.constant
        if isinstance(other, Affine):
            for symbol, factor in other.terms:
                terms[symbol] = terms.get(symbol, 0) + factor
            constant += other.constant
        else:
            constant += other
        return _normal(terms, constant)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim) -> Dim:
        return self + (-other)

    def __rsub__(self, other: Dim) -> Dim:
        return (-self) + other

    def __mul__(self, factor: Dim) -> Dim:
        if isinstance(factor, Affine):
            raise GraphError(f"the dimension ({self}) * ({factor}) is not affine", help="bind one of its symbols")
        return _normal({symbol: value * factor for symbol, value in self.terms}, self.constant * factor)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: Dim) -> Dim:
        if isinstance(divisor, Affine):
            if divisor == self:
                return 1
            raise GraphError(f"the dimension ({self}) / ({divisor}) is not affine", help="bind one of its symbols")
        if self.constant % divisor or any(factor % divisor for _, factor in self.terms):
            raise GraphError(f"the dimension ({self}) / {divisor} is not affine", help="bind one of its symbols")
        return _normal({symbol: factor // divisor for symbol, factor in self.terms}, self.constant // divisor)

    @property
    def symbols(self) -> frozenset[str]:
        """Symbols that occur."""
        return frozenset(symbol for symbol, _ in self.terms)


Dim = int | Affine


def symbol(name: str) -> Affine:
    """The dimension that is just the symbol `name`."""
    return Affine(((name, 1),))


def _normal(terms: Mapping[str, int], constant: int) -> Dim:
    kept = tuple(sorted((name, factor) for name, factor in terms.items() if factor))
    return Affine(kept, constant) if kept else constant


def bind(dim: Dim, values: Mapping[str, int]) -> Dim:
    """Replace symbols by numbers; symbols that `values` lacks stay."""
    if isinstance(dim, int):
        return dim
    bound: Dim = dim.constant
    for name, factor in dim.terms:
        bound = bound + (values[name] * factor if name in values else symbol(name) * factor)
    return bound


def evaluate(dim: Dim, values: Mapping[str, int]) -> int:
    """The number that `dim` is under `values`; raises `GraphError` when a symbol is unbound."""
    bound = bind(dim, values)
    if isinstance(bound, Affine):
        missing = ", ".join(sorted(bound.symbols))
        raise GraphError(f"the dimension '{dim}' is not bound", help=f"give --dim {missing}=N")
    return bound


def product(dims: tuple[Dim, ...]) -> Dim:
    """Product of dimensions; at most one of them may be symbolic."""
    result: Dim = 1
    for dim in dims:
        result = result * dim
    return result


def parse(text: str) -> Dim:
    """Read `3`, `past`, `past + seq`, `2*seq + 1` back; raises `GraphError` on anything else."""
    total: Dim = 0
    for part in text.replace(" ", "").replace("-", "+-").split("+"):
        if not part:
            continue
        sign, part = (-1, part[1:]) if part.startswith("-") else (1, part)
        factor, _, name = part.rpartition("*")
        if factor and not factor.isdigit():
            raise GraphError(f"'{text}' is not an affine dimension")
        scale = sign * (int(factor) if factor else 1)
        total = total + (scale * int(name) if name.isdigit() else symbol(name) * scale)
    return total
