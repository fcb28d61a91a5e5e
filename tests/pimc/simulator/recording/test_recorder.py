"""Recorded runs: what units did, the command log, tracks, power; none of which changes the run."""

from io import BytesIO

import numpy as np
import pytest
from machine_programs import ALL, code, machine, program

from isa import Indexed, InputError, MachineError, Program, Region, ResourceLimitError, Source
from pimc.simulator import Recording, Simulator, Statistics, curves, timeline, write_recorded_log
from pimc.simulator.dram.tables import COMMANDS
from pimc.simulator.recording import run_log
from pimc.simulator.recording.command_log import CommandEvents
from pimc.simulator.recording.run_log import recorded_commands

REGIONS = (Region("cache", "bank", 0, 4096, "cache"),)
ROWS = (
    ("wrgb", ALL, 0, 0, 64),
    ("loop", 1, 6),
    ("mul", 2, 1, 64),
    ("wracc", ALL, 3, 2),
    ("mac", ALL, Indexed(0, 2), 0, 40, 3, 3, 64),
    ("rdacc", ALL, 3, 2, 2048, 1, 16),
    ("vmap", 4096, 2048, "exp", 512),
    ("stb", 1, 5, Indexed(128, 2), 2, 4096),
    ("end",),
    ("stlane", 6, 200, 3, 21, 4096, 4),
    ("ldb", 1, 5, 130, 3, 8192),
    ("ewmul", ALL, 64, 8),
    ("cpbg", 2, 7, 64, 0, 4),
    ("cpgb", 2, 8, 64, 0, 4),
    ("wrab", 3, 640, 2, 0),
    ("af", ALL, 4, "gelu"),
    ("rdaf", ALL, 9000, 1, 16),
    ("open", ALL, 1280),
    ("halt",),
)
SOURCES = (Source("first", ("/MatMul",)), Source("second", ("/Exp",)))
DEBUG = (*(0,) * 7, *(1,) * 12)
MASKED = ("WR", "RD", "MAC", "RDCP", "WRCP")


def made() -> Program:
    return program(code(*ROWS), REGIONS, sources=SOURCES, debug=DEBUG)


def run(records: bool = True) -> tuple[Statistics, Recording | None]:
    simulator = Simulator(machine())
    simulator.load(made())
    if records:
        simulator.record()
    statistics = simulator.run("decode")
    return statistics, simulator.recording() if records else None


def recorded() -> tuple[Statistics, Recording]:
    statistics, recording = run()
    assert recording is not None
    return statistics, recording


def events() -> tuple[Statistics, CommandEvents]:
    statistics, recording = recorded()
    return statistics, recorded_commands(recording, made(), machine())


def test_recording_changes_no_cycle_and_no_joule() -> None:
    assert run(records=False)[0].to_json() == run()[0].to_json()


def test_every_instruction_and_its_cycles_are_recorded() -> None:
    statistics, recording = recorded()
    assert (recording.begin, recording.end) == (0, statistics.cycles)
    assert recording.dispatched.shape[0] == statistics.instructions
    assert (np.diff(recording.dispatched[:, 1]) > 0).all()
    busy = sum(each.busy_cycles for each in statistics.mnemonics.values())
    assert int((recording.finish - recording.start).sum()) == busy
    names = [made().code[index].mnemonic for index in recording.index]
    on_units = {name: each.count for name, each in statistics.mnemonics.items() if name in names}
    assert {name: names.count(name) for name in on_units} == on_units


def test_log_holds_every_command_once() -> None:
    statistics, found = events()
    counts = np.bincount(found.command, minlength=len(COMMANDS))
    assert dict(zip(COMMANDS, counts.tolist(), strict=True)) == statistics.commands
    keys = found.cycle * 32 + found.channel
    assert (np.diff(keys) > 0).all()


@pytest.mark.parametrize(
    ("command", "channel", "columns"),
    [
        ("WRGB", 9, list(range(64))),
        ("WRMAC16", 9, [3, 4] * 6),
        ("MAC16", 9, list(range(40)) * 3 * 6),
        ("RDMAC16", 9, [3, 4] * 6),
        ("WR", 0, [0, 1] * 6),
        ("WR", 1, [200 % 64] * 16 + [204 % 64] * 5),
        ("RD", 0, [2, 3, 4]),
        ("EWMUL16", 31, list(range(8))),
        ("RDCP", 1, [0, 1, 2, 3]),
        ("WRCP", 1, [0, 1, 2, 3]),
        ("WRA16", 0, [0, 1]),
    ],
)
def test_commands_name_their_columns(command: str, channel: int, columns: list[int]) -> None:
    _, found = events()
    chosen = (found.command == COMMANDS.index(command)) & (found.channel == channel)
    assert found.column[chosen].tolist() == columns


