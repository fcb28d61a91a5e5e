"""Lengths that are known when a program runs: the model's symbols in registers, and their largest values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from isa import Indexed
from passes import Dim
from pimc.backend.emitter import Emitter

EARLIER = "@earlier"
"""Symbol of the number of tokens in the cache, which models without cache inputs have no name for."""


@dataclass(frozen=True)
class Extents:
    """The symbols of a graph as registers.

    Attributes:
        emitter: Receives the instructions that compute lengths.
        registers: Register of each symbol.
        largest: Largest value of each symbol.
        context: Names of symbols whose sum is bounded, such as past and new tokens.
        context_limit: Largest value of their sum.
    """

    emitter: Emitter
    registers: Mapping[str, int]
    largest: Mapping[str, int]
    context: frozenset[str] = frozenset()
    context_limit: int = 0

    def capacity(self, dim: Dim) -> int:
        """Largest value of a dimension."""
        if isinstance(dim, int):
            return dim
        free = dim.constant
        shared: list[tuple[int, int]] = []
        for name, factor in dim.terms:
            if name in self.context and factor > 0:
                shared.append((factor, self.largest[name]))
            else:
                free += factor * (self.largest[name] if factor > 0 else 0)
        return max(free + self._bounded(shared), 0)

    def _bounded(self, terms: list[tuple[int, int]]) -> int:
        """Largest sum of factor * value, where the values have bounds and a common limit."""
        left, total = self.context_limit, 0
        for factor, largest in sorted(terms, reverse=True):
            taken = min(left, largest)
            total += factor * taken
            left -= taken
        return total

    @contextmanager
    def operand(self, dim: Dim) -> Iterator[int | Indexed]:
        """The dimension as an operand value, in a register for the time of the block where that needs one."""
        if isinstance(dim, int):
            yield dim
            return
        if len(dim.terms) == 1 and dim.terms[0][1] == 1 and dim.constant >= 0:
            yield Indexed(dim.constant, self.registers[dim.terms[0][0]])
            return
        register = self.register(dim)
        yield Indexed(0, register)
        self.emitter.release(register)

    def register(self, dim: Dim) -> int:
        """A new register that holds the dimension; the caller releases it."""
        result = self.emitter.register()
        if isinstance(dim, int):
            self.emitter.emit("li", result, dim)
            return result
        self.emitter.emit("li", result, dim.constant)
        for name, factor in dim.terms:
            if factor == 1:
                self.emitter.emit("add", result, result, Indexed(0, self.registers[name]))
                continue
            term = self.emitter.scalar("mul", self.registers[name], factor)
            self.emitter.emit("add", result, result, Indexed(0, term))
            self.emitter.release(term)
        return result
