"""Unknown integers of the program verifier: their bounds, the inequalities that define them, and what follows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from math import floor

from isa.verification.linear import Linear, unknown
from isa.verification.simplex import maximise

REGISTER_LOW, REGISTER_HIGH = -(1 << 63), (1 << 63) - 1
"""Range of a scalar register."""

_MOST_UNKNOWNS = 64
"""Unknowns of one system of inequalities; programs need about ten."""

Facts = tuple[Linear, ...]
"""Expressions that are at least zero at a place of the program."""


@dataclass
class _Definition:
    low: int
    high: int
    operands: tuple[int, ...]
    facts: Facts = ()


@dataclass
class Unknowns:
    """All unknowns of one analysis. An unknown made with a key is the same value wherever the same key is given."""

    _definitions: list[_Definition] = field(default_factory=list[_Definition])
    _by_key: dict[Hashable, int] = field(default_factory=dict[Hashable, int])
    _maxima: dict[Hashable, int | None] = field(default_factory=dict[Hashable, "int | None"])

    def make(self, low: int, high: int, key: Hashable = None, operands: tuple[Linear, ...] = ()) -> Linear:
        """An unknown between `low` and `high`; with a key, the one made before under this key.

        Args:
            low: Smallest value, wherever the unknown occurs.
            high: Largest value, wherever the unknown occurs.
            key: Equal keys mean equal values; `None` makes a value of its own.
            operands: Expressions that it is computed from.
        """
        if key is not None and key in self._by_key:
            return unknown(self._by_key[key])
        if low == high:
            return Linear((), low)
        number = len(self._definitions)
        parents = tuple(parent for operand in operands for parent in operand.unknowns)
        self._definitions.append(_Definition(max(low, REGISTER_LOW), min(high, REGISTER_HIGH), parents))
        if key is not None:
            self._by_key[key] = number
        return unknown(number)

    def define(self, value: Linear, *facts: Linear) -> None:
        """State what always holds for an unknown just made; `value` may have turned out constant."""
        if len(value.terms) == 1:
            definition = self._definitions[value.terms[0][0]]
            if not definition.facts:
                definition.facts = facts

    def interval(self, value: Linear) -> tuple[int, int]:
        """Bounds from those of the single unknowns."""
        low = high = value.constant
        for number, factor in value.terms:
            each = self._definitions[number]
            first, second = each.low * factor, each.high * factor
            low += min(first, second)
            high += max(first, second)
        return low, high

    def upper(self, value: Linear, facts: Facts = ()) -> int | None:
        """An upper bound that takes the inequalities into account; `None` when they contradict each other."""
        if value.is_constant:
            return value.constant
        linear = Linear(value.terms)
        key = (linear, facts)
        if key not in self._maxima:
            self._maxima[key] = self._maximum(linear, facts)
        maximum = self._maxima[key]
        return None if maximum is None else maximum + value.constant

    def lower(self, value: Linear, facts: Facts = ()) -> int | None:
        """A lower bound, like `upper`."""
        bound = self.upper(-value, facts)
        return None if bound is None else -bound

    def at_most(self, value: Linear, limit: int, facts: Facts = ()) -> bool:
        """Whether value <= limit wherever `facts` hold."""
        if self.interval(value)[1] <= limit:
            return True
        bound = self.upper(value, facts)
        return bound is None or bound <= limit

    def at_least(self, value: Linear, limit: int, facts: Facts = ()) -> bool:
        """Whether value >= limit wherever `facts` hold."""
        return self.at_most(-value, -limit, facts)

    def depends_on(self, value: Linear, numbers: Iterable[int]) -> bool:
        """Whether one of `numbers` occurs in the expression or in the definitions behind it."""
        wanted = frozenset(numbers)
        seen: set[int] = set()
        waiting = list(value.unknowns)
        while waiting:
            number = waiting.pop()
            if number in wanted:
                return True
            if number not in seen:
                seen.add(number)
                definition = self._definitions[number]
                waiting += definition.operands
                waiting += [other for fact in definition.facts for other in fact.unknowns]
        return False

    def _closure(self, numbers: Iterable[int]) -> tuple[list[int], list[Linear]]:
        """The unknowns behind `numbers`, nearest first and not too many, and the inequalities among them.

        To leave inequalities out makes bounds wider, never wrong.
        """
        found = dict.fromkeys(numbers)
        facts: list[Linear] = []
        for number in (queue := list(found)):
            for fact in self._definitions[number].facts:
                fresh = [other for other in fact.unknowns if other not in found]
                if len(found) + len(fresh) <= _MOST_UNKNOWNS:
                    facts.append(fact)
                    found.update(dict.fromkeys(fresh))
                    queue += fresh
        return list(found), facts

    def _maximum(self, value: Linear, local: Facts) -> int | None:
        outer = [each for each in local if each.terms]
        numbers, facts = self._closure([*value.unknowns, *(number for each in outer for number in each.unknowns)])
        facts += outer
        if not facts:
            return self.interval(value)[1]
        place = {number: index for index, number in enumerate(numbers)}
        lows = [self._definitions[number].low for number in numbers]
        rows: list[tuple[list[int], int]] = []
        for index, number in enumerate(numbers):
            row = [0] * len(numbers)
            row[index] = 1
            rows.append((row, self._definitions[number].high - lows[index]))
        for fact in facts:
            row = [0] * len(numbers)
            bound = fact.constant
            for number, factor in fact.terms:
                row[place[number]] = -factor
                bound += factor * lows[place[number]]
            rows.append((row, bound))
        objective = [0] * len(numbers)
        for number, factor in value.terms:
            objective[place[number]] = factor
        maximum = maximise(objective, rows)
        if maximum is None:
            return None
        return floor(maximum) + sum(factor * lows[place[number]] for number, factor in value.terms)
