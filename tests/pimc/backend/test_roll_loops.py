"""Rolling of repeated code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import Entry, Indexed, Instruction, Program, Region, Source, instruction, load_machine
from pimc.backend.roll_loops import Code, roll_loops
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.engine.engine import Engine

MACHINE = load_machine("gddr6-aim")


def _run(code: Code) -> np.ndarray:
    program = Program(
        MACHINE.name,
        MACHINE.sha256,
        "fp32",
        code.instructions,
        {"decode": Entry("decode", 0, ())},
        regions=(Region("words", "sb", 0, 1 << 20, "scratch"),),
        sources=code.sources,
        debug=code.debug,
    )
    engine = Engine(MACHINE, program, ChannelTiming(MACHINE))
    engine.state.shared[:4096] = np.arange(4096)
    engine.run(0, timing_only=False)
    return engine.state.shared[:8192].copy()


def _stretch(number: int, growths: list[int], position: int) -> list[Instruction]:
    """Sixteen instructions whose addresses grow with `number`, an inner loop and a skip among them."""
    a, b, c = (growth * number for growth in growths)
    skip_to = position + 5
    return [
        instruction("vadd", 4096 + a, 16 + b, 32 + c, 8),
        instruction("vmul", 4104 + a, 4096 + a, 64 + c, 8),
        instruction("li", 1, 3),
        instruction("skipz", 1, skip_to),
        instruction("vfill", 4112 + a, 2.0, 4),
        instruction("loop", 2, Indexed(0, 1)),
        instruction("vmac", Indexed(4116 + a, 2), Indexed(16 + b, 2), Indexed(128, 2), 1),
        instruction("end"),
        instruction("mul", 3, 1, 2),
        instruction("vadd", Indexed(4120 + a, 3), Indexed(200 + c, 3), 64, 2),
        *(instruction("vadd", 4096 + a + n, 4097 + a + n, 300 + b, 1) for n in range(6)),
    ]


def _code(count: int, growths: list[int]) -> Code:
    instructions = [instruction("li", 1, 0), instruction("li", 4, 7)]
    for number in range(count):
        instructions += _stretch(number, growths, len(instructions))
    instructions += [instruction("skipz", 4, len(instructions) + 1), instruction("vfill", 8000, 5.0, 8)]
    instructions.append(instruction("halt"))
    sources = tuple(Source(f"n{number}", (f"onnx{number}",)) for number in range(count + 1))
    debug = [0, 0] + [1 + number for number in range(count) for _ in range(16)] + [0, 0, 0]
    return Code(tuple(instructions), tuple(debug), sources)


@given(st.integers(3, 9), st.lists(st.integers(0, 40), min_size=3, max_size=3))
def test_rolled_code_computes_the_same(count: int, growths: list[int]) -> None:
    code = _code(count, growths)
    rolled = roll_loops(code)
    assert len(rolled.instructions) < len(code.instructions)
    np.testing.assert_array_equal(_run(rolled), _run(code))


def test_size_does_not_depend_on_the_number_of_stretches() -> None:
    sizes = {len(roll_loops(_code(count, [16, 8, 4])).instructions) for count in (4, 8, 30)}
    assert len(sizes) == 1


def test_rolled_instructions_name_all_their_nodes() -> None:
    rolled = roll_loops(_code(4, [16, 8, 4]))
    source = rolled.sources[rolled.debug[len(rolled.debug) // 2]]
    assert source.onnx_nodes == ("onnx1", "onnx2", "onnx3", "onnx4")


@pytest.mark.parametrize("count", [1, 2])
def test_short_repeats_stay(count: int) -> None:
    code = _code(count, [16, 8, 4])
    assert roll_loops(code) is code


def test_uneven_growth_is_not_rolled() -> None:
    code = _code(3, [16, 8, 4])
    instructions = list(code.instructions)
    instructions[2 + 16] = instruction("vadd", 7000, 16, 32, 8)
    assert roll_loops(Code(tuple(instructions), code.debug, code.sources)).instructions == tuple(instructions)
