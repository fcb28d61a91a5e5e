"""Energies of commands and static power under both accountings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import Program, instruction, load_machine
from pimc.simulator.accounting.energy import EnergyModel, element_energies
from pimc.simulator.dram.tables import COMMANDS
from pimc.simulator.engine.decoding import decode

MACHINE = load_machine("gddr6-aim-acc16")
PAPER, FAITHFUL = EnergyModel(MACHINE, "paper"), EnergyModel(MACHINE)
COUNTS = st.lists(st.integers(0, 10**9), min_size=len(COMMANDS), max_size=len(COMMANDS)).map(np.array)


def counts_of(**counts: int) -> np.ndarray:
    return np.array([counts.get(command, 0) for command in COMMANDS])


@pytest.mark.parametrize(
    ("command", "paper_pj"),
    [
        ("ACT", 2950.35),
        ("ACT4", 4 * 2950.35),
        ("ACT16", 16 * 2950.35),
        ("RD", 547.6875 + 1408),
        ("WR", 691.4375 + 1408),
        ("WRA16", 16 * 691.4375 + 1408),
        ("MAC", 1314.45 / 16),
        ("MAC16", 1314.45),
        ("EWMUL16", 328.6125),
        ("AF16", 8763.0),
        ("RDCP", 547.6875),
        ("WRCP", 691.4375),
        ("WRGB", 1408),
        ("WRMAC16", 691.4375 + 1408),
        ("RDMAC16", 547.6875 + 1408),
        ("RDAF16", 547.6875 + 1408),
        ("PREA", 0),
        ("TMOD", 0),
        ("REFab", 0),
    ],
)
def test_published_energy_of_a_command(command: str, paper_pj: float) -> None:
    assert PAPER.command_energy_pj[COMMANDS.index(command)] == pytest.approx(paper_pj, rel=1e-12)


@pytest.mark.parametrize(
    ("command", "added_pj"),
    [
        ("REFab", 15946.875),
        ("REFpb", 15946.875 / 16),
        ("WRGB", 1.663),
        ("RDCP", 1.663),
        ("WRCP", 1.278),
        ("WRMAC16", 4.608),
        ("RDMAC16", 4.608),
        ("RDAF16", 4.608),
    ],
)
def test_faithful_energy_adds_what_the_published_leaves_out(command: str, added_pj: float) -> None:
    index = COMMANDS.index(command)
    assert FAITHFUL.command_energy_pj[index] - PAPER.command_energy_pj[index] == pytest.approx(added_pj, rel=1e-9)


def test_faithful_energy_is_never_less() -> None:
    assert (FAITHFUL.command_energy_pj >= PAPER.command_energy_pj).all()


@given(COUNTS, st.sampled_from([PAPER, FAITHFUL]))
def test_energy_is_conserved(counts: np.ndarray, model: EnergyModel) -> None:
    energy = model.dram_energy_j(counts)
    total = pytest.approx(energy.total_j, rel=1e-12)
    assert sum(energy.by_command.values()) == total
    assert sum(energy.by_unit.values()) == total
    assert float(counts @ model.command_energy_pj) * 1e-12 == total


@given(COUNTS, COUNTS)
def test_energies_of_parts_add_up(first: np.ndarray, second: np.ndarray) -> None:
    parts = FAITHFUL.dram_energy_j(first).total_j + FAITHFUL.dram_energy_j(second).total_j
    assert FAITHFUL.dram_energy_j(first + second).total_j == pytest.approx(parts, rel=1e-12)


def test_published_decoder_block_is_met() -> None:
    """A Llama-2-7B block on the AiM simulator, energies in mJ by CENT's calculator (commit 8c79786)."""
    counts = counts_of(
        ACT=2576, ACT16=51488, RD=5120, WR=26368, MAC16=3171584, EWMUL16=18880, AF16=2752, RDCP=4864, WRCP=4864,
        WRGB=79488, WRMAC16=51776, RDMAC16=51776, RDAF16=2752, WRA16=256,
    )  # fmt: skip
    energy = PAPER.dram_energy_j(counts)
    expected = {"activation": 2.438122, "read": 0.059448, "write": 0.060227, "compute": 4.175093, "interface": 0.306291}
    for unit, millijoules in expected.items():
        assert energy.by_unit[f"dram_{unit}"] * 1e3 == pytest.approx(millijoules, abs=0.5e-6)
    static = PAPER.static_energy_j(cycles=419563, row_open_cycles=11763296)
    assert static["dram_standby_active"] * 1e3 == pytest.approx(0.048478, abs=0.5e-6)
    assert static["dram_standby_precharged"] * 1e3 == pytest.approx(0.004758, abs=0.5e-6)


def test_static_energy_is_power_times_time() -> None:
    cycles, row_open_cycles = 2_000_000, 24_000_000  # 1 ms, 12 of 32 channels with an open row
    assert FAITHFUL.static_energy_j(cycles, row_open_cycles) == {
        "dram_standby_active": pytest.approx(12 * 263.75e-6),
        "dram_standby_precharged": pytest.approx(20 * 183.15e-6),
        "shared_buffer_leakage": pytest.approx(995.392e-6),
        "vector_unit_leakage": 0.0,
    }


def test_energy_of_the_controller_units() -> None:
    code = (instruction("vadd", 0, 0, 0, len=1), instruction("vmap", 0, 0, "exp", 1), instruction("halt"))
    found = element_energies(MACHINE, decode(Program(MACHINE.name, "", "fp32", code, {})), {"I"})
    assert found.parts == ("vector_unit",)
    assert found.table_pj.tolist() == [[4.6], [9.2], [0.0]]
    assert FAITHFUL.buffer_energy_j(7, 3) == {"shared_buffer": pytest.approx((7 * 0.638375 + 3 * 1.662125) * 1e-12)}
    assert FAITHFUL.buffer_energy_j(0, 1) == {"shared_buffer": pytest.approx(1.662125e-12)}
    assert FAITHFUL.sequencer_energy_j(1000) == {"sequencer": pytest.approx(1.763e-9)}


def test_machine_without_channels_has_no_dram_energy() -> None:
    model = EnergyModel(MACHINE.model_copy(update={"near_bank": None}))
    assert model.dram_energy_j(counts_of(RD=5)).total_j == 0
    assert set(model.static_energy_j(10, 0)) == {"vector_unit_leakage", "shared_buffer_leakage"}
