"""The reproduction table: differences, classes, what is printed, exit codes."""

from __future__ import annotations

import json

import pytest

from benchmarks import reproduce
from benchmarks.command_line import end_with
from benchmarks.reproduce_rows import Row, ToleranceClass
from isa import InputError


def _row(published: float, ours: float, tolerance_class: ToleranceClass = "E", decimals: int = 2) -> Row:
    return Row(
        "speed", published, ours, "tokens/s", tolerance_class, decimals, "guessed" if tolerance_class == "A" else ""
    )


@pytest.mark.parametrize(
    ("ours", "difference"), [(191.13, 0.0), (191.1349, 0.0), (191.136, (191.136 - 191.13) / 191.13), (0.0, -1.0)]
)
def test_published_digits_explain_a_difference(ours: float, difference: float) -> None:
    assert _row(191.13, ours).difference == difference


@pytest.mark.parametrize(
    ("tolerance_class", "ours", "is_kept"),
    [("E", 100.0, True), ("E", 100.02, False), ("M", 104.9, True), ("M", 94.0, False), ("A", 200.0, True)],
)
def test_a_class_says_how_near_a_row_must_be(tolerance_class: ToleranceClass, ours: float, is_kept: bool) -> None:
    assert _row(100.0, ours, tolerance_class).is_kept == is_kept


def test_a_row_of_class_a_states_its_assumption() -> None:
    with pytest.raises(ValueError, match="states its assumption"):
        Row("speed", 1.0, 1.0, "", "A", 0)


def test_the_table_numbers_its_assumptions() -> None:
    rows = [_row(9104, 9104.3, decimals=0), _row(0.26, 0.2584, "M"), _row(12.5, 10.0, "A", 1), _row(1, 1, "A", 0)]
    assert reproduce.table(rows).splitlines() == [
        "claim  published   ours  unit      difference  class",
        "speed      9,104  9,104  tokens/s           0  E",
        "speed       0.26   0.26  tokens/s           0  M",
        "speed       12.5   10.0  tokens/s       -20 %  A      [1]",
        "speed          1      1  tokens/s           0  A      [1]",
        "",
        "[1] guessed",
    ]
    assert reproduce.closing_line(rows) == "1 of 1 exact (E); 1 of 1 within 5 % (M); 2 of class A, with an assumption"


@pytest.mark.parametrize(("ours", "code"), [(2.0, 0), (2.1, 1)])
def test_a_row_too_far_away_gives_exit_code_1(
    ours: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reproduce, "available_systems", lambda: ("cent",))
    monkeypatch.setattr(reproduce, "rows_of", lambda _: [_row(2.0, ours)])
    assert reproduce.main(["cent", "--json"]) == code
    (printed,) = json.loads(capsys.readouterr().out)
    assert list(printed) == ["claim", "published", "ours", "unit", "difference", "class", "assumption"]
    assert printed["ours"] == ours


def test_every_system_that_has_a_module_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        reproduce.main(["--help"])
    assert "all}" in capsys.readouterr().out


def test_long_claims_are_wrapped_above_their_figures() -> None:
    claim = "the speed of a machine that is described with so many words that a line of the table has no room for it"
    lines = reproduce.table([Row(claim, 2.0, 2.0, "tokens/s", "E", 2)]).splitlines()
    assert max(map(len, lines)) < 120
    figures = lines[-1][lines[-1].index("2.00") :]
    assert figures.split() == ["2.00", "2.00", "tokens/s", "0", "E"]
    assert " ".join(" ".join(line.removesuffix(figures).split()) for line in lines[1:]) == claim


def test_every_system_has_its_own_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(reproduce, "available_systems", lambda: ("camformer", "cent"))
    monkeypatch.setattr(reproduce, "rows_of", lambda system: [_row(2.0, 2.0)])
    assert reproduce.main([]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("claim  published") == 2
    assert printed.out.endswith("2 of 2 exact (E)\n")
    assert printed.err.splitlines()[1] == "running the workloads of cent (2 of 2)"


def test_an_interruption_and_a_refusal_end_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def refused() -> None:
        raise InputError("there is no such thing", help="take another one")

    for main, code, text in ((interrupted, 130, "interrupted"), (refused, 1, "error: there is no such thing")):
        with pytest.raises(SystemExit) as ended:
            end_with(main)
        assert ended.value.code == code
        assert text in capsys.readouterr().err
