"""What an import learns about symbolic dimensions: equalities that the graph demands, and lower bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isa import InputError, UnsupportedError
from passes import Affine, Dim, TensorType, symbol

_ANONYMOUS = re.compile(r"s\d+|unk__\d+|.*_axis\d+")


@dataclass(frozen=True)
class AtLeast:
    """A demand `larger >= smaller` that some node makes of the symbols.

    Attributes:
        larger: Dimension that must suffice.
        smaller: What it must hold.
        node: Name of the ONNX node that demands it.
    """

    larger: Dim
    smaller: Dim
    node: str


def lower_bound(dim: Dim) -> int | None:
    """Smallest value when every symbol is at least 0, `None` when there is none."""
    if isinstance(dim, int):
        return dim
    return dim.constant if all(factor > 0 for _, factor in dim.terms) else None


def at_most(a: Dim, b: Dim) -> bool:
    """Whether a <= b for all symbols at least 0."""
    low = lower_bound(b - a)
    return low is not None and low >= 0


class SymbolTable:
    """Substitution of symbols by dimensions, grown by unification.

    A symbol is only ever replaced by an expression in other symbols, never by a number: a number would be a guess from
    one length of the model.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.order = {name: position for position, name in enumerate(names)}
        self.demands: list[AtLeast] = []
        self._replaced: dict[str, Dim] = {}

    def resolve(self, dim: Dim) -> Dim:
        """The dimension with all known equalities applied."""
        if isinstance(dim, int) or not (dim.symbols & self._replaced.keys()):
            return dim
        total: Dim = dim.constant
        for name, factor in dim.terms:
            total = total + self._replaced.get(name, symbol(name)) * factor
        return total

    def resolve_all(self, dims: Sequence[Dim]) -> tuple[Dim, ...]:
        """`resolve` on each."""
        return tuple(self.resolve(dim) for dim in dims)

    def resolve_type(self, kind: TensorType) -> TensorType:
        """The type with all known equalities applied to its shape."""
        return TensorType(kind.dtype, self.resolve_all(kind.shape))

    def unify(self, a: Dim, b: Dim, why: str) -> Dim:
        """Make two dimensions equal and return them.

        Args:
            a: One dimension.
            b: The other one.
            why: What demands the equality, for the message.

        Raises:
            InputError: They are different numbers.
            UnsupportedError: They are equal only for some values of their symbols.
        """
        a, b = self.resolve(a), self.resolve(b)
        if a == b:
            return a
        if isinstance(a, int) and isinstance(b, int):
            raise InputError(f"{why} needs {a} = {b}: the model is inconsistent")
        found = self._solve(a - b)
        if found is None:
            raise UnsupportedError(
                f"{why} needs {a} = {b}, which does not hold for all lengths",
                help=dimensions_help((a, b)),
            )
        name, dim = found
        self._replace(name, dim)
        return self.resolve(a)

    def demand_at_least(self, larger: Dim, smaller: Dim, node: str) -> None:
        """Record that `larger >= smaller` must hold."""
        self.demands.append(AtLeast(larger, smaller, node))

    def settle(self) -> tuple[AtLeast, ...]:
        """Use the recorded demands at the end of an import; returns those that remain to be checked at run time.

        A symbol that must hold at least some other length (an attention mask that is read up to `past + seq`) is taken
        to be that length: nothing beyond is ever read.
        """
        for demand in self.demands:
            excess = self.resolve(demand.larger) - self.resolve(demand.smaller)
            gaining = [name for name, factor in excess.terms if factor > 0] if isinstance(excess, Affine) else []
            if len(gaining) == 1:
                needed = symbol(gaining[0]) - excess
                if isinstance(needed, Affine) and gaining[0] not in needed.symbols and lower_bound(needed) is not None:
                    self._replace(gaining[0], needed)
        open_demands: dict[tuple[Dim, Dim], AtLeast] = {}
        for demand in self.demands:
            larger, smaller = _sides(self.resolve(demand.larger) - self.resolve(demand.smaller))
            if not at_most(smaller, larger):
                open_demands.setdefault((larger, smaller), AtLeast(larger, smaller, demand.node))
        return tuple(open_demands.values())

    def _solve(self, difference: Dim) -> tuple[str, Dim] | None:
        """The symbol to eliminate from difference == 0 and its replacement."""
        if isinstance(difference, int):
            return None
        divisor = math.gcd(difference.constant, *(factor for _, factor in difference.terms))
        reduced = difference // divisor
        assert isinstance(reduced, Affine)
        candidates: list[tuple[bool, bool, int, str, Dim]] = []
        for name, factor in reduced.terms:
            replacement = (reduced - symbol(name) * factor) * -factor
            low = lower_bound(replacement)
            if abs(factor) == 1 and isinstance(replacement, Affine) and low is not None:
                rank = self.order.get(name, len(self.order))
                is_length = low >= 0  # for all values of its symbols: total = past + 1 rather than past = total - 1
                candidates.append((is_length, _ANONYMOUS.fullmatch(name) is not None, rank, name, replacement))
        if not candidates:
            return None
        *_, name, dim = max(candidates, key=lambda candidate: candidate[:4])
        return name, dim

    def _replace(self, name: str, dim: Dim) -> None:
        self._replaced[name] = dim
        self._replaced = {old: self.resolve(new) for old, new in self._replaced.items()}


def _sides(excess: Dim) -> tuple[Dim, Dim]:
    """The demand `excess >= 0` without minus signs: what must be at least what."""
    if isinstance(excess, int):
        return max(0, excess), max(0, -excess)
    larger, smaller = max(0, excess.constant), max(0, -excess.constant)
    sides: list[Dim] = [larger, smaller]
    for name, factor in excess.terms:
        sides[factor < 0] = sides[factor < 0] + symbol(name) * abs(factor)
    return sides[0], sides[1]


def dimensions_help(dims: Iterable[Dim]) -> str:
    """Names the symbols of some dimensions as what the user can bind."""
    names = sorted({name for dim in dims if isinstance(dim, Affine) for name in dim.symbols})
    return "bind the dimensions that it depends on: " + " ".join(f"--dim {name}=N" for name in names)
