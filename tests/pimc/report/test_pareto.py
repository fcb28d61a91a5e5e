"""The picture of an evaluation: axes, the line of the best points, labels, valid SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pimc.evaluation.costs import Cost
from pimc.evaluation.results import Evaluation, PolicyResult
from pimc.evaluation.window_run import WindowResult
from pimc.report.axes import nice_ticks, scale_over, tick_text, unit_of
from pimc.report.pareto import evaluation_html, evaluation_svg
from pimc.report.tradeoff import Point, non_dominated, panel

SVG = "{http://www.w3.org/2000/svg}"


def evaluation(*policies: tuple[str, float, int, float]) -> Evaluation:
    """Policies with loss per token, bytes of the cache and energy."""
    results = []
    for name, loss, size, energy in policies:
        cost = Cost(32, 1e-3, 32 * energy, 0, 0, {"channel": 5e-4})
        window = WindowResult(loss * 63, 63, 64, 64 * size, 64 * 1000, 64, cost, {64: cost})
        results.append(PolicyResult(name, name, (window,), {}))
    return Evaluation({"model": "<m>.onnx", "machine": "gddr6-aim"}, (64,), tuple(results), None)


def labels(svg: str) -> list[str]:
    return [str(each.text) for each in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_nothing_beats_the_best_and_something_beats_the_rest(places: Sequence[tuple[int, int]]) -> None:
    points = [Point(str(number), x, y, "") for number, (x, y) in enumerate(places)]
    best = non_dominated(points)

    def is_beaten(point: Point) -> bool:
        return any((o.x <= point.x and o.y <= point.y) and (o.x < point.x or o.y < point.y) for o in points)

    assert {(point.x, point.y) for point in best} == {(p.x, p.y) for p in points if not is_beaten(p)}
    assert [point.x for point in best] == sorted(point.x for point in best)


def test_a_picture_names_every_policy_in_both_panels() -> None:
    svg = evaluation_svg(
        evaluation(("none", 2.0, 1000, 2e-3), ("kivi:bits=4", 2.1, 300, 1e-3), ("a<b", 2.2, 500, 3e-3))
    )
    texts = labels(svg)
    assert [texts.count(name) for name in ("none", "kivi:bits=4", "a<b")] == [2, 2, 2]
    assert "mJ a token at a context of 64" in texts
    root = ElementTree.fromstring(svg)
    circles = [each.attrib["class"] for each in root.iter(f"{SVG}circle")]
    assert circles.count("best") == 4  # a<b is beaten in both panels
    assert len(list(root.iter(f"{SVG}polyline"))) == 2


@pytest.mark.parametrize("size", [500, 5000])
def test_labels_cover_none_of_each_other(size: int) -> None:
    svg = evaluation_svg(evaluation(*[(f"policy-{n}", 2.0, 500 if n < 8 else size, 1e-3) for n in range(16)]))
    root = ElementTree.fromstring(svg)
    texts = [each for each in root.iter(f"{SVG}text") if (each.text or "").startswith("policy-")]
    assert len(texts) == 32
    for half in (texts[:16], texts[16:]):
        for a, b in combinations(half, 2):
            down = abs(float(a.attrib["y"]) - float(b.attrib["y"]))
            across = abs(float(a.attrib["x"]) - float(b.attrib["x"]))
            assert down >= 13 or across >= 6 * len("policy-1")


def test_a_policy_far_from_the_others_does_not_hide_them() -> None:
    near = evaluation(("none", 2.0, 1000, 2e-3), ("kivi:bits=4", 2.1, 300, 1e-3))
    far = evaluation(("none", 2.0, 1000, 2e-3), ("kivi:bits=4", 2.1, 300, 1e-3), ("cam", 7.0, 900, 1e-3))
    roots = [ElementTree.fromstring(evaluation_svg(which)) for which in (near, far)]
    places = [{str(each.text): each.attrib.get("y") for each in root.iter(f"{SVG}text")} for root in roots]
    assert places[0]["kivi:bits=4"] == places[1]["kivi:bits=4"]
    assert "cam (1,097)" in places[1]


def test_a_dot_among_many_has_no_name() -> None:
    root = ElementTree.fromstring(f'<svg xmlns="{SVG[1:-1]}">{panel(0, "t", ("a", "b"), [Point("", 1, 2, "s")])}</svg>')
    assert len(list(root.iter(f"{SVG}circle"))) == 1
    assert {str(each.text) for each in root.iter(f"{SVG}text")} >= {"t", "a", "b"}
    assert "" not in {str(each.text) for each in root.iter(f"{SVG}text")}


def test_a_policy_without_finite_perplexity_is_left_out() -> None:
    assert "bad" not in labels(evaluation_svg(evaluation(("none", 2.0, 1000, 2e-3), ("bad", 1e9, 10, 1e-3))))


def test_a_page_escapes_names() -> None:
    page = evaluation_html(evaluation(("none", 2.0, 1000, 2e-3)))
    assert "&lt;m&gt;.onnx" in page
    assert "<m>" not in page


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=6))
def test_ticks_are_round_and_on_the_axis(values: list[float]) -> None:
    scale = scale_over(values, 0, 100)
    ticks = nice_ticks(scale)
    assert 1 <= len(ticks) <= 7
    assert all(-1e-6 <= scale.place(tick) <= 100 + 1e-6 for tick in ticks)
    assert all(0 <= scale.place(value) <= 100 for value in values)


def test_numbers_on_axes() -> None:
    assert [tick_text(value) for value in (23040, 0.00225, 12.5, 0)] == ["23,040", "0.00225", "12.5", "0"]
    assert unit_of([2.5e-3, 1e-4], "J") == ("mJ", 1e3)
    assert unit_of([3.0], "J") == ("J", 1.0)
    assert unit_of([0.0], "J") == ("pJ", 1e12)
