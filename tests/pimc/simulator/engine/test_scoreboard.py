"""Hazards, queues and overlap: when instructions may start, to the cycle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_programs import ALL, engine, machine, machine_with

from isa import Indexed, Region, vector_cycles
from pimc.simulator.engine.decoding import CHANNEL, VECTOR
from pimc.simulator.engine.scoreboard import Scoreboard
from pimc.simulator.footprints.vector import Footprint

FIRST = (100, 200)
RANGES = st.tuples(st.integers(0, 30), st.integers(1, 10)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def board(**sequencer):
    return Scoreboard((machine_with("sequencer", **sequencer).sequencer.queue_depth,) * 3)


@pytest.mark.parametrize(
    ("earlier", "later", "waits"),
    [
        (Footprint(writes=(FIRST,)), Footprint(reads=(FIRST,)), True),  # read after write
        (Footprint(reads=(FIRST,)), Footprint(writes=(FIRST,)), True),  # write after read
        (Footprint(writes=(FIRST,)), Footprint(writes=(FIRST,)), True),  # write after write
        (Footprint(reads=(FIRST,)), Footprint(reads=(FIRST,)), False),
        (Footprint(writes=(FIRST,)), Footprint(reads=((199, 300),)), True),
        (Footprint(writes=(FIRST,)), Footprint(reads=((200, 300),)), False),
        (Footprint(writes=(FIRST,)), Footprint(reads=((0, 101),)), True),
        (Footprint(writes=(FIRST,)), Footprint(reads=((0, 100),)), False),
    ],
)
def test_hazards_hold_an_instruction_until_the_earlier_one_ends(earlier, later, waits):
    for clock, expected in ((10, 57 if waits else 10), (56, 57 if waits else 56), (57, 57), (58, 58)):
        made = board()
        made.clock = 3
        made.record(VECTOR, earlier, 5, 57)
        made.clock = clock
        assert made.earliest_start(VECTOR, later) == expected


ACCESSES = st.tuples(st.sampled_from([VECTOR, CHANNEL]), st.booleans(), RANGES, st.integers(1, 99))


@given(st.lists(ACCESSES, max_size=60), RANGES, RANGES)
def test_hazards_against_all_earlier_accesses(accesses, read, written):
    made = board(queue_depth=1000)
    ends = [0]
    for unit, writes, span, end in accesses:
        made.record(unit, Footprint(writes=(span,)) if writes else Footprint(reads=(span,)), 0, end)
        if (writes and overlap(span, read)) or overlap(span, written):
            ends.append(end)
    assert made.earliest_start(CHANNEL, Footprint(reads=(read,), writes=(written,))) == max(ends)


def test_a_unit_that_works_serially_needs_no_check_against_itself():
    made = Scoreboard((machine().sequencer.queue_depth,) * 3, frozenset({VECTOR}))
    made.record(VECTOR, Footprint(writes=(FIRST,)), 0, 50)
    assert made.earliest_start(VECTOR, Footprint(reads=(FIRST,))) == 0
    assert made.earliest_start(CHANNEL, Footprint(reads=(FIRST,))) == 50


def overlap(first, second):
    return first[0] < second[1] and second[0] < first[1]


def test_the_queue_holds_as_many_waiting_instructions_as_the_machine_says():
    made = board(queue_depth=2)
    for start in (10, 20, 30):
        made.wait_for_queue(VECTOR)
        made.record(VECTOR, Footprint(), start, start + 10)
        assert made.clock == (10 if start == 30 else 0)
    made.wait_for_queue(CHANNEL)
    assert made.clock == 10
    made.wait_for_queue(VECTOR)
    assert made.clock == 20


def test_instructions_that_have_started_leave_the_queue():
    made = board(queue_depth=1)
    made.record(VECTOR, Footprint(), 10, 500)
    made.clock = 9
    made.wait_for_queue(VECTOR)
    assert made.clock == 10
    made.record(VECTOR, Footprint(), 11, 500)
    made.clock = 11
    made.wait_for_queue(VECTOR)
    assert made.clock == 11


def cycles(mnemonic, length, fn="copy", rows=1):
    return vector_cycles(machine(), mnemonic, fn, rows, length)


def test_a_register_that_the_unit_returns_stalls_its_reader():
    lds = cycles("lds", 1)
    independent = engine(("lds", 1, 0), ("add", 2, 3, 1))
    reader = engine(("lds", 1, 0), ("add", 2, 1, 1))
    indexed = engine(("lds", 1, 0), ("vfill", Indexed(8, 1), 0.0, 1))
    writer = engine(("lds", 1, 0), ("li", 1, 1))
    for made in (independent, reader, indexed, writer):
        made.run(0, timing_only=False)
    assert independent.cycle == max(lds, 3)
    assert reader.cycle == writer.cycle == lds + 2
    assert indexed.cycle == lds + cycles("vfill", 1)


def test_the_vector_unit_takes_one_instruction_at_a_time():
    made = engine(("vfill", 0, 1.0, 4000), ("vmap", 8000, 9000, "exp", 600))
    made.run(0, timing_only=False)
    assert made.cycle == cycles("vfill", 4000) + cycles("vmap", 600, "exp")


MAC = ("mac", ALL, 0, 0, 64, 8, 0, 64)
REGION = Region("weights", "bank", 0, 1024, "weights")


def length_of(*rows):
    made = engine(*rows, regions=(REGION,))
    made.run(0, timing_only=True)
    return made.cycle


def test_units_overlap_when_nothing_forbids_it():
    vector = ("vfill", 0, 1.0, 100_000)
    alone = length_of(MAC), length_of(vector)
    assert length_of(MAC, vector) <= max(alone) + 2
    assert length_of(vector, MAC) <= max(alone) + 2


def test_a_channel_instruction_waits_for_the_words_it_reads():
    fill, write = ("vfill", 0, 1.0, 100_000), ("wrgb", ALL, 0, 0, 4)
    waiting, free = length_of(fill, write), length_of(fill, ("wrgb", ALL, 0, 100_000, 4))
    assert free == length_of(fill)
    assert waiting > free


def test_a_vector_instruction_waits_for_the_accumulators_it_reads():
    read = ("rdacc", ALL, 0, 1, 0)
    assert length_of(MAC, read, ("vmap", 600, 0, "copy", 16)) == length_of(MAC, read) + cycles("vmap", 16)
    assert length_of(MAC, read, ("vmap", 600, 16, "copy", 16)) == length_of(MAC, read)


def test_a_write_waits_for_an_earlier_reader():
    fill = ("vfill", 0, 1.0, 32)
    write = ("wrgb", ALL, 0, 0, 64, {"sn": 0})
    assert length_of(write, fill) == length_of(write) + cycles("vfill", 32)
    assert length_of(write, ("vfill", 16, 1.0, 32)) == max(length_of(write), cycles("vfill", 32) + 1)


def test_a_full_queue_holds_back_instructions_for_other_units():
    fill = cycles("vfill", 5120)
    rows = [("vfill", 8192 * number, 1.0, 5120) for number in range(5)]
    ends = []
    for depth in (16, 2):
        made = engine(*rows, MAC, on=machine_with("sequencer", queue_depth=depth), regions=(REGION,))
        made.run(0, timing_only=True)
        ends.append(made.cycle)
    mac = length_of(MAC)
    assert ends == [max(5 * fill, 5 + mac), max(5 * fill, 2 * fill + 1 + mac)]
    assert 2 * fill + 1 + mac > 5 * fill
