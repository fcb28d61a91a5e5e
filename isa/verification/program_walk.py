"""The registers of a program at every instruction, as expressions in the host's registers and loop counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from isa.costs import record_bytes
from isa.program import Entry, Indexed, Instruction, OperandValue, Program
from isa.spec import REGISTER_COUNT, Kind
from isa.verification.control_flow import loop_ends
from isa.verification.linear import Linear
from isa.verification.loop_rules import LoopBody, loop_counter
from isa.verification.register_state import State, bounds_of, join
from isa.verification.scalar_rules import RULES, RuleError
from isa.verification.unknowns import REGISTER_HIGH, REGISTER_LOW, Unknowns

_WORD_LOW, _WORD_HIGH = -(1 << 31), (1 << 31) - 1

Visitor = Callable[[int, State], None]
"""Called for every instruction that the units execute, in an order in which they can run."""

Report = Callable[[int, str], None]
"""Called with the number of an instruction and what is wrong with it."""


@dataclass
class Walk:
    """Walks through an entry, once through every loop.

    Attributes:
        program: The program; its control flow must be well formed.
        visit: Called for each instruction of the vector unit and of the channels.
        report: Called for each fault of a scalar or control instruction.
        unknowns: Unknowns of the analysis.
    """

    program: Program
    visit: Visitor
    report: Report
    unknowns: Unknowns = field(default_factory=Unknowns)
    _depth: int = 0
    _silent: int = 0
    _ends: Mapping[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._ends = loop_ends(self.program.code)

    def run(self, entry: Entry) -> None:
        """Walk from the entry to its `halt`."""
        registers: list[Linear | None] = [None] * REGISTER_COUNT
        hosts: dict[str, Linear] = {}
        for symbol in self.program.registers:
            if symbol.name in entry.registers:
                hosts[symbol.name] = self.unknowns.make(symbol.low, symbol.high, ("host", symbol.name))
                registers[symbol.register] = hosts[symbol.name]
        for limit in self.program.limits:
            if all(name in hosts for name in limit.registers):
                room = Linear((), limit.high)
                for name in limit.registers:
                    room = room - hosts[name]
                for name in limit.registers:
                    self.unknowns.define(hosts[name], room)
        last = len(self.program.code)
        if self._block(entry.address, last, State(tuple(registers))) is not None:
            self._complain(last - 1, f"entry '{entry.name}' runs past the end of the code; a `halt` is missing")

    def value(self, index: int, state: State, operand: OperandValue) -> Linear:
        """The integer that an operand gives."""
        if isinstance(operand, Indexed):
            return self.register(index, state, operand.register) + operand.immediate
        return Linear((), int(operand))

    def register(self, index: int, state: State, number: int) -> Linear:
        """The value of a register; one that may be unset is reported and taken as zero, lest one error make many."""
        value = state.registers[number]
        if value is None:
            self._complain(index, f"r{number} is read, but not written on every way that leads here")
            return Linear()
        return value

    def _complain(self, index: int, message: str) -> None:
        if not self._silent:
            self.report(index, message)

    def _block(self, start: int, stop: int, state: State | None) -> State | None:
        """Walk from `start` to `stop`; the state there, `None` when it is not reached."""
        waiting: dict[int, list[State]] = {}
        index = start
        while index < stop:
            state = join(self.unknowns, state, waiting.pop(index, []))
            built = self.program.code[index]
            if built.mnemonic == "loop":
                state = None if state is None else self._loop(index, state, bool(waiting))
                index = self._ends[index]
            elif built.mnemonic == "skipz" and state is not None:
                state = self._skip(index, built, state, waiting)
            elif built.mnemonic == "halt":
                state = None
            elif state is not None:
                state = self._step(index, built, state, bool(waiting))
            if state is None and not waiting:
                return None
            index += 1
        return join(self.unknowns, state, waiting.pop(stop, []))

    def _skip(self, index: int, built: Instruction, state: State, waiting: dict[int, list[State]]) -> State | None:
        """Note the state at the target; give the state when the register is not zero, `None` when it always is."""
        tested = self.register(index, state, int(str(built["ra"])))
        facts = state.facts
        if not self.unknowns.at_least(tested, 1, facts) and not self.unknowns.at_most(tested, -1, facts):
            waiting.setdefault(int(str(built["target"])), []).append(state)
        not_below, not_above = self.unknowns.at_least(tested, 0, facts), self.unknowns.at_most(tested, 0, facts)
        if not_below and not_above:
            return None
        if not_below:
            return replace(state, facts=(*facts, tested - 1))
        return replace(state, facts=(*facts, -tested - 1)) if not_above else state

    def _step(self, index: int, built: Instruction, state: State, skipped: bool) -> State:
        if built.spec.unit != "sequencer":
            if not self._silent:
                choice = state.repeated_choice or (skipped and self._depth > 0)
                self.visit(index, replace(state, repeated_choice=choice))
            if built.mnemonic == "lds":
                return state.with_register(int(str(built["rd"])), self.unknowns.make(_WORD_LOW, _WORD_HIGH))
            if built.mnemonic in ("kappend", "kfetch"):
                return state.with_register(int(str(built["rd"])), self._behind_records(index, built, state))
            return state
        result = int(str(built["rd"]))
        b = self.value(index, state, built["b"])
        if built.mnemonic == "li":
            return state.with_register(result, b)
        a = self.register(index, state, int(str(built["ra"])))
        try:
            value = RULES[built.mnemonic](self.unknowns, state.facts, a, b)
        except RuleError as problem:
            self._complain(index, str(problem))
            value = self.unknowns.make(REGISTER_LOW, REGISTER_HIGH)
        return state.with_register(result, value)

    def _behind_records(self, index: int, built: Instruction, state: State) -> Linear:
        """The byte behind the records that an instruction writes or reads: at + rows * (fewest to most bytes)."""
        least, most = record_bytes(*(int(str(built[name])) for name in ("len", "split", "bits", "bits2")))
        at, rows = self.value(index, state, built["at"]), self.value(index, state, built["rows"])
        first, last = at + rows * least, at + rows * most
        low, high = bounds_of(self.unknowns, first, state.facts)[0], bounds_of(self.unknowns, last, state.facts)[1]
        behind = self.unknowns.make(low, max(low, high))
        if self.unknowns.at_least(rows, 0, state.facts):
            self.unknowns.define(behind, behind - first, last - behind)
        return behind

    def _loop(self, index: int, state: State, skipped: bool) -> State | None:
        count = self.value(index, state, self.program.code[index]["count"])
        if not self.unknowns.at_least(count, 0, state.facts):
            self._complain(index, f"the number of iterations can be {self.unknowns.lower(count, state.facts)}")
        if self.unknowns.at_most(count, 0, state.facts):
            return state
        outer = replace(state, repeated_choice=state.repeated_choice or (skipped and self._depth > 0))
        self._depth += 1
        counter = loop_counter(self.unknowns, self._depth, count)
        body = LoopBody(self.unknowns, int(str(self.program.code[index]["rd"])), self._written(index), count, counter)
        first = body.first_state(outer, lambda top: self._trial(index, top))
        after = self._block(index + 1, self._ends[index], first)
        self._depth -= 1
        return body.state_after(state, after)

    def _trial(self, index: int, top: State) -> State | None:
        """The state at the end of an iteration that begins with `top`; nothing is reported or visited."""
        self._silent += 1
        after = self._block(index + 1, self._ends[index], top)
        self._silent -= 1
        return after

    def _written(self, index: int) -> frozenset[int]:
        """Registers that the body of a loop writes."""
        return frozenset(
            int(str(value))
            for built in self.program.code[index + 1 : self._ends[index]]
            for operand, value in zip(built.spec.operands, built.values, strict=True)
            if operand.kind is Kind.REGISTER and operand.name == "rd"
        )
