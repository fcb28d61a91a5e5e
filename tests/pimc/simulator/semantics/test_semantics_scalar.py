"""Control and scalar instructions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_programs import code, engine, machine, program, run

from isa import Indexed, ProgramError
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.engine.engine import Engine

WORDS = st.integers(-(1 << 31), (1 << 31) - 1)

ORACLE = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "min": min,
    "max": max,
}


@given(mnemonic=st.sampled_from(sorted(ORACLE)), a=WORDS, b=WORDS)
def test_arithmetic(mnemonic, a, b):
    made = run(("li", 1, a), ("li", 2, b), (mnemonic, 3, 1, Indexed(0, 2)), (mnemonic, 4, 1, b))
    assert made.state.registers[3] == made.state.registers[4] == ORACLE[mnemonic](a, b)


@given(a=WORDS, b=st.integers(1, (1 << 31) - 1))
def test_divisions_round_down(a, b):
    registers = run(("li", 1, a), ("divu", 2, 1, b), ("remu", 3, 1, b)).state.registers
    assert registers[2] * b + registers[3] == a
    assert 0 <= registers[3] < b


@given(a=WORDS, bits=st.integers(0, 31))
def test_shifts(a, bits):
    registers = run(("li", 1, a), ("shl", 2, 1, bits), ("shr", 3, 1, bits)).state.registers
    assert registers[2] == a * 2**bits
    assert registers[3] == a // 2**bits


def test_li_adds_a_register_to_its_immediate():
    assert run(("li", 1, 5), ("li", 2, Indexed(7, 1))).state.registers[2] == 12


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((("li", 1, 3), ("divu", 1, 1, 0)), "division by 0"),
        ((("li", 1, 3), ("remu", 1, 1, -1)), "division by -1"),
        ((("li", 1, 3), ("shl", 1, 1, 64)), "a shift by 64 bits"),
        ((("li", 1, 3), ("shr", 1, 1, -1)), "a shift by -1 bits"),
        ((("li", 1, 3), ("shl", 1, 1, 62)), "the result 13835058055282163712 does not fit a 64-bit register"),
        ((("loop", 1, -2), ("end",)), "a loop cannot run -2 times"),
        ((("li", 1, 1 << 31 - 1), ("shl", 1, 1, 2), ("sts", 5, 1)), "4294967296 does not fit an int32 word"),
    ],
)
def test_what_cannot_be_executed_is_an_error(rows, message):
    with pytest.raises(ProgramError) as error:
        run(*rows)
    assert error.value.message.endswith(message)
    assert str(error.value.place) == "node 'node'"


def test_nested_loops_count_from_zero():
    made = run(
        ("loop", 1, 3),
        ("loop", 2, 4),
        ("shl", 3, 1, 4),
        ("or", 3, 3, Indexed(0, 2)),
        ("add", 4, 4, Indexed(0, 3)),
        ("end",),
        ("add", 5, 5, 1),
        ("end",),
    )
    assert made.state.registers[4] == sum(16 * i + j for i in range(3) for j in range(4))
    assert made.state.registers[5] == 3


def test_the_body_may_overwrite_the_iteration_number():
    made = run(("loop", 1, 3), ("add", 2, 2, Indexed(0, 1)), ("li", 1, 100), ("end",))
    assert made.state.registers[2] == 0 + 1 + 2


@given(outer=st.integers(0, 3), inner=st.integers(0, 3))
def test_a_loop_of_no_trips_skips_its_body(outer, inner):
    rows = [("loop", 1, outer), ("add", 3, 3, 1), ("loop", 2, inner), ("add", 4, 4, 1), ("end",), ("end",)]
    registers = run(*rows).state.registers
    assert registers[3:5] == [outer, outer * inner]


@given(st.integers(-2, 2))
def test_skipz_goes_forward_when_the_register_is_zero(value):
    made = run(("li", 1, value), ("skipz", 1, 3), ("li", 2, 1), ("li", 3, 1))
    assert made.state.registers[2:4] == [0 if value == 0 else 1, 1]


def test_skipz_may_end_an_iteration():
    made = run(("loop", 1, 4), ("and", 2, 1, 1), ("skipz", 2, 4), ("add", 3, 3, 1), ("end",))
    assert made.state.registers[3] == 2


def test_words_of_the_buffer_and_registers():
    made = run(("li", 1, -7), ("sts", 40, 1), ("lds", 2, 40), ("li", 3, 41), ("lds", 4, Indexed(-1 + 1, 3)))
    assert made.state.shared_integers[40] == -7
    assert made.state.registers[2] == -7
    assert made.state.registers[4] == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((("loop", 1, 3), ("halt",)), "instruction 0: this loop has no `end`"),
        ((("end",), ("halt",)), "instruction 0: `end` without a loop"),
        (
            (("li", 1, 0), ("skipz", 1, 0), ("halt",)),
            "instruction 1: skipz goes back to instruction 0",
        ),
        (
            (("loop", 1, 2), ("skipz", 1, 3), ("end",), ("halt",)),
            "instruction 1: skipz goes to instruction 3, which is not in the same loop body",
        ),
        (
            (("skipz", 1, 2), ("loop", 1, 2), ("end",), ("halt",)),
            "instruction 0: skipz goes to instruction 2, which is not in the same loop body",
        ),
    ],
)
def test_control_is_well_formed(rows, message):
    with pytest.raises(ProgramError) as error:
        Engine(machine(), program(code(*rows)), ChannelTiming(machine()))
    assert error.value.message == message


def test_a_program_ends_with_halt():
    made = Engine(machine(), program(code(("li", 1, 3))), ChannelTiming(machine()))
    with pytest.raises(ProgramError, match="the program runs past its end"):
        made.run(0, timing_only=False)


def test_every_scalar_instruction_costs_a_cycle_of_the_sequencer():
    made = engine(("loop", 1, 3), ("add", 2, 2, 1), ("end",))
    made.run(0, timing_only=False)
    assert made.cycle == (1 + 3 * 2 + 1) * machine().sequencer.cycles_per_instruction
