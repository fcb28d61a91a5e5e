import numpy as np
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from passes import Graph
from passes.common_subexpressions import CommonSubexpressions


def twice() -> Graph:
    net = Net()
    x = net.input("x", 1, SEQ, 4)
    first, second = (net.op("mul", net.op("exp", x), net.constant(0.5)) for _ in range(2))
    net.output("y", net.op("add", first, second))
    return net.graph


def test_the_same_is_computed_once() -> None:
    after = assert_same_meaning(twice, CommonSubexpressions())
    assert operations(after) == ["exp", "mul", "add"]
    assert after.nodes[0].origins == ("onnx/exp_0", "onnx/exp_2")
    assert not CommonSubexpressions().run(after)


def test_attributes_and_types_tell_nodes_apart() -> None:
    net = Net()
    x = net.input("x", 2, 2)
    net.output("a", net.op("cast", x, to="float16"))
    net.output("b", net.op("cast", x, to="float64"))
    net.output("c", net.op("add", x, net.constant([1.0, 2.0])))
    net.output("d", net.op("add", x, net.constant([2.0, 1.0])))
    assert not CommonSubexpressions().run(net.graph)


def test_both_results_of_a_split_are_merged() -> None:
    net = Net()
    x = net.input("x", 2, 4)
    first, second = net.split(x, 1, 1, 3), net.split(x, 1, 1, 3)
    net.output("y", net.op("add", first[1], second[1]))
    run_passes(net.graph, CommonSubexpressions())
    assert operations(net.graph) == ["split", "add"]


def test_large_constants_are_the_same_only_in_the_same_memory() -> None:
    net = Net()
    x = net.input("x", 64, 64)
    array = np.ones((64, 64), np.float32)
    shared, copied = net.constant(array), net.graph.add_constant(array.copy())
    net.output("a", net.op("mul", x, shared))
    net.output("b", net.op("mul", x, net.graph.add_constant(array)))
    net.output("c", net.op("mul", x, copied))
    run_passes(net.graph, CommonSubexpressions())
    assert net.graph.outputs["a"] is net.graph.outputs["b"]
    assert net.graph.outputs["c"] is not net.graph.outputs["a"]
