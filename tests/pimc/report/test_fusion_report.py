"""The table of what fused: kinds of attention, reasons grouped, operations that are left."""

import pytest

from passes import Graph, PassReport, explain
from pimc.report.fusion import fusion_facts, print_explanation, print_fusion, print_unfused
from pimc.report.terminal import Terminal


def graph() -> Graph:
    result = Graph("g")
    result.facts = {
        "fuse_attention": {
            "fused": {"attention": 3},
            "unfused": [("soft.7", "the scores go through exp")],
            "masks": {"causal": 2, "full, bias": 1},
            "biases": {"bias because the mask is odd": 1},
        },
        "fuse_feed_forward": {
            "fused": {"plain": 0, "gated": 2, "experts": 0},
            "unfused": [(f"linear.{n}", "the hidden value is used elsewhere too") for n in range(5)],
        },
    }
    return result


def test_print(capsys: pytest.CaptureFixture[str]) -> None:
    print_fusion(Terminal(), graph())
    assert capsys.readouterr().out == (
        "pattern                         fused  by pass\n"
        "attention                           3  fuse_attention\n"
        "  causal                            2\n"
        "  full, bias                        1\n"
        "  bias because the mask is odd      1\n"
        "feed-forward block                  0  fuse_feed_forward\n"
        "gated feed-forward block            2  fuse_feed_forward\n"
        "\n"
        "not fused by fuse_attention, 1: the scores go through exp\n"
        "  soft.7\n"
        "\n"
        "not fused by fuse_feed_forward, 5: the hidden value is used elsewhere too\n"
        "  linear.0\n"
        "  linear.1\n"
        "  linear.2\n"
        "  linear.3\n"
        "  linear.4\n"
        "these nodes are computed operation by operation: slower, with the same results\n"
        "\n"
        "  operations now\n"
    )


def test_names_are_never_broken_and_sentences_leave_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    narrow = graph()
    name = "/encoder/layer.0/attention/self/" + "x" * 90
    narrow.facts["fuse_attention"]["unfused"] = [(name, "a reason " * 15)]
    narrow.facts["fuse_attention"]["biases"] = {"bias because the mask adds other numbers than 0 and minus infinity": 1}
    print_fusion(Terminal(), narrow)
    lines = capsys.readouterr().out.splitlines()
    assert f"  {name}" in lines
    assert "  attention: bias because the mask adds other numbers than 0 and minus infinity" in lines
    assert lines[0] == "pattern                   fused  by pass"
    assert max(len(line) for line in lines if "x" * 90 not in line) <= 100


def test_a_summary_shows_a_few_nodes_of_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    print_unfused(Terminal(), explain(graph()), 2)
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "  linear.0",
        "  linear.1",
        "  and 3 more: pimc inspect lists them",
        "these nodes are computed operation by operation: slower, with the same results",
    ]


def test_explanation_of_one_pass(capsys: pytest.CaptureFixture[str]) -> None:
    reports = [PassReport(name, name == "fuse_attention", 0.0, 0.0, 9, 4) for name in ("fuse_attention", "dead_code")]
    print_explanation(Terminal(), "fuse_attention", reports, [graph()])
    text = capsys.readouterr().out
    assert text.startswith("\nfuse_attention: 9 -> 4 nodes\n\npattern ")
    assert "not fused by fuse_attention, 1" in text
    assert "feed" not in text
    print_explanation(Terminal(), "dead_code", reports, [graph()])
    assert capsys.readouterr().out == "\ndead_code: no change\n"


def test_json_holds_every_node() -> None:
    facts = fusion_facts(graph())
    assert len(facts["unfused"]) == 6
    assert facts["fused"][0] == {
        "pass": "fuse_attention",
        "pattern": "attention",
        "count": 3,
        "details": {"causal": 2, "full, bias": 1, "bias because the mask is odd": 1},
    }
