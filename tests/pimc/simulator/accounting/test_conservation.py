"""Energy is conserved in compiled programs: units, nodes and total agree; static energy is power times time."""

from functools import cache
from pathlib import Path

import pytest

import pimc
from isa import Machine, Program, load_machine
from pimc.simulator import Simulator, Statistics, total

TINY = Path(__file__).parents[4] / "models" / "tiny-shakespeare.onnx"
MACHINE = load_machine("gddr6-aim")
LENGTHS = range(3, 100, 16)
COMPRESSED = "kivi:bits=4,group=32,residual=32"


@cache
def compiled(kv: str | None) -> Program:
    return pimc.compile(str(TINY), MACHINE, kv=kv, max_context=128)


@cache
def steps(kv: str | None, accounting: str) -> tuple[Statistics, ...]:
    simulator = Simulator(MACHINE, accounting=accounting)
    simulator.load(compiled(kv))
    return tuple(simulator.run("decode", {"kv_length": length, "masked": 0}, timing_only=True) for length in LENGTHS)


CASES = pytest.mark.parametrize(
    ("kv", "accounting"), [(kv, accounting) for kv in (None, COMPRESSED) for accounting in ("faithful", "paper")]
)


@CASES
def test_units_nodes_and_total_agree(kv: str | None, accounting: str) -> None:
    for found in (*steps(kv, accounting), total(steps(kv, accounting))):
        assert found.energy_j > 0
        assert sum(found.energy_by_unit_j.values()) == pytest.approx(found.energy_j, rel=1e-12)
        assert sum(node.energy_j for node in found.nodes.values()) == pytest.approx(found.energy_j, rel=1e-9)
        assert found.power_w * found.time_s == pytest.approx(found.energy_j, rel=1e-12)


def static_power_w(machine: Machine, found: Statistics, codec: bool) -> dict[str, float]:
    """Leakage of the units beside the channels, from the machine file."""
    codec_mw = {"kv_codec_leakage": machine.kv_codec.leakage_mw} if codec and machine.kv_codec else {}
    milliwatts = {
        "vector_unit_leakage": machine.vector_unit.leakage_mw,
        "shared_buffer_leakage": machine.shared_buffer.leakage_mw,
        **codec_mw,
    }
    assert {unit for unit in found.energy_by_unit_j if unit.endswith("leakage")} == set(milliwatts)
    return {unit: value * 1e-3 for unit, value in milliwatts.items()}


@CASES
def test_static_energy_is_power_times_time(kv: str | None, accounting: str) -> None:
    near_bank = MACHINE.near_bank
    assert near_bank is not None
    charged_channels = near_bank.channels if accounting == "faithful" else 1
    for found in steps(kv, accounting):
        energy = found.energy_by_unit_j
        leakage = static_power_w(MACHINE, found, codec=kv is not None)
        for unit, power_w in leakage.items():
            assert energy[unit] == pytest.approx(power_w * found.time_s, rel=1e-12)
        # A channel is in standby at all times, with an open row or without.
        active_s = energy["dram_standby_active"] / (near_bank.energy.background_active_mw * 1e-3)
        closed_s = energy["dram_standby_precharged"] / (near_bank.energy.background_precharged_mw * 1e-3)
        assert active_s > 0
        assert active_s + closed_s == pytest.approx(charged_channels * found.time_s, rel=1e-12)


def test_codec_and_refresh_are_charged() -> None:
    """The programs above are not trivial cases: codec, packed columns and refreshes occur in them."""
    found = total(steps(COMPRESSED, "faithful"))
    plain = total(steps(None, "faithful"))
    assert found.energy_by_unit_j["kv_codec"] > 0
    assert found.mnemonics["kmac"].count > 0
    assert "kv_codec" not in plain.energy_by_unit_j
    for each in (found, plain):
        assert each.commands["REFab"] > 0
        assert each.energy_by_unit_j["dram_refresh"] > 0


@CASES
def test_accountings_differ_in_energy_only(kv: str | None, accounting: str) -> None:
    for found, faithful in zip(steps(kv, accounting), steps(kv, "faithful"), strict=True):
        assert (found.cycles, found.commands) == (faithful.cycles, faithful.commands)
        assert found.energy_j < faithful.energy_j or accounting == "faithful"
        assert found.energy_by_unit_j["dram_refresh"] == (
            faithful.energy_by_unit_j["dram_refresh"] if accounting == "faithful" else 0
        )
