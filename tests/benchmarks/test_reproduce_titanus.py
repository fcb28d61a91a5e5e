"""Titanus' rows: all of the authors' accounting are kept, closed forms agree, a changed number moves them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import reproduce_titanus as titanus
from benchmarks import titanus_runs as runs
from benchmarks.reproduce_rows import Row
from isa import Machine, Program, load_machine
from pimc.backend import Workload
from pimc.simulator import ScaledModel


@pytest.fixture(scope="module")
def published_rows() -> list[Row]:
    """All rows but those without the authors' accounting, which take longer."""
    parts = (
        *(titanus._instances, titanus._speeds, titanus._energies, titanus._traffic),
        *(titanus._ablation, titanus._cores),
    )
    return [row for part in parts for row in part()]


def test_every_published_figure_comes_out(published_rows: list[Row]) -> None:
    assert len(published_rows) == 2 + 21 + 7 + 2 + 12 + 4
    for row in published_rows:
        assert row.is_kept, row
        if "tokens/J" in row.unit:
            assert abs(row.difference) < 0.002, row


def test_the_picture_of_the_page_has_these_figures(published_rows: list[Row]) -> None:
    """After a change on purpose: `python -m benchmarks.reproduce titanus --plot docs/reproduce-titanus.svg`."""
    drawn = (Path(__file__).parents[2] / "docs" / "reproduce-titanus.svg").read_text(encoding="utf-8")
    for row in published_rows:
        assert f">{row.claim}<" in drawn, row.claim
        assert f">{row.text(row.published)} / {row.text(row.ours)}<" in drawn, row.claim


def test_stages_of_opt_125m() -> None:
    """The seven stages and the cycles of a token; without the loss of the log the last would have 55."""
    found = titanus._paper(runs.POINTS[1])
    assert found.cycles_per_token == 1607
    assert found.stage_cycles() == (238, 157, 121, 554, 242, 250, 54)


@pytest.mark.parametrize("point", runs.POINTS, ids=lambda point: point.title)
def test_throughput_is_the_closed_form(point: runs.Point) -> None:
    """Latencies of the authors from the slowest stage and the cycles of a token."""
    found = titanus._paper(point)
    layers, prompt, generated = len(point.model.layers), point.workload.prompt, point.workload.generated
    slowest, per_token = max(found.stage_cycles()), math.ceil(found.instance_cycles / 16)
    intra = ((7 + prompt - 1) * slowest + per_token * generated) * layers
    both = 7 * layers * slowest + (prompt - 1) * slowest + per_token * generated * layers
    tokens = point.workload.tokens
    assert found.tokens_per_s()["intra"] == pytest.approx(tokens * 200e6 / intra)
    assert found.tokens_per_s()["intra+inter"] == pytest.approx(tokens * 200e6 / both)


def test_cache_energy_is_the_closed_form() -> None:
    """Blocks of 64 bytes for every record stored once and loaded for each token behind it: 69.558 mJ."""
    found = titanus._paper(runs.POINTS[6])
    moved = 12 * 564 * (256 + sum(range(128, 256)))
    assert found.cache_bytes == moved
    assert found.cache_energy_j == pytest.approx(moved / 64 * 26.5569841e-9)
    assert found.cache_energy_j * 1e3 == pytest.approx(69.558, abs=5e-4)


def test_layers_come_from_the_graphs() -> None:
    for model, layers, sizes in ((runs.OPT_125M, 12, (768, 12, 3072)), (runs.OPT_6_7B, 32, (4096, 32, 16384))):
        assert len(model.layers) == layers
        assert (model.layer.hidden, model.layer.heads, model.layer.feed_forward) == sizes
    thinner = replace(runs.OPT_125M, config=replace(runs.OPT_125M.config, intermediate=1536))
    found = runs.scaled(thinner, Workload(32, 32), load_machine("dcim-titanus"))
    assert found.instance_cycles < _scaled(load_machine("dcim-titanus")).instance_cycles


def test_ratios_to_back_derived_baselines_say_so() -> None:
    found = [row for row in titanus._baselines() if "measured" not in row.claim]
    assert len(found) == 4
    for row in found:
        assert row.tolerance_class == "A"
        assert row.assumption.startswith("circular")
        assert abs(row.difference) < 0.01


def test_without_units_fewer_bytes_are_saved() -> None:
    """564 bytes of a token with both, 1,209 pruned only, 689 with codes only, 1,536 as they are."""
    found = {
        name: runs.scaled_point(model, Workload(128, 128)) for name, model in titanus.ablated(runs.OPT_125M).items()
    }
    assert {name: each.record_bytes for name, each in found.items()} == {
        "no units": 1536,
        "pruning only": 1209,
        "codes only": 689,
    }


