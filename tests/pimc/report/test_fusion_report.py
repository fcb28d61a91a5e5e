"""The table of what fused: kinds of attention, reasons grouped, operations that are left."""

import pytest

from passes import Graph
from pimc.report.fusion import fusion_facts, print_fusion
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
        "not fused because                    nodes  by pass            which\n"
        "the scores go through exp                1  fuse_attention     soft.7\n"
        "the hidden value is used elsewhere       5  fuse_feed_forward  linear.0, linear.1, linear.2 and 2\n"
        "too                                                            more\n"
        "\n"
        "  operations now\n"
    )


def test_json_holds_every_node() -> None:
    facts = fusion_facts(graph())
    assert len(facts["unfused"]) == 6
    assert facts["fused"][0] == {
        "pass": "fuse_attention",
        "pattern": "attention",
        "count": 3,
        "details": {"causal": 2, "full, bias": 1, "bias because the mask is odd": 1},
    }
