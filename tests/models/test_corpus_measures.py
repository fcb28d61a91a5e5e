"""Errors and cosines of outputs, and when a program's numbers are trouble."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from corpus_manifest import load_manifest
from corpus_measures import least_cosine, worst_error
from corpus_runs import ProgramRun

GRAPHS = {graph.name: graph for graph in load_manifest()}


@pytest.mark.parametrize(
    ("found", "error"),
    [({}, np.inf), ({"y": np.ones((2, 2))}, np.inf), ({"y": np.full((2, 3), np.nan)}, np.nan),
     ({"y": np.full((2, 3), 1.5)}, 0.5), ({"y": np.array([[1.0, 1.0, 1.0], [9.0, 9.0, 9.0]])}, 0.0)],
)  # fmt: skip
def test_errors_are_relative_and_of_selected_places(found: dict[str, np.ndarray], error: float) -> None:
    selections = {"y": np.array([[True], [False]])}
    np.testing.assert_equal(worst_error(selections, {"y": np.ones((2, 3))}, found), error)


@pytest.mark.parametrize(("angle", "cosine"), [(0.0, 1.0), (np.pi / 3, 0.5), (np.pi / 2, 0.0)])
def test_cosines_are_of_whole_outputs(angle: float, cosine: float) -> None:
    chosen = {"y": np.ones(1, bool)}
    found = {"y": 3 * np.array([np.cos(angle), np.sin(angle)])}
    assert least_cosine(chosen, {"y": np.array([1.0, 0.0])}, found) == pytest.approx(cosine)
    assert least_cosine(chosen, {"y": np.ones(3)}, found) == -1


@pytest.mark.parametrize(
    ("name", "run", "trouble"),
    [
        ("llama-dynamo", ProgramRun("fp32", 1, None, error=1e-5), ""),
        ("llama-dynamo", ProgramRun("fp32", 1, None, error=2e-4), "differs by 2.0e-04"),
        ("llama-dynamo", ProgramRun("fp32", 1, None, error=float("nan")), "differs by nan"),
        ("llama-dynamo", ProgramRun("machine", 1, None, error=0.5), ""),
        ("llama-dynamo", ProgramRun("machine", 1, None, cosine=0.9989), "has a cosine of 0.99890"),
        ("llama-dynamo-qdq", ProgramRun("fp32", 1, None, error=1e-2), ""),
        ("llama-dynamo-qdq", ProgramRun("fp32", 1, None, cosine=0.9998), "has a cosine of 0.99980"),
        ("llama-dynamo-qdq", ProgramRun("machine", 1, None, cosine=0.995), ""),
        ("mixtral-dynamo", ProgramRun("machine", 1, None, tie_distance=3e-3), ""),
        ("mixtral-dynamo", ProgramRun("machine", 1, None, tie_distance=4e-3),
         "chooses an expert that scores 4.0e-03 less"),
    ],
)  # fmt: skip
def test_trouble_is_what_misses_its_bar(name: str, run: ProgramRun, trouble: str) -> None:
    assert run.trouble(GRAPHS[name]) == trouble


def test_the_bar_of_fp32_holds_for_every_kind_of_graph() -> None:
    short = ProgramRun("fp32", 1, None, cosine=0.9998)
    assert [graph.name for graph in GRAPHS.values() if not short.trouble(graph)] == []
