from tests_graphs import SEQ, Net, operations, run_passes

from passes.dead_code import DeadCode
from passes.rewriting import prune


def test_only_what_outputs_need_stays() -> None:
    net = Net()
    x = net.input("x", 1, SEQ, 4)
    used = net.op("exp", x)
    net.op("sqrt", net.op("abs", used))
    net.output("y", used)
    run_passes(net.graph, DeadCode())
    assert operations(net.graph) == ["exp"]
    assert not DeadCode().run(net.graph)
    assert [value.name for value in net.graph.inputs] == ["x"]


def test_prune_stops_at_what_is_used() -> None:
    net = Net()
    kept = net.op("exp", net.input("x", 4))
    net.output("y", kept)
    last = net.op("neg", net.op("abs", kept)).producer
    assert last is not None
    assert prune(net.graph, last)
    assert operations(net.graph) == ["exp"]
    assert kept.producer is not None
    assert not prune(net.graph, kept.producer)
