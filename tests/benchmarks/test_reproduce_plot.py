"""The picture of the reproduction table: a panel a unit, places of the dots, forms of the file, what is refused."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import reproduce
from benchmarks.reproduce_plot import axis_over, picture, write_rows
from benchmarks.reproduce_rows import Row
from isa import InputError

ROWS = [
    Row("slow & small", 10.0, 10.0, "tokens/s", "E", 1),
    Row("guessed", 20.0, 30.0, "tokens/s", "A", 1, "a guess < 1"),
    Row("share", 2.0, 1.9, "", "M", 1),
]
SVG = "{http://www.w3.org/2000/svg}"


def test_every_row_has_its_claim_two_dots_and_its_figures() -> None:
    tree = ElementTree.fromstring(picture(ROWS, "Titles & such"))
    texts = [each.text for each in tree.iter(f"{SVG}text")]
    for row in ROWS:
        assert row.claim in texts
        assert f"{row.text(row.published)} / {row.text(row.ours)}" in texts
    assert texts[0] == "Titles & such"
    assert {"tokens/s", "ratio"} <= set(texts)
    dots = [each.get("class") for each in tree.iter(f"{SVG}circle")][3:]  # behind those of the legend
    assert dots == ["published", "best", "published", "assumed", "published", "best"]
    assert [each.text for each in tree.iter(f"{SVG}title")] == ["a guess < 1"]


def test_dots_of_equal_figures_lie_on_each_other() -> None:
    tree = ElementTree.fromstring(picture(ROWS, ""))
    places = [float(each.get("cx", "0")) for each in tree.iter(f"{SVG}circle")][3:]
    assert places[0] == places[1]
    assert places[0] < places[2] < places[3]


@pytest.mark.parametrize(
    ("values", "has_decades", "ticks"),
    [
        ([10.0, 30.0], False, [10, 15, 20, 25, 30]),
        ([1.0, 900.0], True, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]),
        ([1e-3, 1e6], True, [1e-3, 1e-2, 1e-1, 1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
        ([-1.0, 900.0], False, [0, 500]),
    ],
)
def test_axes_have_decades_where_figures_differ_much(
    values: list[float], has_decades: bool, ticks: list[float]
) -> None:
    axis = axis_over(values, 100)
    assert axis.has_decades == has_decades
    assert axis.ticks() == pytest.approx(ticks)
    places = [axis.place(value) for value in values]
    assert 100 < places[0] < places[1] < 470


def test_a_page_has_the_picture_and_the_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "p.html", ROWS, "title", "the <table>")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "the &lt;table&gt;" in page


def test_the_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "available_systems", lambda: ("cent",))
    monkeypatch.setattr(reproduce, "rows_of", lambda _: ROWS[:2])
    assert reproduce.main(["cent", "--plot", str(tmp_path / "p.svg")]) == 0
    assert (tmp_path / "p.svg").read_text(encoding="utf-8") == picture(ROWS[:2], "Published figures and ours: cent")


def test_an_unknown_form_is_refused_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "rows_of", lambda _: pytest.fail("work was done"))
    with pytest.raises(InputError) as refused:
        reproduce.main(["cent", "--plot", "p.gif"])
    assert "end its name in .svg, .html, .png" in str(refused.value)
