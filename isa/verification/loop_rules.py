"""Registers at the top of any iteration of a loop, and after the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from isa.verification.linear import Linear
from isa.verification.register_state import State, bounds_of, hull
from isa.verification.unknowns import REGISTER_HIGH, REGISTER_LOW, Unknowns

Trial = Callable[[State], "State | None"]
"""The state at the end of an iteration that begins with a given state, `None` when the end is not reached."""


def loop_counter(unknowns: Unknowns, depth: int, count: Linear) -> Linear:
    """The iteration number of a loop that runs `count` times: 0 <= counter <= count - 1.

    Loops of the same depth that run equally often share it, as they are never active at once; `state_after` takes care
    that no value after a loop depends on its counter.
    """
    high = max(bounds_of(unknowns, count, ())[1] - 1, 0)
    counter = unknowns.make(0, high, ("loop", depth, count), (count,))
    unknowns.define(counter, count - 1 - counter)
    return counter


@dataclass
class LoopBody:
    """One loop.

    Attributes:
        unknowns: Unknowns of the analysis.
        register: Register that shows the iteration number.
        written: Registers that the body writes.
        count: Number of iterations.
        counter: Iteration number.
    """

    unknowns: Unknowns
    register: int
    written: frozenset[int]
    count: Linear
    counter: Linear
    _steps: dict[int, int] = field(default_factory=dict[int, int])

    def first_state(self, before: State, trial: Trial) -> State:
        """The state at the top of any iteration.

        The body is walked on trial from unknown registers. A register that comes out as itself plus a constant is
        (value before the loop) + constant * counter. One that does not depend on the iteration before lies between both
        values. For the rest it is assumed that they keep the bounds of the value before the loop, widened to zero;
        those that break the assumption in a further trial may have any value.
        """
        facts = before.facts
        if not self.unknowns.at_least(self.count, 1, facts):
            facts = (*facts, self.count - 1)
        top = replace(before.with_register(self.register, self.counter), facts=facts)
        carried = [number for number in sorted(self.written - {self.register}) if top.registers[number] is not None]
        anything = {number: self.unknowns.make(REGISTER_LOW, REGISTER_HIGH) for number in carried}
        end = trial(_with_registers(top, anything))
        if end is None or not carried:
            return top
        guessed: list[int] = []
        for number in carried:
            value = self._value_at_top(number, top, end, anything)
            if value is None and end.registers[number] is not None:
                guessed.append(number)
            else:
                top = top.with_register(number, value)
        return self._with_bounds(top, guessed, trial)

    def _value_at_top(self, number: int, top: State, end: State, anything: Mapping[int, Linear]) -> Linear | None:
        """The value of a register, or `None` when it depends on the iteration before in another way (or is unset)."""
        before, after = top.registers[number], end.registers[number]
        if before is None or after is None:
            return None
        step = after - anything[number]
        if step.is_constant:
            self._steps[number] = step.constant
            return before + self.counter * step.constant
        if any(self.unknowns.depends_on(after, value.unknowns) for value in anything.values()):
            return None
        return hull(self.unknowns, (before, top.facts), (after, end.facts))

    def _with_bounds(self, top: State, guessed: list[int], trial: Trial) -> State:
        ranges: dict[int, tuple[int, int]] = {}
        for number in guessed:
            value = top.registers[number]
            assert value is not None
            low, high = bounds_of(self.unknowns, value, top.facts)
            ranges[number] = min(low, 0), max(high, 0)
        while True:
            values = {number: self.unknowns.make(*bounds) for number, bounds in ranges.items()}
            state = _with_registers(top, values)
            broken = self._broken(trial(state) if ranges else None, ranges)
            if not broken:
                return state
            ranges.update({number: (REGISTER_LOW, REGISTER_HIGH) for number in broken})

    def _broken(self, end: State | None, ranges: Mapping[int, tuple[int, int]]) -> list[int]:
        """Registers that leave their range within an iteration."""
        broken: list[int] = []
        for number, (low, high) in ranges.items():
            value = None if end is None else end.registers[number]
            if end is None or value is None or (low, high) == (REGISTER_LOW, REGISTER_HIGH):
                continue
            if not self.unknowns.at_least(value, low, end.facts) or not self.unknowns.at_most(value, high, end.facts):
                broken.append(number)
        return broken

    def state_after(self, before: State, end: State | None) -> State | None:
        """The state after the loop; `end` is that at the end of an iteration."""
        runs = self.unknowns.at_least(self.count, 1, before.facts)
        if end is None:
            return None if runs else before
        state = before
        for number in sorted(self.written | {self.register}):
            state = state.with_register(number, self._value_after(number, before, end, runs))
        return state

    def _value_after(self, number: int, before: State, end: State, runs: bool) -> Linear | None:
        start, value = before.registers[number], end.registers[number]
        if number in self._steps and start is not None:
            return start + self.count * self._steps[number]
        if value is None or (not runs and start is None):
            return None
        if not runs:
            return hull(self.unknowns, (start, before.facts), (value, end.facts))
        if self.unknowns.depends_on(value, self.counter.unknowns):
            return hull(self.unknowns, (value, end.facts))
        return value


def _with_registers(state: State, values: Mapping[int, Linear]) -> State:
    for number, value in values.items():
        state = state.with_register(number, value)
    return state
