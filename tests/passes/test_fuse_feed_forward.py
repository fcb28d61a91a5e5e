from collections.abc import Callable

import pytest
from tests_graphs import SEQ, Net, assert_same_meaning, operations, run_passes

from passes import Graph, Value
from passes.canonicalize import Canonicalize
from passes.fuse_activation import FuseActivation
from passes.fuse_feed_forward import FuseFeedForward
from passes.fuse_linear import FuseLinear
from passes.ops import ACTIVATIONS

WIDTH, INNER = 4, 6
Body = Callable[[Net, Value], Value]
STEPS = (Canonicalize(), FuseActivation(), FuseLinear(), FuseFeedForward())


def linear(net: Net, x: Value, width: int, bias: bool = True) -> Value:
    return net.op("linear", x, net.weights(x.shape[-1], width), net.weights(width) if bias else None)  # type: ignore[arg-type]


def activated(net: Net, x: Value, name: str) -> Value:
    if name in ("gelu", "gelu_tanh"):
        return net.op("gelu", x, approximate="none" if name == "gelu" else "tanh")
    if name == "quick_gelu":
        return net.op("mul", x, net.op("sigmoid", net.op("mul", x, 1.702)))
    return net.op(name, x)


def graph_of(body: Body) -> Graph:
    net = Net()
    net.output("y", body(net, net.input("x", 1, SEQ, WIDTH)))
    return net.graph


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_plain(name: str, bias: bool) -> None:
    def body(net: Net, x: Value) -> Value:
        return linear(net, activated(net, linear(net, x, INNER, bias), name), WIDTH, bias)

    after = assert_same_meaning(lambda: graph_of(body), *STEPS, tolerance=1e-5)
    assert operations(after) == ["feed_forward"]
    (node,) = after.nodes
    assert node.attributes == {"activation": name}
    assert [value is not None for value in node.inputs] == [True, True, bias, False, False, True, bias]
    assert after.facts["fuse_feed_forward"]["fused"] == {"plain": 1, "gated": 0, "experts": 0}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("gate_first", [True, False])
def test_gated(name: str, gate_first: bool) -> None:
    def body(net: Net, x: Value) -> Value:
        gate = activated(net, linear(net, x, INNER), name)
        up = linear(net, x, INNER, bias=False)
        return linear(net, net.op("mul", *((gate, up) if gate_first else (up, gate))), WIDTH)

    after = assert_same_meaning(lambda: graph_of(body), *STEPS, tolerance=1e-5)
    assert operations(after) == ["feed_forward"]
    assert [value is not None for value in after.nodes[0].inputs] == [True, True, False, True, True, True, True]


@pytest.mark.parametrize("by_split", [True, False])
def test_gate_and_up_in_one_map(by_split: bool) -> None:
    def body(net: Net, x: Value) -> Value:
        both = linear(net, x, 2 * INNER)
        gate, up = (
            net.split(both, 2, INNER, INNER)
            if by_split
            else (net.cut(both, 2, 0, INNER), net.cut(both, 2, INNER, 2 * INNER))
        )
        return linear(net, net.op("mul", net.op("silu", gate), up), WIDTH)

    after = assert_same_meaning(lambda: graph_of(body), *STEPS, tolerance=1e-5)
    assert operations(after) == ["feed_forward"]


def hidden_used_twice(net: Net, x: Value) -> Value:
    hidden = net.op("relu", linear(net, x, WIDTH))
    return net.op("add", linear(net, hidden, WIDTH), hidden)


def activation_of_input(net: Net, x: Value) -> Value:
    return linear(net, net.op("relu", x), WIDTH)


def gate_of_another(net: Net, x: Value) -> Value:
    gate = net.op("silu", linear(net, net.op("exp", x), INNER))
    return linear(net, net.op("mul", gate, linear(net, x, INNER)), WIDTH)


def test_rows_counted_in_another_way_between() -> None:
    def body(net: Net, x: Value) -> Value:
        gate, up = (net.op("reshape", linear(net, x, INNER), shape=(SEQ, INNER)) for _ in "gu")
        return linear(net, net.op("mul", net.op("silu", gate), up), WIDTH)

    after = assert_same_meaning(lambda: graph_of(body), FuseFeedForward(), tolerance=1e-5)
    assert operations(after) == ["feed_forward", "reshape"]


def no_activation(net: Net, x: Value) -> Value:
    return linear(net, net.op("mul", linear(net, x, INNER), linear(net, x, INNER)), WIDTH)


def not_quite_quick_gelu(net: Net, x: Value) -> Value:
    up = linear(net, x, INNER)
    return linear(net, net.op("mul", up, net.op("sigmoid", net.op("mul", up, 1.5))), WIDTH)


def rounded_to_steps(net: Net, x: Value) -> Value:
    """What becomes of QuantizeLinear and DequantizeLinear at import."""
    steps = net.op("add", net.op("round", net.op("div", x, 0.1)), 3.0)
    kept = net.op("min", net.op("max", steps, -128.0), 127.0)
    return net.op("mul", net.op("sub", kept, 3.0), 0.1)


def quantised(net: Net, x: Value) -> Value:
    return linear(net, rounded_to_steps(net, net.op("relu", rounded_to_steps(net, linear(net, x, INNER)))), WIDTH)


def quantised_gate(net: Net, x: Value) -> Value:
    gate, up = rounded_to_steps(net, net.op("silu", linear(net, x, INNER))), linear(net, x, INNER)
    return linear(net, rounded_to_steps(net, net.op("mul", gate, up)), WIDTH)


def quantised_sum(net: Net, x: Value) -> Value:
    return linear(net, rounded_to_steps(net, net.op("add", linear(net, x, INNER), 1.0)), WIDTH)


_QUANTISED = "a quantisation stands between the activation and the linear map behind it"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (quantised, _QUANTISED),
        (quantised_gate, _QUANTISED),
        (quantised_sum, None),
        (hidden_used_twice, "the hidden value is used elsewhere too"),
        (activation_of_input, "the activation is not applied to a linear map"),
        (gate_of_another, "gate and up are not linear maps of the same value"),
        (no_activation, None),
        (not_quite_quick_gelu, "gate and up are not linear maps of the same value"),
    ],
)
def test_refusals(body: Body, reason: str | None) -> None:
    graph = graph_of(body)
    assert not FuseFeedForward().run(graph)
    assert [why for _, why in graph.facts["fuse_feed_forward"]["unfused"]] == ([reason] if reason else [])


def test_an_activation_that_is_used_twice_keeps_the_linear_map_alive() -> None:
    def body(net: Net, x: Value) -> Value:
        up = linear(net, x, WIDTH)
        return net.op("add", linear(net, net.op("relu", up), WIDTH), up)

    after = assert_same_meaning(lambda: graph_of(body), FuseFeedForward(), tolerance=1e-5)
    assert "linear" in operations(after)


def test_a_layer_norm_between_is_no_feed_forward() -> None:
    net = Net()
    up = linear(net, net.input("x", 1, SEQ, WIDTH), INNER)
    normal = net.op("layer_norm", up, net.weights(INNER), net.weights(INNER), epsilon=1e-5)
    net.output("y", linear(net, normal, WIDTH))
    assert not run_passes(net.graph).facts.get("fuse_feed_forward")
    assert not FuseFeedForward().run(net.graph)
