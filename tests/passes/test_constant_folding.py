import numpy as np
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from passes import Graph
from passes.constant_folding import ConstantFolding


def weight_graph() -> Graph:
    net = Net()
    x = net.input("x", 1, SEQ, 4)
    weight = net.op("transpose", net.weights(3, 4, name="weight"), perm=(1, 0))
    net.output("y", net.op("matmul", x, net.op("mul", weight, net.constant(2.0))))
    return net.graph


def test_constants_are_computed() -> None:
    after = assert_same_meaning(weight_graph, ConstantFolding())
    assert operations(after) == ["matmul"]
    assert not ConstantFolding().run(after)


def test_views_of_weights_are_not_copied() -> None:
    net = Net()
    weight = net.weights(3, 4)
    net.output("y", net.op("matmul", net.input("x", 2, 4), net.op("transpose", weight, perm=(1, 0))))
    run_passes(net.graph, ConstantFolding())
    folded = net.graph.nodes[0].operand(1).constant
    assert folded is not None
    assert weight.constant is not None
    assert np.shares_memory(folded, weight.constant)


def test_a_constant_output_is_folded() -> None:
    net = Net()
    net.output("y", net.op("exp", net.constant([0.0, 1.0])))
    run_passes(net.graph, ConstantFolding())
    assert operations(net.graph) == []
    np.testing.assert_allclose(net.graph.outputs["y"].constant, [1, np.e], rtol=1e-6)


def test_symbolic_sizes_are_left() -> None:
    net = Net()
    net.output("y", net.op("expand", net.constant([1.0]), shape=(SEQ,)))
    assert not ConstantFolding().run(net.graph)


def test_large_growth_is_left() -> None:
    net = Net()
    column, row = net.constant(np.ones((64, 1))), net.constant(np.ones((1, 64)))
    net.output("y", net.op("mul", column, row))
    assert not ConstantFolding(max_bytes=1024).run(net.graph)
    assert run_passes(net.graph, ConstantFolding()).outputs["y"].is_constant
