"""Sums and differences of named integers, as machine descriptions write latencies: `nCL + nBL + 3 - nCWL`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TERM = re.compile(r"\s*([+-]?)\s*(?:(?P<name>[A-Za-z_]\w*)|(?P<number>\d{1,9}))")


@dataclass(frozen=True)
class Formula:
    """constant + sum of sign * name.

    Attributes:
        terms: (sign, name) in the order of the text; sign is 1 or -1.
        constant: Sum of the integers of the text.
    """

    terms: tuple[tuple[int, str], ...]
    constant: int

    @property
    def names(self) -> frozenset[str]:
        """Names that occur."""
        return frozenset(name for _, name in self.terms)

    def value(self, numbers: object) -> int:
        """The formula with each name replaced by the attribute of `numbers` that has this name."""
        return self.constant + sum(sign * int(getattr(numbers, name)) for sign, name in self.terms)


def parse_formula(text: str, allowed: Iterable[str]) -> Formula:
    """Read a formula whose names all come from `allowed`; raises `ValueError` that says what is wrong."""
    names = frozenset(allowed)
    terms: list[tuple[int, str]] = []
    constant = position = 0
    while position < len(text.rstrip()):
        match = _TERM.match(text, position)
        if match is None or (position and not match[1]):
            raise ValueError(f"'{text}' is not a sum of timing names and integers")
        sign = -1 if match[1] == "-" else 1
        if match["name"] is None:
            constant += sign * int(match["number"])
        elif match["name"] in names:
            terms.append((sign, match["name"]))
        else:
            raise ValueError(f"'{match['name']}' in '{text}' is not a timing parameter")
        position = match.end()
    if not terms and not text.strip():
        raise ValueError("an empty formula")
    return Formula(tuple(terms), constant)
