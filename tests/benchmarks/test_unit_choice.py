"""The choice of units by cost, as it runs, against each mechanism forced and against all choices."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.unit_choice import FORCED, Workload, exhaustive
from isa import load_machine

MODELS = Path(__file__).parents[2] / "models"


def test_the_choice_is_not_worse_than_a_mechanism_by_itself() -> None:
    workload = Workload(MODELS / "tiny-shakespeare.onnx", load_machine("e2e-pim"), 256)
    chosen = workload.measure("cost")
    assert chosen.product <= 1.02 * min(workload.measure(units).product for units in FORCED)


def test_layers_are_cut_around_attention() -> None:
    layers, rest = Workload(MODELS / "tiny-shakespeare.onnx", load_machine("e2e-pim"), 64).layers()
    assert [len(layer) for layer in layers] == [4, 4, 4]
    assert len(rest) == 1


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.smollm2
def test_the_choice_is_the_best_of_all_on_four_layers(tmp_path: Path) -> None:
    from smollm2 import write_model

    path = write_model(tmp_path, layers=4) / "model.onnx"
    workload = Workload(path, load_machine("e2e-pim"), 512)
    search = exhaustive(workload)
    assert search.number == 7752
    assert workload.measure("cost").product <= 1.02 * search.best[0].product