def _scaled(machine: Machine) -> ScaledModel:
    return runs.scaled(runs.OPT_125M, Workload(32, 32), machine)


@pytest.mark.parametrize(
    ("text", "moved"),
    [
        ("digital_cim: {dequantise: {cycles: 3}}", ("cycles", "speed", "compute")),
        ("digital_cim: {macro: {dynamic_mw: 30.0}}", ("compute",)),
        ("off_chip: {block_energy_nj: 30.0}", ("cache",)),
        ("digital_cim: {quantise: {count: 2}}", ("cycles", "speed", "compute", "area")),
        ("digital_cim: {assign_cycles: 2}", ("cycles", "speed", "compute")),  # the log loses other products
    ],
)
def test_a_changed_number_moves_what_depends_on_it(tmp_path: Path, text: str, moved: tuple[str, ...]) -> None:
    (tmp_path / "m.yaml").write_text(f"extends: dcim-titanus\nname: x\n{text}\n")
    before, after = _scaled(load_machine("dcim-titanus")), _scaled(load_machine(str(tmp_path / "m.yaml")))
    figures = {
        "cycles": lambda found: found.instance_cycles,
        "speed": lambda found: found.tokens_per_s()["intra+inter"],
        "compute": lambda found: found.compute_energy_j,
        "cache": lambda found: found.cache_energy_j,
        "area": lambda found: found.instance.area_mm2,
    }
    changed = {
        name for name, figure in figures.items() if not math.isclose(figure(before), figure(after), rel_tol=1e-9)
    }
    assert changed == set(moved)


def test_without_the_accounting_a_longer_context_is_slower() -> None:
    machine = load_machine("dcim-titanus")
    short, long = (runs.faithful(runs.OPT_125M, Workload(prompt, 8), machine) for prompt in (4, 64))
    published = _scaled(machine).tokens_per_s()
    assert long.tokens_per_s < published["original"] < short.tokens_per_s
    assert long.tokens_per_j < short.tokens_per_j


def test_cores_side_by_side_shorten_the_prompt_only() -> None:
    machine = load_machine("dcim-titanus")
    points = {generated: Workload(32, generated) for generated in (1, 8)}
    found = {
        generated: [runs.faithful(runs.OPT_125M, workload, machine, way) for way in (False, True)]
        for generated, workload in points.items()
    }
    gains = {generated: pair[1].tokens_per_s / pair[0].tokens_per_s for generated, pair in found.items()}
    assert gains[1] > gains[8] > 1
    assert all(pair[1].tokens_per_j > pair[0].tokens_per_j for pair in found.values())


def test_more_units_for_dequantisation_are_faster_without_the_accounting() -> None:
    base, workload = load_machine("dcim-titanus"), Workload(8, 32)
    speeds = [
        runs.faithful(runs.OPT_125M, workload, runs.with_dequantisers(base, count)).tokens_per_s for count in (1, 4, 48)
    ]
    assert speeds == sorted(set(speeds))


def test_pipelines_gain_at_least_what_the_accounting_claims() -> None:
    """2.77 by the authors' stages for the prompt alone; more in a run, which need not dequantise in a prompt."""
    machine = load_machine("dcim-titanus")
    short, long = (runs.pipelined(runs.OPT_125M, Workload(prompt, 8), machine) for prompt in (8, 64))
    assert 1 < short.inside < long.inside
    assert long.inside > 64 * 1607 / ((7 + 64 - 1) * 554)
    assert long.inside < short.all_cores < long.all_cores


def test_a_core_that_begins_after_the_lag_never_waits() -> None:
    """Of two tokens, needed at 0 and 10, done at 30 and 50: the next core begins 40 cycles later."""
    program = runs.program_of(runs.OPT_125M, Workload(2, 2), load_machine("dcim-titanus"))
    first = program.entries["pipeline"].address
    nodes = {name: _first(program, first, name) for name in ("norm_1", "down")}
    recording = SimpleNamespace(
        index=[nodes["norm_1"], nodes["norm_1"], nodes["down"], nodes["down"]],
        start=[0, 10, 20, 40],
        finish=[9, 19, 30, 50],
    )
    assert runs._lag(program, recording, 2) == 40


def _first(program: Program, start: int, node: str) -> int:
    places = range(start, len(program.code))
    return next(place for place in places if program.sources[program.debug[place]].node == node)


def test_sums_between_samples_are_those_of_lines() -> None:
    values = [3.0 * place + 2 for place in range(10, 31)]
    assert runs._sum([10, 17, 30], [values[0], values[7], values[20]]) == pytest.approx(sum(values))
