"""Programs with extension K: energy by unit, instruction and node, the command log, tracks, power, and the export."""

import numpy as np
import pytest
from machine_programs import ALL, code, machine, program

from isa import Program, Region, Source, UnsupportedError
from pimc.simulator import Recording, Simulator, Statistics, aim_isr_lines, curves, timeline
from pimc.simulator.dram.tables import COMMANDS
from pimc.simulator.recording.run_log import recorded_commands

REGIONS = (Region("codes", "bank", 0, 4096, "cache", "code"),)
ROWS = (
    ("kscale", {"dst": 100, "lo": 0, "hi": 0, "len": 64, "steps": 15}),
    ("kquant", {"dst": 1000, "a": 0, "meta": 100, "len": 64, "rows": 20, "dst_row": 64, "a_row": 64, "steps": 15}),
    ("kpack", {"dst": 4000, "a": 1000, "len": 64, "rows": 20, "bits": 4, "dst_row": 8, "a_row": 64}),
    ("kstore", {"ch": 3, "addr": 63, "beat": 2, "count": 20, "src": 4000, "bits": 4, "bstride": 3, "sn": 8}),
    ("wrgb", ALL, 0, 0, 8),
    ("wracc", ALL, 0, 4),
    ("kmac", {"ch": ALL, "addr": 62, "beat": 1, "beats": 6, "outs": 3, "bstride": 5, "bits": 4}),
    ("rdacc", ALL, 0, 4, 6000, 32),
    ("kselect", {"dst": 7000, "a": 6000, "mask": 1000, "count": 4, "len": 64, "mask_step": 0}),
    ("vfill", 8000, 1.0, 512),
    ("halt",),
)
SOURCES = (Source("group", ("/Append",)), Source("attention", ("/MatMul",)))
DEBUG = (0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1)
COLUMNS_READ = 2 + 2 + 3
"""Four beats a column: outputs take beats 1 to 6, 6 to 11, 11 to 16."""
BEATS = 18


def made() -> Program:
    return program(code(*ROWS), REGIONS, sources=SOURCES, debug=DEBUG)


def run(timing_only: bool = False) -> tuple[Statistics, Recording]:
    simulator = Simulator(machine())
    simulator.load(made())
    simulator.record()
    statistics = simulator.run("decode", timing_only=timing_only)
    return statistics, simulator.recording()


def test_energies_are_those_of_the_parts() -> None:
    found, _ = run()
    codec, near_bank = machine().kv_codec, machine().near_bank
    assert codec is not None
    assert near_bank is not None
    elements = {"kscale": 64, "kquant": 1280, "kpack": 1280, "kselect": 64}
    codec_j = sum(count * codec.energies_pj(name, "")["kv_codec"] for name, count in elements.items()) * 1e-12
    assert found.energy_by_unit_j["kv_codec"] == pytest.approx(codec_j, rel=1e-12)
    compute_pj = COLUMNS_READ * near_bank.energy.mac_all_banks_pj + (BEATS - COLUMNS_READ) * codec.beat_energy_pj
    assert found.energy_by_unit_j["dram_compute"] == pytest.approx(32 * compute_pj * 1e-12, rel=1e-12)
    assert found.energy_by_unit_j["vector_unit"] == pytest.approx(
        512 * machine().vector_unit.operation_energy_pj * 1e-12
    )
    leakage_j = codec.leakage_mw * 1e-3 * found.time_s
    assert found.energy_by_unit_j["kv_codec_leakage"] == pytest.approx(leakage_j, rel=1e-12)
    assert sum(found.energy_by_unit_j.values()) == found.energy_j
    assert sum(node.energy_j for node in found.nodes.values()) == pytest.approx(found.energy_j, rel=1e-12)
    assert found.commands["MAC16"] == 32 * BEATS
    assert found.bytes_by_space["bank_mac"] == 32 * COLUMNS_READ * 16 * 32
    assert found.busy_cycles_by_unit["codec"] == 22 + 26 + 26 + 36
    assert found.peak_floor_cycles == 2 * BEATS


def test_energies_need_no_data() -> None:
    assert run(timing_only=True)[0].energy_by_unit_j == run()[0].energy_by_unit_j


def test_a_codec_that_no_instruction_uses_is_switched_off() -> None:
    simulator = Simulator(machine())
    simulator.load(program(code(("vfill", 0, 1.0, 9), ("halt",))))
    found = simulator.run("decode")
    assert not any("codec" in unit for unit in (*found.energy_by_unit_j, *found.busy_cycles_by_unit))


def test_the_area_has_the_codec() -> None:
    found, _ = run()
    codec = machine().kv_codec
    assert codec is not None
    assert found.area_mm2 == pytest.approx(machine().shared_buffer.area_mm2 + codec.area_mm2)


@pytest.mark.parametrize(
    ("command", "channel", "bank", "columns"),
    [
        ("MAC16", 9, -1, [62, 62, 62, 63, 63, 63, 63, 63, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2]),
        ("WR", 1, 2, [63, 0]),
        ("WR", 0, 7, [63]),
        ("WR", 2, 7, []),
    ],
)
def test_the_command_log_names_columns_of_beats(command: str, channel: int, bank: int, columns: list[int]) -> None:
    statistics, recording = run()
    found = recorded_commands(recording, made(), machine())
    counts = np.bincount(found.command, minlength=len(COMMANDS))
    assert dict(zip(COMMANDS, counts.tolist(), strict=True)) == statistics.commands
    chosen = (found.command == COMMANDS.index(command)) & (found.channel == channel) & (found.bank == bank)
    assert found.column[chosen].tolist() == columns


def test_the_codec_has_a_track() -> None:
    _, recording = run()
    lines = timeline(recording, made(), machine())
    track = [each.name for each in lines.tracks].index("kv codec")
    own = (lines.slices.track == track) & (lines.slices.depth == 1)
    assert [lines.names[name] for name in lines.slices.name[own]] == ["kscale", "kquant", "kpack", "kselect"]
    outer = (lines.slices.track == track) & (lines.slices.depth == 0)
    assert [lines.names[name] for name in lines.slices.name[outer]] == ["group", "attention"]


def test_power_curves_hold_the_energy_of_all_actions() -> None:
    statistics, recording = run()
    found = curves(recording, made(), machine(), "faithful")
    for unit, energy in found.energy_j.items():
        assert float(energy.sum()) == pytest.approx(statistics.energy_by_unit_j[unit], rel=1e-9), unit
    busy = float((found.occupancy["kv codec"] * found.window_cycles).sum())
    assert busy == pytest.approx(statistics.busy_cycles_by_unit["codec"])


def test_traces_of_the_published_simulator_have_no_codec() -> None:
    _, recording = run()
    with pytest.raises(UnsupportedError) as caught:
        list(aim_isr_lines(recording, made(), machine()))
    assert caught.value.message == "traces of the published AiM simulator have no KV codec (extension K)"
    assert caught.value.notes == ("the program uses kscale, kquant, kpack, kstore, kmac, kselect",)
