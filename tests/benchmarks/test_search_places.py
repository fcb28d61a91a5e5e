"""Attention to keys found by their signs, in the CAM and in the banks, beside exact attention in the banks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.search_places import Placed, draw, measure, table
from isa import load_machine

MODEL = Path(__file__).parents[2] / "models" / "tiny-shakespeare.onnx"


@pytest.fixture(scope="module")
def found() -> list[Placed]:
    return measure(MODEL, load_machine("e2e-pim"), "cam:k=32", [128])


def test_the_memory_takes_least_energy_and_moves_fewest_bytes(found: list[Placed]) -> None:
    exact, in_banks, in_memory = found
    assert in_memory.energy_uj < exact.energy_uj < in_banks.energy_uj
    assert in_memory.cost.cache_bytes_moved_per_token * 10 < in_banks.cost.cache_bytes_moved_per_token
    assert exact.time_us < in_banks.time_us < in_memory.time_us


def test_the_place_that_costs_choose_has_the_smaller_product_of_time_and_energy(found: list[Placed]) -> None:
    _, in_banks, in_memory = found
    assert in_memory.is_chosen
    assert not in_banks.is_chosen
    assert in_memory.time_us * in_memory.energy_uj < in_banks.time_us * in_banks.energy_uj


def test_stages_of_the_memory_stand_in_its_row_only(found: list[Placed]) -> None:
    head, exact, in_banks, in_memory = table(found)
    assert head.split()[-3:] == ["association", "normalisation", "contextualisation"]
    assert exact.count("%") == in_banks.count("%") == 0
    assert in_memory.count("%") == 3
    assert "signs in CAM *" in in_memory


def test_every_place_is_a_point_of_the_picture(found: list[Placed], tmp_path: Path) -> None:
    path = tmp_path / "places.svg"
    draw(path, "places", found)
    text = path.read_text()
    assert all(f"{each.place}, 128 tokens: {each.time_us:.3f} us" in text for each in found)
