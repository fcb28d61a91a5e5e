"""CAMformer's figures: equal to the published ones and to closed forms, and moved by the machine's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.reproduce import table
from benchmarks.reproduce_camformer import CHANNELS, HEADS, KEYS, STAGES, Measured, measured, rows, with_tiles
from isa import CamModules, Machine, load_machine

DOCUMENT = Path(__file__).parents[2] / "docs" / "camformer.md"


@pytest.fixture(scope="module")
def machine() -> Machine:
    return load_machine("cam-camformer")


def changed(machine: Machine, module: str, **facts: Any) -> Machine:
    """The machine with other numbers of a circuit."""
    described = machine.model_dump()
    described["cam"]["modules"][module] |= facts
    return Machine.model_validate({**described, "name": "cam-changed"})


def closed_form(machine: Machine, winners: int) -> Measured:
    """The authors' sums over tiles, merges, winners and multiplications."""
    cam = machine.cam
    assert cam is not None
    use = {name: getattr(cam.modules, name) for name in CamModules.model_fields}
    tiles, uses = KEYS // cam.rows, cam.rows // cam.rows_per_use
    drain = sum(use[name].cycles for name in ("converter", "scaler", "tile_sorter", "candidate_register"))
    sums = CHANNELS * winners // use["multiplier"].count
    association = tiles * (uses + 1) + drain
    normalisation = use["sorter"].cycles + winners * (1 + use["divider"].cycles)
    contextualisation = sums + use["multiplier"].cycles
    counts = {
        "query_buffer": 1 + tiles,
        "key_memory": tiles * uses,
        "array": tiles * (uses + 1),
        **dict.fromkeys(("converter", "scaler", "tile_sorter", "value_memory"), tiles),
        "candidate_register": tiles + 2,
        "sorter": 3,
        **dict.fromkeys(("exponential", "accumulator", "divider"), winners),
        "output_buffer": 3 * winners,
        "value_buffer": tiles + sums,
        "multiplier": sums,
    }
    energies = {name: use[name].use_pj * count / 1000 for name, count in counts.items()}
    slowest = max(association, normalisation, contextualisation)
    total = association + normalisation + contextualisation
    rate = 1e6 / (slowest * HEADS)
    return Measured(association, normalisation, contextualisation, total, energies, rate, cam.area_mm2)


@pytest.mark.slow
def test_every_row_keeps_to_its_class_and_the_exact_ones_are_exact() -> None:
    found = rows()
    assert [row.claim for row in found if not row.is_kept] == []
    assert sum(row.tolerance_class == "E" and row.difference == 0 for row in found) == 35
    assert table(found) in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("winners", [8, 32])
def test_runs_equal_the_closed_form(machine: Machine, winners: int) -> None:
    own, expected = measured(machine, winners), closed_form(machine, winners)
    assert own.energies_nj == pytest.approx(dict(expected.energies_nj))
    for name in ("association_cycles", "normalisation_cycles", "contextualisation_cycles", "head_cycles"):
        assert getattr(own, name) == getattr(expected, name)
    assert own.queries_per_ms == pytest.approx(expected.queries_per_ms)


@pytest.mark.parametrize("count", [4, 8, 32])
def test_derived_machines_equal_the_closed_form(machine: Machine, count: int) -> None:
    derived = with_tiles(machine, count)
    own, expected = measured(derived), closed_form(derived, 32)
    assert own.energies_nj == pytest.approx(dict(expected.energies_nj))
    assert (own.association_cycles, own.head_cycles) == (expected.association_cycles, expected.head_cycles)


def test_the_published_sums(machine: Machine) -> None:
    own = measured(machine)
    assert (own.association_cycles, own.normalisation_cycles, own.contextualisation_cycles) == (327, 134, 260)
    assert round(own.energy_nj, 3) == 54.922
    assert round(own.queries_per_ms, 2) == 191.13


@pytest.mark.parametrize("module", CamModules.model_fields)
def test_every_circuit_moves_the_energy(machine: Machine, module: str) -> None:
    before, after = (
        measured(each).energies_nj for each in (machine, changed(machine, module, energy_pj_per_cycle=1e3))
    )
    assert after[module] > before[module]
    assert {name: value for name, value in after.items() if name != module} == pytest.approx(
        {name: value for name, value in before.items() if name != module}
    )


@pytest.mark.parametrize(
    ("module", "facts", "stage", "cycles"),
    [
        ("converter", {"cycles": 5}, "association_cycles", 330),
        ("array", {"cycles": 2}, "association_cycles", 64 * 10 + 7),
        ("divider", {"cycles": 2}, "normalisation_cycles", 102),
        ("sorter", {"cycles": 9}, "normalisation_cycles", 137),
        ("multiplier", {"count": 16}, "contextualisation_cycles", 132),
    ],
)
def test_circuits_move_the_stages(
    machine: Machine, module: str, facts: dict[str, int], stage: str, cycles: int
) -> None:
    assert getattr(measured(changed(machine, module, **facts)), stage) == cycles


def test_every_circuit_belongs_to_a_stage() -> None:
    assert sorted(circuit for stage in STAGES.values() for circuit in stage) == sorted(CamModules.model_fields)
