import math
from collections.abc import Callable

import pytest
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from passes import Graph, Value
from passes.canonicalize import Canonicalize
from passes.fuse_activation import FuseActivation

Body = Callable[[Net, Value], Value]
ROOT = math.sqrt(2 / math.pi)


def graph_of(body: Body) -> Graph:
    net = Net()
    x = net.op("mul", net.input("x", 1, SEQ, 4), 1.5)
    net.output("y", body(net, x))
    return net.graph


def erf_half_last(net: Net, x: Value) -> Value:
    bracket = net.op("add", net.op("erf", net.op("div", x, math.sqrt(2))), 1.0)
    return net.op("mul", net.op("mul", x, bracket), 0.5)


def erf_half_first(net: Net, x: Value) -> Value:
    bracket = net.op("add", net.constant(1.0), net.op("erf", net.op("mul", x, 1 / math.sqrt(2))))
    return net.op("mul", bracket, net.op("mul", net.constant(0.5), x))


def bracket_of_tanh(net: Net, argument: Value) -> Value:
    return net.op("add", net.op("tanh", argument), 1.0)


def tanh_with_power(net: Net, x: Value) -> Value:
    inner = net.op("add", x, net.op("mul", net.op("pow", x, 3.0), 0.044715))
    return net.op("mul", net.op("mul", x, 0.5), bracket_of_tanh(net, net.op("mul", inner, ROOT)))


def tanh_with_products(net: Net, x: Value) -> Value:
    cube = net.op("mul", net.op("mul", net.op("mul", net.constant(0.044715), x), x), x)
    argument = net.op("mul", net.constant(ROOT), net.op("add", cube, x))
    return net.op("mul", net.op("mul", net.constant(0.5), x), bracket_of_tanh(net, argument))


def tanh_factored(net: Net, x: Value) -> Value:
    bracket = net.op("add", net.op("mul", net.op("mul", x, x), 0.044715), 1.0)
    argument = net.op("mul", net.op("mul", x, ROOT), bracket)
    return net.op("mul", net.op("mul", x, bracket_of_tanh(net, argument)), 0.5)


def silu(net: Net, x: Value) -> Value:
    return net.op("mul", x, net.op("sigmoid", x))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (erf_half_last, "gelu"),
        (erf_half_first, "gelu"),
        (tanh_with_power, "gelu_tanh"),
        (tanh_with_products, "gelu_tanh"),
        (tanh_factored, "gelu_tanh"),
        (silu, "silu"),
    ],
)
def test_spellings(body: Body, expected: str) -> None:
    after = assert_same_meaning(
        lambda: graph_of(body), Canonicalize(), FuseActivation(), numbers={"seq": 3}, tolerance=2e-6
    )
    op, approximate = {"gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "silu": ("silu", None)}[expected]
    assert operations(after) == ["mul", op]
    assert after.nodes[-1].attributes.get("approximate") == approximate
    assert {name: n for name, n in after.facts["fuse_activation"]["fused"].items() if n} == {expected: 1}


def wrong_erf_scale(net: Net, x: Value) -> Value:
    return net.op("mul", net.op("mul", x, net.op("add", net.op("erf", net.op("div", x, 1.5)), 1.0)), 0.5)


def wrong_half(net: Net, x: Value) -> Value:
    return net.op("mul", net.op("mul", x, net.op("add", net.op("erf", net.op("div", x, math.sqrt(2))), 1.0)), 0.6)


def other_factor(net: Net, x: Value) -> Value:
    bracket = net.op("add", net.op("erf", net.op("div", x, math.sqrt(2))), 1.0)
    return net.op("mul", net.op("mul", net.op("exp", x), bracket), 0.5)


def wrong_cube(net: Net, x: Value) -> Value:
    inner = net.op("add", x, net.op("mul", net.op("pow", x, 3.0), 0.05))
    return net.op("mul", net.op("mul", x, 0.5), bracket_of_tanh(net, net.op("mul", inner, ROOT)))


def soft_cap(net: Net, x: Value) -> Value:
    return net.op("mul", net.op("tanh", net.op("div", x, 30.0)), 30.0)


def gate_of_another(net: Net, x: Value) -> Value:
    return net.op("mul", net.op("exp", x), net.op("sigmoid", x))


@pytest.mark.parametrize(
    ("body", "reasons"),
    [
        (wrong_erf_scale, ["erf is not of x / sqrt(2)"]),
        (wrong_half, ["erf is not part of 0.5 x (1 + erf(...))"]),
        (other_factor, ["erf is not part of 0.5 x (1 + erf(...))"]),
        (wrong_cube, ["tanh is not of sqrt(2 / pi) (x + 0.044715 x^3)"]),
        (soft_cap, []),
        (gate_of_another, []),
    ],
)
def test_what_is_no_activation(body: Body, reasons: list[str]) -> None:
    graph = run_passes(graph_of(body), Canonicalize())
    assert not FuseActivation().run(graph)
    assert [why for _, why in graph.facts["fuse_activation"]["unfused"]] == reasons
