"""What the verifier accepts, the simulator executes: also when a program is changed at random."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import isa
from isa.program import check_values
from pimc.simulator import Simulator

GOLDEN = Path(__file__).parent.parent / "golden"
RUNS = [
    {"kv_length": length, "token_count": count}
    for length in (0, 15, 159, 160, 800, 2045, 2047)
    for count in (1, 3)
    if length + count <= 2048
]
CODE_RUNS = [{"kv_length": length} for length in (0, 1, 127, 255)]


def _fault(program: isa.Program, machine: isa.Machine, runs: list[dict[str, int]]) -> isa.PimcError | None:
    """What goes wrong in the runs; what extension K touches depends on data, so its programs compute, too."""
    computes = any(built.spec.extension == "K" for built in program.code)
    simulator = Simulator(machine)
    simulator.load(program)
    try:
        for registers in runs:
            simulator.reset()
            simulator.run("decode", registers, timing_only=True)
            if computes:
                simulator.run("decode", registers)
    except isa.PimcError as problem:
        return problem
    return None


def _other_value(chance: random.Random, operand: isa.Operand, value: isa.OperandValue) -> isa.OperandValue:
    if operand.kind is isa.Kind.REGISTER:
        return chance.randrange(16)
    if operand.kind is isa.Kind.CHOICE:
        return chance.choice(operand.choices)
    number = value.immediate if isinstance(value, isa.Indexed) else int(value)
    number = chance.choice([number, number + 1, number - 1, number * 2, number + 64, 0])
    registers = [None, value.register if isinstance(value, isa.Indexed) else None, chance.randrange(16)]
    register = chance.choice(registers)
    return number if register is None or not operand.indexed else isa.Indexed(number, register)


def _mutants(program: isa.Program, count: int) -> Iterator[isa.Program]:
    chance = random.Random(7)
    while count:
        place = chance.randrange(len(program.code))
        built = program.code[place]
        operands = [each for each in built.spec.operands if each.kind is not isa.Kind.FLOAT]
        if not operands:
            continue
        operand = chance.choice(operands)
        changed = built.with_value(operand.name, _other_value(chance, operand, built[operand.name]))
        try:
            check_values(changed)
        except ValueError:
            continue
        if changed != built:
            yield replace(program, code=(*program.code[:place], changed, *program.code[place + 1 :]))
            count -= 1


Case = tuple[isa.Program, list[dict[str, int]]]
"""A program, and registers of runs."""


@pytest.fixture(scope="module", params=[("attention", RUNS), ("codes", CODE_RUNS)], ids=["attention", "codes"])
def case(request: pytest.FixtureRequest) -> Case:
    name, runs = request.param
    return isa.assemble((GOLDEN / f"{name}.pimasm").read_text()), runs


def test_the_program_is_accepted_and_runs(case: Case, machine: isa.Machine) -> None:
    program, runs = case
    assert isa.check_program(program, machine) == []
    assert _fault(replace(program, machine_sha256=machine.sha256), machine, runs) is None


def test_accepted_mutants_run_and_faulty_ones_are_refused(case: Case, machine: isa.Machine) -> None:
    program, runs = replace(case[0], machine_sha256=machine.sha256), case[1]
    outcomes: Mapping[bool, list[int]] = {True: [], False: []}
    for number, mutant in enumerate(_mutants(program, 150)):
        accepted = not isa.check_program(mutant, machine)
        outcomes[accepted].append(number)
        if accepted:
            assert _fault(mutant, machine, runs) is None
    assert min(len(outcomes[True]), len(outcomes[False])) > 20