def test_commands_name_the_graph_node_that_they_work_for() -> None:
    statistics, found = events()
    assert found.nodes == ("first", "second")
    first = found.node == 0
    assert set(found.command[first]) >= {COMMANDS.index(name) for name in ("WRGB", "MAC16", "RDMAC16", "ACT16")}
    assert not set(found.command[first]) & {COMMANDS.index(name) for name in MASKED}
    assert statistics.nodes["first"].instructions > 0


def test_log_is_written_as_text() -> None:
    _, recording = recorded()
    out = BytesIO()
    write_recorded_log(out, recording, made(), machine())
    lines = out.getvalue().decode().splitlines()
    assert lines[1:3] == ["0,0,TMOD,,,,,first", "0,1,TMOD,,,,,first"]
    assert f"{len(lines) - 1}" == str(events()[1].cycle.size)


def test_too_long_a_log_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "MOST_COMMANDS", 1000)
    with pytest.raises(ResourceLimitError, match="the command log is too long"):
        events()


def test_power_adds_up_to_the_energy_of_actions() -> None:
    statistics, recording = recorded()
    found = curves(recording, made(), machine(), "faithful")
    for unit, joules in found.energy_j.items():
        assert joules.sum() == pytest.approx(statistics.energy_by_unit_j[unit], rel=1e-12), unit
    static = {"dram_standby_active", "dram_standby_precharged", "vector_unit_leakage", "shared_buffer_leakage"}
    assert set(found.energy_j) == set(statistics.energy_by_unit_j) - static


def test_occupancy_adds_up_to_what_units_and_buses_did() -> None:
    statistics, recording = recorded()
    found = curves(recording, made(), machine(), "paper")
    busy = found.occupancy["vector unit"].sum() * found.window_cycles
    assert busy == pytest.approx(statistics.busy_cycles_by_unit["vector"])
    issued = found.occupancy["command buses"].sum() * found.window_cycles * 32
    assert issued == pytest.approx(sum(statistics.commands.values()))


def test_tracks_hold_slices_apart_inside_their_nodes() -> None:
    statistics, recording = recorded()
    lines = timeline(recording, made(), machine())
    slices = lines.slices
    for depth in (0, 1):
        chosen = slices.depth == depth
        order = np.lexsort((slices.begin[chosen], slices.track[chosen]))
        track, begin, end = (values[chosen][order] for values in (slices.track, slices.begin, slices.end))
        assert (end > begin).all()
        assert ((track[1:] != track[:-1]) | (begin[1:] >= end[:-1])).all()
    counted = np.bincount(slices.name, slices.commands, len(lines.names))[: len(COMMANDS)]
    assert dict(zip(COMMANDS, counted.astype(int).tolist(), strict=True)) == statistics.commands
    tracks = {lines.tracks[number].name for number in slices.track}
    assert tracks >= {"sequencer", "vector unit", "channel instructions", "commands", "bank 5"}


def test_runs_one_after_the_other_go_into_one_recording() -> None:
    simulator = Simulator(machine())
    simulator.load(made())
    simulator.record()
    parts = [simulator.run("decode") for _ in range(3)]
    recording = simulator.recording()
    assert recording.end == sum(part.cycles for part in parts)
    found = recorded_commands(recording, made(), machine())
    assert found.cycle.size == sum(sum(part.commands.values()) for part in parts)
    assert (found.node[found.command == COMMANDS.index("REFab")] <= 1).all()


def test_there_must_be_something_recorded() -> None:
    simulator = Simulator(machine())
    simulator.load(made())
    with pytest.raises(InputError, match="nothing was recorded"):
        simulator.recording()


def test_a_machine_without_near_bank_units_has_no_command_log() -> None:
    _, recording = recorded()
    bare = machine().model_copy(update={"near_bank": None})
    with pytest.raises(MachineError, match="has no near-bank units"):
        recorded_commands(recording, made(), bare)
    lines = timeline(recording, made(), bare)
    names = {track.name for track in lines.tracks}
    assert names == {"sequencer", "vector unit", "channel instructions", "kv codec"}
