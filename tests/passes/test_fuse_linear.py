import numpy as np
import pytest
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from passes import Graph
from passes.canonicalize import Canonicalize
from passes.fuse_linear import FuseLinear


def with_bias() -> Graph:
    net = Net()
    x = net.input("x", 1, SEQ, 4)
    net.output("y", net.op("add", net.weights(1, 1, 3), net.op("matmul", x, net.weights(4, 3))))
    return net.graph


def as_conv1d() -> Graph:
    net = Net()
    flat = net.op("reshape", net.input("x", 1, SEQ, 4), shape=(SEQ, 4))
    product = net.op("reshape", net.op("matmul", flat, net.weights(4, 3)), shape=(1, SEQ, 3))
    net.output("y", net.op("add", product, net.weights(3)))
    return net.graph


def with_units() -> Graph:
    net = Net()
    net.output("y", net.op("matmul", net.input("x", 1, SEQ, 4), net.weights(1, 4, 3)))
    return net.graph


@pytest.mark.parametrize(
    ("build", "inputs"), [(with_bias, [(4, 3), (3,)]), (as_conv1d, [(4, 3), (3,)]), (with_units, [(4, 3)])]
)
def test_spellings(build: object, inputs: list[tuple[int, ...]]) -> None:
    after = assert_same_meaning(build, Canonicalize(), FuseLinear(), Canonicalize(), numbers={"seq": 3}, tolerance=1e-6)  # type: ignore[arg-type]
    assert operations(after) == ["linear"]
    assert [value.shape for value in after.nodes[0].inputs[1:] if value is not None] == inputs


def test_a_bias_is_absorbed_once_and_only_alone() -> None:
    net = Net()
    x = net.input("x", 1, SEQ, 4)
    product = net.op("matmul", x, net.weights(4, 3))
    net.output("y", net.op("add", net.op("add", product, net.weights(3)), net.weights(3)))
    net.output("z", net.op("add", net.op("matmul", x, net.weights(4, 3)), net.constant(np.ones((2, 1, 1, 3)))))
    run_passes(net.graph, FuseLinear())
    assert sorted(operations(net.graph)) == ["add", "add", "linear", "linear"]
    assert net.graph.facts["fuse_linear"]["fused"] == {"linear": 2, "bias": 1}


def test_a_product_that_is_used_twice_keeps_its_addition() -> None:
    net = Net()
    product = net.op("matmul", net.input("x", 1, SEQ, 4), net.weights(4, 3))
    net.output("y", net.op("mul", product, net.op("add", product, net.weights(3))))
    run_passes(net.graph, FuseLinear())
    assert operations(net.graph) == ["linear", "add", "mul"]


def test_constants_that_are_no_matrix_on_the_right() -> None:
    net = Net()
    x = net.input("x", 2, 4, 4)
    net.output("left", net.op("matmul", net.weights(4, 4), x))
    net.output("batched", net.op("matmul", x, net.weights(2, 4, 4)))
    net.output("variable", net.op("matmul", x, x))
    assert not FuseLinear().run(net.graph)
    reasons = [why for _, why in net.graph.facts["fuse_linear"]["unfused"]]
    assert reasons == [
        "the constant is the left factor, and linear maps multiply by a constant on the right",
        "it multiplies by 2 constant matrices, as one for each head, and a linear map has one",
    ]
