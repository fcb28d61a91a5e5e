"""CENT's rows: its traces come out exactly, and every figure of ours moves with the machine file."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from benchmarks import reproduce_cent as cent
from benchmarks.reproduce_rows import Row
from isa import Machine, load_machine


@pytest.fixture(scope="module")
def device() -> Machine:
    return load_machine("gddr6-aim")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return cent.rows()


def test_traces_come_out_exactly(rows: list[Row]) -> None:
    found = [row for row in rows if row.tolerance_class != "A"]
    assert len(found) == 5
    assert all(row.is_kept for row in found), found


def test_published_figures_of_traces_are_those_of_the_golden_file(rows: list[Row]) -> None:
    """The cycles and the five energies of commands that the published simulator printed."""
    path = Path(cent.__file__).parents[1] / "tests" / "golden" / "cent" / "llama2_7b_block_golden.csv"
    with path.open(newline="") as file:
        golden = list(csv.DictReader(file))
    assert [int(line["cycles"]) for line in golden] == [row.published for row in rows if row.unit == "cycles"]


def test_the_picture_of_the_page_has_these_figures(rows: list[Row]) -> None:
    """After a change on purpose: `python -m benchmarks.reproduce cent --plot docs/reproduce-cent.svg`."""
    drawn = (Path(cent.__file__).parents[1] / "docs" / "reproduce-cent.svg").read_text(encoding="utf-8")
    for row in rows:
        assert f">{row.claim}<" in drawn, row.claim
        if "trace" in row.claim:
            assert f">{row.text(row.published)} / {row.text(row.ours)}<" in drawn, row.claim


def test_every_row_of_a_compiled_program_states_its_assumption(rows: list[Row]) -> None:
    compiled = [row for row in rows if "trace" not in row.claim]
    assert len(compiled) == 2 * 7 + 2
    assert {row.tolerance_class for row in compiled} == {"A"}


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("near_bank: {timing: {nRP: 40}}", ("trace", "block", "token")),
        ("near_bank: {energy: {activate_pj_per_bank: 3000.0}}", ("trace_energy", "energy")),
        ("vector_unit: {startup_cycles: 40}", ("block", "token")),
    ],
)
def test_a_changed_number_moves_what_depends_on_it(
    device: Machine, tmp_path: Path, text: str, moved: tuple[str, ...]
) -> None:
    (tmp_path / "m.yaml").write_text(f"extends: gddr6-aim\nname: x\n{text}\n")
    before, after = (_figures(machine) for machine in (device, load_machine(str(tmp_path / "m.yaml"))))
    changed = {name for name in before if not math.isclose(before[name], after[name], rel_tol=1e-9)}
    if "block" in moved:
        changed -= {"energy", "trace_energy"}  # what lasts longer leaks longer
    assert changed == set(moved)


def _figures(machine: Machine) -> dict[str, float]:
    trace = cent.replayed(machine, 1)
    (step,) = cent.steps(machine, (128,))
    return {
        "trace": trace.cycles,
        "trace_energy": sum(trace.energy_by_unit_j.values()),
        "block": step.block_s,
        "token": step.token_s,
        "energy": step.energy_j,
    }


def test_a_step_is_that_of_the_whole_model(device: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of one layer and a further block twice is nearly the program of three layers: refreshes differ."""
    monkeypatch.setattr(cent, "LAYERS", 3)
    (step,) = cent.steps(device, (512,))
    ((whole_s, whole_j),) = cent._runs(device, (512,), "paper", 3)
    assert step.token_s == pytest.approx(whole_s, rel=0.01)
    assert step.energy_j == pytest.approx(whole_j, rel=0.01)


def test_four_blocks_are_under_way_on_a_device_in_quarters(device: Machine) -> None:
    step = cent.Step(1e-4, 1e-2, 1.0)
    assert cent.tokens_per_s(step, 8, device) == pytest.approx(4 * cent.tokens_per_s(step, 32, device))
    assert cent.tokens_per_s(step, 32, device) == pytest.approx(800)
