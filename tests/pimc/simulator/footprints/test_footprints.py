"""Bounds: nothing outside a memory is ever touched, and the error says what and where."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_programs import ALL, code, engine, machine, machine_with, program

from isa import INSTRUCTIONS, Indexed, Instruction, Kind, ProgramError, Region, Source
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.engine.decoding import FOOTPRINTS, SEMANTICS
from pimc.simulator.engine.engine import Engine

WORDS = machine().shared_buffer.capacity_words
REGIONS = (Region("weights", "bank", 10, 20, "weights"), Region("cache", "bank", 30, 10, "cache"))
WITH_CODES = (*REGIONS, Region("codes", "bank", 40, 20, "cache", "code"))


def test_semantics_footprints_and_timing_cover_the_table():
    rows = {row.mnemonic: row for row in INSTRUCTIONS}
    assert set(SEMANTICS) == set(rows)
    assert set(FOOTPRINTS) == {name for name, row in rows.items() if row.unit != "sequencer"}
    for name, row in rows.items():
        if row.unit == "channel":
            timing = ChannelTiming(machine(), refresh=False)
            assert timing.issue(name, [1 for _ in row.operands], 0)[1] > 0, name


def test_the_error_says_where_and_what():
    loaded = program(
        code(("li", 3, 28), ("mac", ALL, Indexed(5, 3), 0, 4, 2, 0, 4), ("halt",)),
        REGIONS,
        sources=(Source("start"), Source("layer.0.linear", ("/MatMul",))),
        debug=(0, 1, 1),
    )
    with pytest.raises(ProgramError) as error:
        Engine(machine(), loaded, ChannelTiming(machine())).run(0, timing_only=False)
    assert str(error.value) == (
        "node 'layer.0.linear': error: instruction 1 (mac): columns 33 to 40 leave the region 'cache'\n"
        "note: operands: ch=4294967295, addr=33 (5 + r3), gb=0, cols=4, outs=2, acc=0, "
        "bstride=4, gstride=0, astride=1\n"
        "note: region 'weights': columns 10 to 29\n"
        "note: region 'cache': columns 30 to 39\n"
        "help: pimc check shows which addresses a program can reach"
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("vadd", WORDS - 3, 0, 0, 4), f"'dst' covers words {WORDS - 3} to {WORDS} of the shared buffer"),
        (("vadd", 0, WORDS - 4, 0, 2, 2, {"a_row": 3}), f"'a' covers words {WORDS - 4} to {WORDS} of"),
        (("vmul", 0, 0, WORDS - 5, 3, 1, {"b_step": 3}), f"'b' covers words {WORDS - 5} to {WORDS + 1} of"),
        (("vmap", WORDS, 0, "exp", 1), f"'dst' covers words {WORDS} to {WORDS} of"),
        (("vfill", WORDS - 1, 0.0, 2), f"'dst' covers words {WORDS - 1} to {WORDS} of"),
        (("rsum", WORDS - 1, 0, 4, 2), f"'dst' covers words {WORDS - 1} to {WORDS} of"),
        (("lds", 1, WORDS), f"'src' covers words {WORDS} to {WORDS} of"),
        (("wrgb", ALL, 0, WORDS - 31, 2), f"'src' covers words {WORDS - 31} to {WORDS} of"),
        (("wrgb", ALL, 0, WORDS - 512, 1, 1, 16, 0), None),
        (("wrgb", ALL, 0, WORDS - 511, 1, 1, 16, 0), f"'src' covers words {WORDS - 511} to {WORDS} of"),
        (("rdacc", 1, 0, 2, WORDS - 31), f"'dst' covers words {WORDS - 31} to {WORDS} of"),
        (("wrgb", ALL, 60, 0, 5), "'gb' covers 60 to 64"),
        (("wracc", ALL, 30, 3), "'acc' covers 30 to 32"),
        (("mac", ALL, 10, 0, 2, 3, 30, 2), "'acc' covers 30 to 32"),
        (("mac", ALL, 10, 62, 1, 3, 0, 1, 1), "'gb' covers 62 to 64"),
        (("mac", ALL, 9, 0, 1), "'addr' is column 9, which belongs to no region"),
        (("mac", ALL, 28, 0, 3), "columns 28 to 30 leave the region 'weights'"),
        (("open", ALL, 40), "'addr' is column 40, which belongs to no region"),
        (("stb", 1, 0, 10, 1, 0), "it writes to the region 'weights'"),
        (("stlane", 1, 12, 0, 1, 0), "it writes to the region 'weights'"),
        (("stlane", 1, 30, 0, 17, 0, 10), "columns 30 to 40 leave the region 'cache'"),
        (("stlane", 1, 30, 16, 1, 0), "'lane' covers 16 to 16"),
        (("ldb", 1, 16, 30, 1, 0), "'bank' covers 16 to 16"),
        (("wrab", 1, 36, 5, 0), "columns 36 to 40 leave the region 'cache'"),
        (("ewmul", 1, 20, 1), "it writes to the region 'weights'"),
        (("cpbg", 1, 0, 10, 63, 2), "'gb' covers 63 to 64"),
        (("cpgb", 1, 0, 10, 0, 2), "it writes to the region 'weights'"),
        (("af", 1, 32), "'acc' covers 32 to 32"),
        (("af", 1, 0, "to_int"), "accumulators have no function 'to_int'"),
        (("wracc", 0, 0, 1), "'ch' is the mask 0x0"),
        (("rdaf", 1, 0, 0), "'cdiv' is 0"),
    ],
)
def test_bounds(row, message):
    made = engine(row, regions=REGIONS)
    if message is None:
        made.run(0, timing_only=False)
        return
    with pytest.raises(ProgramError) as error:
        made.run(0, timing_only=False)
    assert message in error.value.message


def test_columns_of_bank_and_buffer_must_be_equal_where_the_machine_says_so():
    rows = (("mac", ALL, 12, 12, 4, 2, 0, 4, 4), ("mac", ALL, 12, 12, 4, 2, 0, 4, 3))
    made = engine(*rows, on=machine_with("near_bank", mac_gb_column="equal"), regions=REGIONS)
    message = r"instruction 1 \(mac\): output 1 multiplies bank column 16 by .* column 15"
    with pytest.raises(ProgramError, match=message):
        made.run(0, timing_only=False)


@pytest.mark.parametrize(
    "row",
    [
        ("vadd", WORDS, 0, 0, 0),
        ("vmap", WORDS, WORDS, "exp", 4, 0),
        ("wrgb", ALL, 64, WORDS, 0),
        ("rdacc", ALL, 32, 0, WORDS),
        ("mac", ALL, 40, 0, 0, 3),
        ("mac", ALL, 40, 0, 3, 0),
        ("ldb", ALL, 0, 40, 0, WORDS),
        ("stlane", ALL, 40, 0, 0, WORDS),
        ("ewmul", ALL, 40, 0),
    ],
)
def test_instructions_without_work_touch_nothing_and_never_reach_a_unit(row):
    made = engine(row, regions=REGIONS)
    made.run(0, timing_only=False)
    assert made.cycle == 2 * machine().sequencer.cycles_per_instruction
    assert not sum(made.counters.busy_cycles)


def operand_values(operand):
    if operand.kind is Kind.REGISTER:
        return st.just(1)
    if operand.kind is Kind.CHOICE:
        return st.sampled_from(operand.choices)
    if operand.kind is Kind.FLOAT:
        return st.just(1.0)
    limit = (1 << operand.bits) - 1 if operand.name != "rows" else 70
    return st.one_of(st.integers(0, min(limit, 70)), st.integers(0, limit))


@st.composite
def instructions(draw):
    rows = [row for row in INSTRUCTIONS if row.unit != "sequencer"]
    row = draw(st.sampled_from(rows))
    return Instruction(row, tuple(draw(operand_values(operand)) for operand in row.operands))


@given(built=instructions())
def test_any_operands_run_or_are_refused(built):
    loaded = program((built, *code(("halt",))), WITH_CODES)
    made = Engine(machine(), loaded, ChannelTiming(machine()))
    with suppress(ProgramError):
        made.run(0, timing_only=False)
    guard = made.state.bank_region("weights").data
    assert not np.any(guard)
