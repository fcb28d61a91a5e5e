"""The CAM of a machine: durations and energies of its instructions, its area, what a description may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import isa

KEYS, CHANNELS, WINNERS = 1024, 64, 32
TILES = KEYS // 16


@pytest.fixture(scope="module")
def cam() -> isa.Cam:
    found = isa.load_machine("cam-camformer").cam
    assert found is not None
    return found


@pytest.fixture
def described(tmp_path: Path) -> Any:
    def load(text: str) -> isa.Machine:
        (tmp_path / "m.yaml").write_text("extends: cam-camformer\nname: x\n" + text)
        return isa.load_machine(str(tmp_path / "m.yaml"))

    return load


def test_the_machine_brings_extension_c() -> None:
    assert isa.load_machine("cam-camformer").extensions == ("I", "C")
    assert isa.load_machine("gddr6-aim").extensions == ("I", "B", "K")


@pytest.mark.parametrize(
    ("mnemonic", "rows", "length", "duration"),
    [
        ("cquery", 1, 1, (0, 1)),
        ("cprog", 1, 1, (4, 4)),
        ("csearch", 1, 1, (1, 8)),
        ("cfetch", 1, 1, (1, 24)),
        ("cstore", 1, 1, (1, 1)),
        ("cvalue", 1, 1, (1, 24)),
        ("cmerge", 1, 1, (1, 7)),
        ("ctop", 1, 1, (1, 6)),
        ("cexp", 1, 32, (32, 32)),
        ("cdiv", 1, 32, (96, 96)),
        ("cmac", 32, 64, (256, 260)),
        ("cmac", 3, 3, (2, 6)),
    ],
)
def test_instructions_take_the_cycles_of_their_circuits(
    cam: isa.Cam, mnemonic: str, rows: int, length: int, duration: tuple[int, int]
) -> None:
    assert cam.duration(mnemonic, mnemonic, rows, length) == duration


def test_every_row_has_a_duration_and_an_energy(cam: isa.Cam) -> None:
    rows = [row.mnemonic for row in isa.INSTRUCTIONS if row.extension == "C"]
    assert len(rows) == 11
    for mnemonic in rows:
        assert cam.duration(mnemonic, mnemonic, 1, 1).latency >= 1
        assert sum(cam.energies_pj(mnemonic, mnemonic).values()) > 0
        assert set(cam.energies_pj(mnemonic, mnemonic)) <= set(cam.leakages_mw())


def test_the_energies_are_those_of_the_authors_sum(cam: isa.Cam) -> None:
    """Their closed form, circuit by circuit, in pJ for one head and query: 54,922 pJ."""
    query_buffer, key_memory, array = 0.80348, 28.4, 13.14783
    ranking = 0.95 * 2 * 16 + 0.024522 * 2 * 16 + 6.08367 * 2 + 1.5287
    fetch = 12.42667 * 24 + 34.7
    tile = 4 * (key_memory + array) + query_buffer + array + ranking + fetch
    merges = 2 * (52.07715 * 6 + 1.5287) + 52.07715 * 6
    softmax = WINNERS * (1.418 + 1.11704 + 1.55478) + WINNERS * (2 * 1.55478 + 0.07109 * 3)
    sums = CHANNELS * WINNERS / 8 * (34.7 + 8 * 1.11704 * 4)
    counts = {"cquery": 1, "cprog": TILES, "csearch": TILES, "cfetch": TILES, "cmerge": 2, "ctop": 1}
    counts |= {"cexp": WINNERS, "cdiv": WINNERS, "cmac": WINNERS * CHANNELS}
    ours = sum(count * sum(cam.energies_pj(name, name).values()) for name, count in counts.items())
    assert ours == pytest.approx(query_buffer + TILES * tile + merges + softmax + sums, rel=1e-12)
    assert round(ours / 1000, 3) == 54.922


def test_the_area_is_the_sum_of_the_circuits(cam: isa.Cam) -> None:
    association = 2475 + 27728.6 + 2230.27 + 16 * (4000 + 83.635) + 8801.3 + 6042.3
    normalisation = 67016.9 + 1612.4 + 441.5 + 2879.6 + 5990.8
    contextualisation = 44820 + 8 * 2879.6
    assert (round(association), round(normalisation), round(contextualisation)) == (112616, 77941, 67857)
    assert cam.area_mm2 == pytest.approx((association + normalisation + contextualisation) * 1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cam: {rows: 1}", "cam: tile_top: a tile of 1 keys has no 2 candidates"),
        ("cam: {kept: 65}", "cam: kept: 65 entries do not fit 64 candidates"),
        ("cam: {colums: 3}", "cam.colums: unknown key; did you mean 'columns'?"),
        ("cam: {modules: {array: {count: 0}}}", "cam.modules.array.count: input should be greater than or equal to 1"),
    ],
)
def test_a_bad_description_is_refused(described: Any, text: str, message: str) -> None:
    with pytest.raises(isa.MachineError) as caught:
        described(text)
    assert message in str(caught.value)


def test_a_circuit_can_be_changed(described: Any) -> None:
    changed = described("cam: {modules: {converter: {count: 8, cycles: 3}}}").cam
    assert changed.duration("csearch", "csearch", 1, 1) == (1, 9)
    assert changed.energies_pj("csearch", "csearch")["converter"] == pytest.approx(0.95 * 8 * 3)
    assert changed.area_mm2 == pytest.approx(0.25841363 - 8 * 4000e-6)
