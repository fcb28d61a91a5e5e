"""Statistics: what is counted, how it adds up, and the JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest
from machine_programs import ALL, bfloat16_bits, code, machine, normal, program

from isa import Indexed, InputError, MachineError, Region, RegisterSymbol, ResourceLimitError, Segment, Source, Symbol
from pimc.simulator import Simulator, total

REGIONS = (Region("weights", "bank", 0, 64, "weights"), Region("cache", "bank", 64, 8, "cache"))
ROWS = (
    ("wrgb", ALL, 0, 0, 64),
    ("wracc", ALL, 0, 1),
    ("mac", ALL, 0, 0, 64),
    ("rdacc", ALL, 0, 1, 2048, 1, 16),
    ("vmap", 4096, 2048, "exp", 512),
    ("vadd", 4096, 4096, 2048, 512),
    ("stb", 1, 0, 64, 2, 4096),
    ("halt",),
)
SOURCES = (Source("first", ("/MatMul",)), Source("second", ("/Exp", "/Add")))
DEBUG = (0, 0, 0, 0, 1, 1, 1, 1)
LAYOUT = {"kind": "key", "kv_heads": 3, "head_dim": 64}


def simulator(**facts):
    registers = (RegisterSymbol("kv_length", 30, 0, 100, "tokens in the KV cache"),)
    made = Simulator(machine())
    loaded = program(
        code(*ROWS),
        REGIONS,
        (Segment("weights", bfloat16_bits(normal(32, 16, 64 * 16))),),
        registers,
        sources=SOURCES,
        debug=DEBUG,
        symbols=(Symbol("layer.key", "bank", 64, 4, LAYOUT), Symbol("layer.value", "bank", 68, 4, LAYOUT)),
        **facts,
    )
    made.load(loaded)
    return made


def run():
    return simulator().run("decode", {"kv_length": 7})


def test_what_a_run_counts():
    found = run()
    assert {name: each.count for name, each in found.mnemonics.items()} == {row[0]: 1 for row in ROWS}
    assert found.instructions == 8
    assert found.commands["MAC16"] == 64 * 32
    assert found.commands["RDMAC16"] == 32
    assert found.bytes_by_space == {
        "bank_mac": 64 * 32 * 16 * 32,
        "bank_read": 0,
        "bank_written": 2 * 32,
        "gb_written": 64 * 32 * 32,
        "sb_read": 4 * (64 * 16 + 512 + 2 * 512 + 32),
        "sb_written": 4 * (512 + 512 + 512),
        "dq": 32 * (64 * 32 + 32 + 32 + 2),
    }
    assert found.cache.tokens_kept == 8
    assert found.cache.bytes == 8 * 2 * 3 * 64 * 2
    assert (found.peak_floor_cycles, found.row_cycled_floor_cycles) == (128, 226)


def test_energy_and_cycles_are_those_of_the_parts():
    found = run()
    units = sum(found.energy_by_unit_j.values())
    nodes = sum(node.energy_j for node in found.nodes.values())
    assert units == found.energy_j
    assert nodes == pytest.approx(units, rel=1e-12)
    static = ("dram_standby_active", "dram_standby_precharged", "vector_unit_leakage", "shared_buffer_leakage")
    standby = sum(found.energy_by_unit_j[unit] for unit in static)
    assert found.nodes["(standby)"].energy_j == pytest.approx(standby, rel=1e-12)
    power_w = 1e-3 * (machine().vector_unit.leakage_mw + machine().shared_buffer.leakage_mw)
    leakage = found.energy_by_unit_j["vector_unit_leakage"] + found.energy_by_unit_j["shared_buffer_leakage"]
    assert leakage == pytest.approx(power_w * found.time_s, rel=1e-12)
    busy = sum(each.busy_cycles for each in found.mnemonics.values())
    assert sum(node.busy_cycles for node in found.nodes.values()) == busy
    assert found.nodes["second"].onnx_nodes == ("/Exp", "/Add")
    assert found.nodes["second"].instructions == 4
    assert all(0 < share <= 1 for share in found.utilization_by_unit.values())
    assert found.time_s == pytest.approx(found.cycles * 0.5e-9)
    assert found.power_w == pytest.approx(found.energy_j / found.time_s)


def test_runs_add_up():
    made = simulator()
    steps = [made.run("decode", {"kv_length": length}) for length in range(3)]
    found = total(steps)
    assert found.cycles == sum(step.cycles for step in steps)
    assert found.energy_j == pytest.approx(sum(step.energy_j for step in steps))
    assert sum(node.energy_j for node in found.nodes.values()) == pytest.approx(found.energy_j, rel=1e-12)
    assert found.mnemonics["mac"].count == 3
    assert found.nodes["first"].instructions == 12
    assert (found.cache.tokens_kept, found.cache.bytes) == (steps[-1].cache.tokens_kept, steps[-1].cache.bytes)
    assert found.cache.bytes_written == sum(step.cache.bytes_written for step in steps)
    assert found.time_to_first_token_s == steps[0].time_s
    assert found.time_per_token_s == pytest.approx((steps[1].time_s + steps[2].time_s) / 2)
    assert found.utilization_by_unit["mac"] == pytest.approx(3 * 128 / found.cycles)


def test_json_has_units_in_its_keys():
    found = json.loads(json.dumps(run().to_json()))
    assert list(found) == [
        "schema_version",
        "cycles",
        "time_s",
        "tokens",
        "instructions",
        "time_to_first_token_s",
        "time_per_token_s",
        "energy_j",
        "energy_by_unit_j",
        "power_w",
        "area_mm2",
        "utilization_by_unit",
        "bytes_by_space",
        "bound",
        "kv",
        "commands",
        "mnemonics",
        "nodes",
        "provenance",
    ]
    assert found["bound"] == {"peak_floor_s": pytest.approx(64e-9), "row_cycled_floor_s": pytest.approx(113e-9)}
    assert found["kv"]["ratio"] == 1.0
    assert [node["node"] for node in found["nodes"]] == ["first", "second", "(standby)"]
    assert found["provenance"]["machine"] == "gddr6-aim-acc16"


def test_timing_only_gives_the_same_statistics_but_says_so():
    full, bare = run(), simulator().run("decode", {"kv_length": 7}, timing_only=True)
    assert bare.provenance["timing_only"]
    assert bare.cycles == full.cycles
    assert bare.energy_by_unit_j == full.energy_by_unit_j
    assert bare.nodes == full.nodes


def test_reset_goes_back_to_cycle_0():
    made = simulator()
    first = made.run("decode", {"kv_length": 0})
    assert made.state.bank_region("cache").data.any()
    made.reset()
    assert not made.state.bank_region("cache").data.any()
    assert made.run("decode", {"kv_length": 0}) == first


def test_entries_and_registers_are_checked():
    made = simulator()
    with pytest.raises(InputError) as error:
        made.run("prefill", {})
    assert str(error.value) == "error: the program has no entry 'prefill'\nnote: its entries are decode"
    with pytest.raises(InputError) as error:
        made.run("decode", {"length": 3})
    assert error.value.notes == (
        "'kv_length' is missing",
        "'length' is unknown",
        "the entry 'decode' asks for: kv_length",
    )
    with pytest.raises(ResourceLimitError) as error:
        made.run("decode", {"kv_length": 101})
    assert error.value.notes == ("tokens in the KV cache: 0 to 100",)


def test_a_program_runs_on_the_machine_it_was_compiled_for():
    other = replace(program(code(("halt",))), machine="fast", machine_sha256="0" * 64)
    with pytest.raises(MachineError, match="compiled for the machine 'fast', not for this 'gddr6-aim-acc16'"):
        Simulator(machine()).load(other)


def test_data_must_fit_the_machine():
    region = Region("weights", "bank", 0, 2, "weights")
    data = np.zeros((32, 16, 16), np.uint16)
    with pytest.raises(InputError) as error:
        Simulator(machine()).load(program(code(("halt",)), (region,), (Segment("weights", data),)))
    assert error.value.notes == ("given: uint16 (32, 16, 16)", "needed: uint16 (32, 16, 32)")


def test_the_published_accounting_charges_less():
    loaded = simulator().program
    made = Simulator(machine(), accounting="paper")
    made.load(loaded)
    found, faithful = made.run("decode", {"kv_length": 7}), run()
    assert found.provenance["accounting"] == "paper"
    assert found.energy_j < faithful.energy_j
    assert found.cycles == faithful.cycles


def test_refresh_belongs_to_no_node():
    made = Simulator(machine())
    rows = (("loop", 1, 40), ("vfill", 0, 0.0, 51200), ("add", 2, 2, Indexed(0, 1)), ("end",), ("halt",))
    made.load(program(code(*rows)))
    found = made.run("decode")
    assert found.commands["REFab"] > 0
    assert found.energy_by_unit_j["dram_refresh"] > 0
