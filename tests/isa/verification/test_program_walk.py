"""The walk's bounds hold in every run: random programs are executed and compared with what the walk says."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isa
from isa.verification.control_flow import loop_ends
from isa.verification.linear import Linear
from isa.verification.program_walk import Walk
from isa.verification.register_state import State, bounds_of

REGISTERS = 6
HOSTS = {"a": (0, 0, 9), "b": (1, -3, 5)}
_SAFE = ("add", "sub", "mul", "min", "max", "and", "or")


@st.composite
def _block(draw: st.DrawFn, depth: int) -> list[tuple[object, ...]]:
    statements: list[tuple[object, ...]] = []
    for _ in range(draw(st.integers(1, 4))):
        register = st.integers(0, REGISTERS - 1)
        kinds = ["scalar", "scalar", "scalar", "probe", "load", *(["loop", "skip"] if depth else [])]
        kind = draw(st.sampled_from(kinds))
        if kind == "scalar":
            operation = draw(st.sampled_from([*_SAFE, "li", "divu", "remu", "shl", "shr"]))
            low = {"divu": 1, "remu": 1, "shl": 0, "shr": 0}.get(operation)
            number = draw(st.integers(-6, 12) if low is None else st.integers(low, 5))
            if low is None and draw(st.booleans()):
                statements.append((operation, draw(register), draw(register), isa.Indexed(number, draw(register))))
            else:
                statements.append((operation, draw(register), draw(register), number))
        elif kind in ("probe", "load"):
            statements.append((kind, draw(register)))
        elif kind == "loop":
            body = draw(_block(depth=depth - 1))
            count = draw(st.integers(0, 3) | st.builds(isa.Indexed, st.integers(-1, 1), register))
            statements.append(("loop", draw(register), count, body))
        else:
            statements.append(("skip", draw(register), draw(_block(depth=depth - 1))))
    return statements


def _emit(statements: list[tuple[object, ...]], code: list[isa.Instruction]) -> None:
    for kind, *rest in statements:
        if kind == "probe":
            code.append(isa.instruction("sts", dst=0, ra=rest[0]))
        elif kind == "load":
            code.append(isa.instruction("lds", rest[0], src=0))
        elif kind == "loop":
            register, count, body = rest
            code.append(isa.instruction("li", REGISTERS, count))
            code.append(isa.instruction("max", REGISTERS, REGISTERS, 0))
            code.append(isa.instruction("min", REGISTERS, REGISTERS, 3))
            code.append(isa.instruction("loop", register, isa.Indexed(0, REGISTERS)))
            _emit(body, code)
            code.append(isa.instruction("end"))
        elif kind == "skip":
            place = len(code)
            code.append(isa.instruction("halt"))
            _emit(rest[1], code)
            code[place] = isa.instruction("skipz", rest[0], len(code))
        elif kind == "li":
            code.append(isa.instruction("li", rest[0], rest[2]))
        else:
            code.append(isa.instruction(str(kind), *rest))


@st.composite
def _programs(draw: st.DrawFn) -> isa.Program:
    code = [isa.instruction("li", number, number) for number in range(2, REGISTERS)]
    _emit(draw(_block(depth=3)), code)
    code.append(isa.instruction("halt"))
    symbols = tuple(isa.RegisterSymbol(name, *facts) for name, facts in HOSTS.items())
    limits = (isa.RegisterLimit(("a", "b"), 8),)
    entries = {"run": isa.Entry("run", 0, tuple(HOSTS))}
    return isa.Program("m", "", "machine", tuple(code), entries, symbols, limits)


def _operand(value: isa.OperandValue, registers: dict[int, int]) -> int:
    return registers[value.register] + value.immediate if isinstance(value, isa.Indexed) else int(value)


def _scalar(mnemonic: str, a: int, b: int) -> int:
    results = {"add": a + b, "sub": a - b, "mul": a * b, "and": a & b, "or": a | b, "min": min(a, b), "max": max(a, b)}
    if mnemonic in results:
        return results[mnemonic]
    return {"divu": lambda: a // b, "remu": lambda: a % b, "shl": lambda: a << b, "shr": lambda: a >> b}[mnemonic]()


def _run(program: isa.Program, a: int, b: int, seed: int) -> Iterator[tuple[int, dict[int, int]]]:
    """(instruction, registers) at every access of one run."""
    values = random.Random(seed)
    registers, loops = {0: a, 1: b}, []
    ends = loop_ends(program.code)
    index = 0
    for _ in range(3000):
        built = program.code[index]
        if built.mnemonic == "halt":
            return
        if built.mnemonic in ("sts", "lds"):
            yield index, dict(registers)
        if built.mnemonic == "lds":
            registers[int(built["rd"])] = values.choice([0, 1, -1, values.randint(-(1 << 31), (1 << 31) - 1)])
        elif built.mnemonic == "loop":
            count = _operand(built["count"], registers)
            if count == 0:
                index = ends[index]
            else:
                registers[int(built["rd"])] = 0
                loops.append([index, 0, count])
        elif built.mnemonic == "end":
            start, iteration, count = loops[-1]
            if iteration + 1 < count:
                loops[-1][1] += 1
                registers[int(program.code[start]["rd"])] = iteration + 1
                index = start
            else:
                loops.pop()
        elif built.mnemonic == "skipz":
            if registers[int(built["ra"])] == 0:
                index = int(built["target"]) - 1
        elif built.mnemonic == "li":
            registers[int(built["rd"])] = _operand(built["b"], registers)
        elif built.mnemonic != "sts":
            b_value = _operand(built["b"], registers)
            registers[int(built["rd"])] = _scalar(built.mnemonic, registers[int(built["ra"])], b_value)
        if any(abs(value) >= 1 << 63 for value in registers.values()):
            return
        index += 1


class _Probes:
    """Bounds of registers and of their differences at each access, worked out when they are asked for."""

    def __init__(self, program: isa.Program) -> None:
        self.states: dict[int, State] = {}
        self.bounds: dict[tuple[int, int, int], tuple[int, int]] = {}
        self.walk = Walk(program, self._visit, lambda index, message: None)
        self.walk.run(program.entries["run"])

    def _visit(self, index: int, state: State) -> None:
        assert index not in self.states
        self.states[index] = state

    def check(self, index: int, registers: dict[int, int]) -> None:
        assert index in self.states, f"instruction {index} runs, the walk does not reach it"
        for one in range(REGISTERS):
            for other in (None, (one + 1) % REGISTERS, (one + 2) % REGISTERS):
                low, high = self._bounds(index, one, -1 if other is None else other)
                value = registers[one] - (0 if other is None else registers[other])
                assert low <= value <= high, f"instruction {index}: r{one} - r{other} is {value}"

    def _bounds(self, index: int, one: int, other: int) -> tuple[int, int]:
        if (index, one, other) not in self.bounds:
            state = self.states[index]
            value = state.registers[one]
            subtrahend = Linear() if other < 0 else state.registers[other]
            assert value is not None
            assert subtrahend is not None
            self.bounds[index, one, other] = bounds_of(self.walk.unknowns, value - subtrahend, state.facts)
        return self.bounds[index, one, other]


@settings(max_examples=150)
@given(_programs(), st.integers(0, 1 << 20))
def test_every_run_stays_inside_the_bounds(program: isa.Program, seed: int) -> None:
    probes = _Probes(program)
    for a in (0, 1, 4, 9):
        for b in (-3, 0, 1, 5):
            if a + b > 8:
                continue
            for index, registers in _run(program, a, b, seed):
                probes.check(index, registers)


def _bounds_at_store(lines: str) -> tuple[int, int]:
    """Bounds of r9 at the one `sts` of a program with host registers r0 (0 to 2047) and r1 (1 to 16)."""
    text = f"""
