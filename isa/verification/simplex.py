"""Linear maximisation in exact integer arithmetic, for the small systems of the program verifier."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import gcd


def maximise(objective: Sequence[int], rows: Sequence[tuple[Sequence[int], int]]) -> Fraction | None:
    """The largest objective . x over rational x >= 0 with coefficients . x <= bound for every row.

    Simplex method with Bland's rule on a tableau of integers; each row is kept free of common factors. The caller
    bounds every variable, so a maximum exists unless no x satisfies the rows.

    Returns:
        The maximum, or `None` when the rows contradict each other.
    """
    tableau = _Tableau(len(objective), rows)
    if not tableau.make_feasible():
        return None
    return tableau.optimise(objective)


class _Tableau:
    """Rows: coefficients of the variables, the slacks and one artificial variable, then the right-hand side."""

    def __init__(self, variables: int, rows: Sequence[tuple[Sequence[int], int]]) -> None:
        self.artificial = variables + len(rows)
        self.rows = [
            [*coefficients, *(int(slack == number) for slack in range(len(rows))), -1, bound]
            for number, (coefficients, bound) in enumerate(rows)
        ]
        self.basis = [variables + number for number in range(len(rows))]

    def make_feasible(self) -> bool:
        """Reach a basis with right-hand sides of at least zero; whether there is one."""
        worst = min(range(len(self.rows)), key=lambda number: self.rows[number][-1], default=None)
        if worst is None or self.rows[worst][-1] >= 0:
            self._drop_artificial()
            return True
        self._pivot(worst, self.artificial)
        goal = [0] * (self.artificial + 2)
        goal[self.artificial] = 1
        if self._climb(goal) < 0:
            return False
        if self.artificial in self.basis:
            row = self.basis.index(self.artificial)
            column = next((index for index, value in enumerate(self.rows[row][: self.artificial]) if value), None)
            if column is not None:
                self._pivot(row, column)
        self._drop_artificial()
        return True

    def _drop_artificial(self) -> None:
        for row in self.rows:
            row[self.artificial] = 0

    def optimise(self, objective: Sequence[int]) -> Fraction:
        """The maximum from a feasible basis."""
        goal = [0] * (self.artificial + 2)
        goal[: len(objective)] = [-value for value in objective]
        return self._climb(goal)

    def _climb(self, goal: list[int]) -> Fraction:
        """Pivot until no variable improves; `goal` states scale * z + coefficients . x = right-hand side."""
        scale = 1
        for row, basic in zip(self.rows, self.basis, strict=True):
            goal, scale = _eliminate(goal, scale, row, basic)
        while True:
            entering = next((column for column, value in enumerate(goal[:-1]) if value < 0), None)
            if entering is None:
                return Fraction(goal[-1], scale)
            leaving = self._leaving(entering)
            self._pivot(leaving, entering)
            goal, scale = _eliminate(goal, scale, self.rows[leaving], entering)

    def _leaving(self, column: int) -> int:
        """Row with the smallest ratio; among equal ones that of the smallest variable."""
        best = -1
        for number, row in enumerate(self.rows):
            if row[column] <= 0:
                continue
            if best < 0:
                best = number
                continue
            ahead = row[-1] * self.rows[best][column] - self.rows[best][-1] * row[column]
            if ahead < 0 or (ahead == 0 and self.basis[number] < self.basis[best]):
                best = number
        return best

    def _pivot(self, row: int, column: int) -> None:
        if self.rows[row][column] < 0:
            self.rows[row] = [-value for value in self.rows[row]]
        for number, other in enumerate(self.rows):
            if number != row and other[column]:
                self.rows[number], _ = _eliminate(other, 0, self.rows[row], column)
        self.basis[row] = column


def _eliminate(row: list[int], scale: int, pivot_row: Sequence[int], column: int) -> tuple[list[int], int]:
    """`row` (and the scale of its left-hand side) with the variable of `column` removed; the pivot is positive."""
    factor, pivot = row[column], pivot_row[column]
    if not factor:
        return row, scale
    mixed = [value * pivot - other * factor for value, other in zip(row, pivot_row, strict=True)]
    divisor = gcd(scale * pivot, *mixed) or 1
    return [value // divisor for value in mixed], scale * pivot // divisor
