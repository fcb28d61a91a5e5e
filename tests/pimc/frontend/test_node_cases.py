"""The operators' own conformance cases of the onnx package, compiled and run on the simulator."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from node_tests import (
    Outcome,
    document,
    evaluate_fused,
    evaluate_on_simulator,
    load_cases,
    outcome,
    supported_operators,
)

WITHOUT_CASES = {"SimplifiedLayerNormalization"}


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [outcome(case, evaluate_on_simulator) for case in load_cases()]


def test_no_case_fails(outcomes: list[Outcome]) -> None:
    assert [found for found in outcomes if found.verdict == "failed"] == []


def test_no_case_fails_after_the_passes() -> None:
    found = [outcome(case, evaluate_fused) for case in load_cases()]
    assert [each for each in found if each.verdict == "failed"] == []


def test_definitions_of_the_standard_are_not_computed_wrong() -> None:
    """Their operands that decide shapes are inputs, so that some are refused."""
    found = [outcome(case) for case in load_cases(expanded=True)]
    assert [each for each in found if each.verdict == "failed" and not each.reason.startswith("refused")] == []
    assert sum(each.verdict == "passed" for each in found) > 300


@pytest.mark.parametrize("operator", sorted(supported_operators() - WITHOUT_CASES))
def test_an_operator_that_is_listed_passes_some_case(operator: str, outcomes: list[Outcome]) -> None:
    verdicts = [found.verdict for found in outcomes if found.operator == operator]
    assert "passed" in verdicts


def test_operators_without_importer_are_refused(outcomes: list[Outcome]) -> None:
    others = [found for found in outcomes if found.operator not in supported_operators()]
    assert {found.verdict for found in others} == {"refused"}


def test_the_document_is_up_to_date(outcomes: list[Outcome]) -> None:
    stored = (Path(__file__).parents[3] / "docs" / "operators.md").read_text(encoding="utf-8")
    if f"onnx {onnx.__version__}," not in stored:
        pytest.skip("the document was printed with another version of onnx, which has other cases")
    assert stored == document(outcomes)
