"""The pass manager, with passes made up for the purpose."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
from tests_graphs import Net

from isa import GraphError
from passes import Graph
from passes.manager import PassManager, PassReport
from passes.rewriting import replace


@dataclass(frozen=True)
class Liar:
    name: ClassVar[str] = "liar"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = False
    changes: bool = True
    says: bool = False

    def run(self, graph: Graph) -> bool:
        if self.changes:
            last = graph.nodes[-1].output
            replace(graph, last, graph.nodes[0].operand(0))
        return self.says


@dataclass(frozen=True)
class Breaker:
    name: ClassVar[str] = "breaker"
    optional: ClassVar[bool] = True
    reassociates: ClassVar[bool] = False

    def run(self, graph: Graph) -> bool:
        graph.nodes[0].op = "exponential"
        return True


def graph() -> Graph:
    net = Net()
    net.output("y", net.op("exp", net.input("x", 4)))
    return net.graph


def test_reports_and_observers() -> None:
    seen: list[tuple[str, int]] = []

    def observe(report: PassReport, graph: Graph) -> None:
        seen.append((report.name, len(graph)))

    (report,) = PassManager([Liar(says=True)], [observe], check_claims=True).run(graph())
    assert seen == [("liar", 0)]
    assert (report.name, report.changed, report.nodes_before, report.nodes_after) == ("liar", True, 1, 0)
    assert report.run_seconds > 0
    assert report.verify_seconds > 0


@pytest.mark.parametrize(
    ("liar", "message"),
    [
        (Liar(changes=True, says=False), "pass 'liar' says unchanged, but the graph is changed"),
        (Liar(changes=False, says=True), "pass 'liar' says changed, but the graph is unchanged"),
    ],
)
def test_a_wrong_claim_is_an_error_when_checked(liar: Liar, message: str) -> None:
    PassManager([liar]).run(graph())
    with pytest.raises(GraphError) as caught:
        PassManager([liar], check_claims=True).run(graph())
    assert caught.value.message == message


def test_a_broken_graph_names_the_pass_and_the_onnx_node() -> None:
    with pytest.raises(GraphError) as caught:
        PassManager([Breaker()]).run(graph())
    assert caught.value.message.startswith("after pass 'breaker': ")
    assert "exponential" in str(caught.value)
    assert caught.value.place is not None
    assert caught.value.place.node == "onnx/exp_0"
