"""Register values at one place of a program, and what is left of them where ways meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from isa.verification.linear import Linear
from isa.verification.unknowns import Facts, Unknowns


@dataclass(frozen=True)
class State:
    """What holds before an instruction.

    Attributes:
        registers: Value of each register, `None` where it may be unset.
        facts: Expressions that are at least zero.
        repeated_choice: Whether the instruction stands in a part that one iteration of a loop may skip and another run.
    """

    registers: tuple[Linear | None, ...]
    facts: Facts = ()
    repeated_choice: bool = False

    def with_register(self, number: int, value: Linear | None) -> State:
        """The state after a write to a register."""
        return replace(self, registers=(*self.registers[:number], value, *self.registers[number + 1 :]))


def join(unknowns: Unknowns, state: State | None, others: Sequence[State]) -> State | None:
    """What holds when control comes from any of the states; `None` when it comes from nowhere."""
    for other in others:
        state = other if state is None else _join_two(unknowns, state, other)
    return state


def _join_two(unknowns: Unknowns, first: State, second: State) -> State:
    registers = tuple(
        one if one == other else hull(unknowns, (one, first.facts), (other, second.facts))
        for one, other in zip(first.registers, second.registers, strict=True)
    )
    return replace(first, registers=registers, facts=tuple(fact for fact in first.facts if fact in second.facts))


def hull(unknowns: Unknowns, *values: tuple[Linear | None, Facts]) -> Linear | None:
    """A value of its own between the bounds of all values, each under its facts; `None` when one may be unset."""
    bounds: list[tuple[int, int]] = []
    for value, facts in values:
        if value is None:
            return None
        bounds.append(bounds_of(unknowns, value, facts))
    return unknowns.make(min(low for low, _ in bounds), max(high for _, high in bounds))


def bounds_of(unknowns: Unknowns, value: Linear, facts: Facts) -> tuple[int, int]:
    """The best known bounds of a value where the facts hold."""
    low, high = unknowns.interval(value)
    better_low, better_high = unknowns.lower(value, facts), unknowns.upper(value, facts)
    return low if better_low is None else better_low, high if better_high is None else better_high