.machine "m", sha256="{"0" * 64}", channels=32
.symbols
.register length, r0, low=0, high=2047
.register count, r1, low=1, high=16
.limit length, count, high=2048
.text
.entry run, length, count
{lines}
sts dst=[0], ra=r9
halt
"""
    program = isa.assemble(text)
    found: list[tuple[int, int]] = []

    def visit(index: int, state: State) -> None:
        value = state.registers[9]
        assert value is not None
        found.append(bounds_of(walk.unknowns, value, state.facts))

    walk = Walk(program, visit, lambda index, message: None)
    walk.run(program.entries["run"])
    (bounds,) = found
    return bounds


def test_limits_on_sums_are_used() -> None:
    assert _bounds_at_store("add r9, r0, r1") == (1, 2048)


def test_a_rest_of_a_division_is_related_to_the_quotient() -> None:
    assert _bounds_at_store("add r9, r0, 159\ndivu r9, r9, 160\nmul r9, r9, 160\nsub r9, r9, r0") == (0, 159)


def test_a_minimum_stays_below_both() -> None:
    assert _bounds_at_store("min r9, r0, r1\nsub r9, r1, r9") == (0, 16)


def test_a_counter_times_the_step_is_exact() -> None:
    assert _bounds_at_store("li r9, 5\nloop r2, r1\nadd r9, r9, 36\nend") == (5 + 36, 5 + 36 * 16)


def test_a_register_that_shrinks_to_zero_keeps_its_range() -> None:
    lines = "li r9, 100\nloop r2, r1\nmin r3, r9, 8\nsub r9, r9, r3\nend"
    assert _bounds_at_store(lines) == (0, 92)


def test_a_skip_tells_that_the_register_is_not_zero() -> None:
    assert _bounds_at_store("li r9, 1\nskipz r0, done\nli r9, r0\ndone:") == (1, 2047)


@pytest.mark.parametrize(
    "lines",
    [
        "loop r2, 4\nli r5, r2\nend\nloop r3, 4\nsub r9, r3, r5\nend",
        "loop r2, 4\nmul r5, r2, r0\nend\nloop r3, 4\nmul r6, r3, r0\nsub r9, r6, r5\nend",
    ],
)
def test_loops_share_no_stale_counters(lines: str) -> None:
    low, high = _bounds_at_store(lines)
    assert low <= -3
    assert high >= 0
