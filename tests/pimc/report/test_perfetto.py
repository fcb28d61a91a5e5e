"""Traces for Perfetto: packets in order, and a decode step as Perfetto's own trace processor reads it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import trace_processor
from test_protobuf import read

import pimc
from isa import Program, load_machine
from pimc.report.perfetto import write_perfetto
from pimc.simulator import Curves, Simulator, Statistics, Timeline, Track, curves, timeline
from pimc.simulator.recording.timeline import Slices

MACHINE = load_machine("gddr6-aim")
ROOT = Path(__file__).parents[3]
BEGIN, END, COUNTER = 1, 2, 4
STANDBY = ("dram_standby_active", "dram_standby_precharged", "vector_unit_leakage", "shared_buffer_leakage")

COMMANDS_SQL = """
select process.name, slice.name, sum(args.int_value) from slice
join process_track on slice.track_id = process_track.id join process using (upid)
join args on slice.arg_set_id = args.arg_set_id and args.key = 'debug.commands' group by 1, 2
"""
NODES_SQL = """
select distinct slice.name from slice join process_track on slice.track_id = process_track.id
where process_track.name = 'vector unit' and slice.depth = 0
"""
INSIDE_SQL = "select count(*) from slice join slice as outer on slice.parent_id = outer.id where slice.depth = 1"
DEPTH_SQL = "select max(depth), count(*) from slice"
ENERGY_SQL = """
select max(value) from counter join track on counter.track_id = track.id where track.name = 'energy of actions'
"""
PROBLEMS_SQL = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"

needs_trace_processor = pytest.mark.skipif(trace_processor.missing() is not None, reason=str(trace_processor.missing()))


def recorded(program: Program, kv_length: int) -> tuple[bytes, Timeline, Statistics]:
    simulator = Simulator(MACHINE)
    simulator.load(program)
    simulator.record()
    statistics = simulator.run("decode", {"kv_length": kv_length, "masked": 0}, timing_only=True)
    recording = simulator.recording()
    lines = timeline(recording, program, MACHINE)
    out = BytesIO()
    write_perfetto(out, lines, curves(recording, program, MACHINE, "faithful"), MACHINE)
    return out.getvalue(), lines, statistics


def check_decode_step(program: Program, kv_length: int) -> None:
    trace, lines, statistics = recorded(program, kv_length)
    asked = (PROBLEMS_SQL, DEPTH_SQL, INSIDE_SQL, COMMANDS_SQL, NODES_SQL, ENERGY_SQL)
    problems, depth, inside, commands, nodes, energy = trace_processor.query(trace, asked)
    assert problems == []
    assert depth == [(1, lines.slices.begin.size)]
    assert 0 < inside[0][0] <= int((lines.slices.depth == 1).sum())
    found: dict[str, int] = {}
    for process, name, count in commands:
        assert process.startswith("channel ")
        found[name] = found.get(name, 0) + count
    assert found == {name: count for name, count in statistics.commands.items() if count}
    assert {name for (name,) in nodes} <= set(statistics.nodes)
    actions_j = sum(joules for unit, joules in statistics.energy_by_unit_j.items() if unit not in STANDBY)
    assert energy[0][0] == pytest.approx(1e6 * actions_j, rel=1e-9)


@needs_trace_processor
def test_trace_processor_reads_a_decode_step() -> None:
    check_decode_step(pimc.compile(ROOT / "models" / "tiny-shakespeare.onnx", MACHINE), 40)


@pytest.mark.smollm2
@pytest.mark.slow
@needs_trace_processor
def test_trace_processor_reads_a_decode_step_of_smollm2(smollm2: Path) -> None:
    check_decode_step(pimc.compile(smollm2 / "model.onnx", MACHINE), 100)


def column(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


SLICES = Slices(
    track=column(0, 0, 0, 1),
    begin=column(5, 5, 8, 200),
    end=column(20, 8, 20, 300),
    name=column(2, 0, 1, 0),
    row=column(-1, -1, -1, 77),
    commands=column(0, 0, 0, 64),
    depth=column(0, 1, 1, 1),
)
SMALL = Timeline((Track("controller", "vector unit"), Track("channel 0", "bank 3")), ("vadd", "vmul", "node"), SLICES)
CURVES = Curves(column(0, 10), 10, {"sequencer": np.array([1e-9, 0.0])}, {"vector unit": np.array([0.0, 0.5])})


def packets() -> list[dict[int, int | bytes]]:
    out = BytesIO()
    write_perfetto(out, SMALL, CURVES, MACHINE)
    return [dict(read(bytes(packet))) for _, packet in read(out.getvalue()) if isinstance(packet, bytes)]


def events(kinds: set[int]) -> list[tuple[int, dict[int, int | bytes]]]:
    found = [(packet[8], dict(read(packet[11]))) for packet in packets() if isinstance(packet.get(11), bytes)]
    return [(time, event) for time, event in found if event[9] in kinds]


def test_slices_begin_and_end_in_order() -> None:
    assert [(time, event[9], event[11], event.get(10)) for time, event in events({BEGIN, END})] == [
        (5, BEGIN, 1, 3),
        (5, BEGIN, 1, 1),
        (8, END, 1, None),
        (8, BEGIN, 1, 2),
        (20, END, 1, None),
        (20, END, 1, None),
        (200, BEGIN, 2, 1),
        (300, END, 2, None),
    ]


def test_runs_of_commands_have_their_number_and_row() -> None:
    (event,) = [event for time, event in events({BEGIN}) if time == 200]
    body = next(packet[11] for packet in packets() if packet.get(8) == 200)
    assert isinstance(body, bytes)
    annotations = [dict(read(value)) for field, value in read(body) if field == 4 and isinstance(value, bytes)]
    assert annotations == [{1: 2, 4: 64}, {1: 1, 4: 77}]
    assert event[11] == 2


def test_counters_have_units_and_values() -> None:
    tracks = [dict(read(packet[60])) for packet in packets() if isinstance(packet.get(60), bytes)]
    named = {track[1]: track[2] for track in tracks if 8 in track}
    assert list(named.values()) == [b"occupancy: vector unit", b"power: sequencer", b"energy of actions"]
    values = [(named[event[11]], np.frombuffer(event[44])[0]) for _, event in events({COUNTER})]
    assert values == [
        (b"occupancy: vector unit", 0.0),
        (b"occupancy: vector unit", 50.0),
        (b"power: sequencer", pytest.approx(1e-9 / 5e-9 * 1e3)),
        (b"power: sequencer", 0.0),
        (b"energy of actions", pytest.approx(1e-3)),
        (b"energy of actions", pytest.approx(1e-3)),
    ]
