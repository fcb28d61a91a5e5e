from collections.abc import Callable

import pytest
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from passes import Graph, Value
from passes.canonicalize import Canonicalize
from passes.common_subexpressions import CommonSubexpressions
from passes.constant_folding import ConstantFolding
from passes.fuse_norm import FuseNorm

WIDTH = 16
Body = Callable[[Net, Value], Value]


def mean_square(net: Net, x: Value) -> Value:
    return net.op("add", net.op("reduce_mean", net.op("pow", x, 2.0), axes=(2,), keepdims=True), 1e-5)


def rms_by_reciprocal(net: Net, x: Value) -> Value:
    inverse = net.op("reciprocal", net.op("sqrt", mean_square(net, x)))
    return net.op("mul", net.weights(WIDTH), net.op("mul", x, inverse))


def rms_by_division(net: Net, x: Value) -> Value:
    inverse = net.op("div", net.constant(1.0), net.op("sqrt", mean_square(net, x)))
    return net.op("mul", net.op("mul", x, inverse), net.weights(1, 1, WIDTH))


def rms_by_power(net: Net, x: Value) -> Value:
    return net.op("mul", net.op("mul", net.op("pow", mean_square(net, x), -0.5), x), net.weights(WIDTH))


def rms_by_quotient(net: Net, x: Value) -> Value:
    return net.op("mul", net.op("div", x, net.op("pow", mean_square(net, x), 0.5)), net.weights(WIDTH))


def rms_without_weight(net: Net, x: Value) -> Value:
    return net.op("div", x, net.op("sqrt", mean_square(net, x)))


def rms_in_half_precision(net: Net, x: Value) -> Value:
    half = net.op("cast", x, to="float16")
    wide = net.op("cast", half, to="float32")
    normal = net.op("mul", wide, net.op("reciprocal", net.op("sqrt", mean_square(net, wide))))
    weight = net.op("cast", net.weights(WIDTH), to="float16")
    return net.op("mul", weight, net.op("cast", normal, to="float16"))


def layer_norm(net: Net, x: Value) -> Value:
    centred = net.op("sub", x, net.op("reduce_mean", x, axes=(2,), keepdims=True))
    normal = net.op("div", centred, net.op("sqrt", mean_square(net, centred)))
    return net.op("add", net.op("mul", normal, net.weights(WIDTH)), net.weights(WIDTH))


def layer_norm_centred_twice(net: Net, x: Value) -> Value:
    first, second = (net.op("sub", x, net.op("reduce_mean", x, axes=(2,), keepdims=True)) for _ in range(2))
    return net.op("mul", net.op("div", first, net.op("sqrt", mean_square(net, second))), net.weights(WIDTH))


def graph_of(body: Body) -> Graph:
    net = Net()
    net.output("y", body(net, net.input("x", 1, SEQ, WIDTH)))
    return net.graph


PREPARATION = (ConstantFolding(), Canonicalize(), CommonSubexpressions())


@pytest.mark.parametrize(
    ("body", "expected", "tolerance"),
    [
        (rms_by_reciprocal, ["rms_norm"], 1e-6),
        (rms_by_division, ["rms_norm"], 1e-6),
        (rms_by_power, ["rms_norm"], 1e-6),
        (rms_by_quotient, ["rms_norm"], 1e-6),
        (rms_without_weight, ["rms_norm"], 1e-6),
        (rms_in_half_precision, ["cast", "cast", "rms_norm", "cast"], 2e-3),
        (layer_norm, ["layer_norm"], 1e-6),
        (layer_norm_centred_twice, ["layer_norm"], 1e-6),
    ],
)
def test_spellings(body: Body, expected: list[str], tolerance: float) -> None:
    steps = (*PREPARATION, FuseNorm())
    after = assert_same_meaning(lambda: graph_of(body), *steps, numbers={"seq": 3}, tolerance=tolerance)
    assert operations(after) == expected
    (norm,) = (node for node in after.nodes if node.op.endswith("norm"))
    assert norm.attributes == {"epsilon": pytest.approx(1e-5)}
    assert after.facts["fuse_norm"]["fused"][norm.op] == 1
    assert any("reduce_mean" in origin for origin in norm.origins)


def other_divided(net: Net, x: Value) -> Value:
    return net.op("div", net.op("exp", x), net.op("sqrt", mean_square(net, x)))


def no_epsilon(net: Net, x: Value) -> Value:
    return net.op("div", x, net.op("sqrt", net.op("reduce_mean", net.op("mul", x, x), axes=(2,), keepdims=True)))


def computed_epsilon(net: Net, x: Value) -> Value:
    mean = net.op("reduce_mean", net.op("mul", x, x), axes=(2,), keepdims=True)
    return net.op("div", x, net.op("sqrt", net.op("add", mean, net.op("abs", mean))))


def other_axis(net: Net, x: Value) -> Value:
    mean = net.op("add", net.op("reduce_mean", net.op("mul", x, x), axes=(1,), keepdims=True), 1e-5)
    return net.op("div", x, net.op("sqrt", mean))


def only_the_root(net: Net, x: Value) -> Value:
    return net.op("exp", net.op("sqrt", mean_square(net, x)))


def cube_root(net: Net, x: Value) -> Value:
    return net.op("div", x, net.op("pow", mean_square(net, x), 1 / 3))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (other_divided, "another value than the squared one is divided by the root"),
        (no_epsilon, "nothing adds an epsilon"),
        (computed_epsilon, "nothing adds an epsilon"),
        (other_axis, "the mean is not over the last axis alone"),
        (only_the_root, "nothing is divided by the root"),
        (cube_root, "the mean square goes not only into a square root"),
    ],
)
def test_what_is_no_norm(body: Body, reason: str) -> None:
    graph = run_passes(graph_of(body), *PREPARATION)
    assert not FuseNorm().run(graph)
    assert [why for _, why in graph.facts["fuse_norm"]["unfused"]] == [reason]


def test_a_weight_for_each_token_is_not_absorbed() -> None:
    net = Net()
    x, gate = net.input("x", 1, SEQ, WIDTH), net.input("gate", 1, SEQ, WIDTH)
    net.output("y", net.op("mul", rms_without_weight(net, x), gate))
    run_passes(net.graph, *PREPARATION, FuseNorm())
    assert operations(net.graph) == ["rms_norm", "mul"]
