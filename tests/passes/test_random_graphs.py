"""Rewrites of random graphs: the generic passes must keep every bit of the results (but the sign of zeros)."""

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests_graphs import SEQ, Net, random_inputs, run_passes

from passes import Graph, Value, interpret
from passes.canonicalize import Canonicalize
from passes.common_subexpressions import CommonSubexpressions
from passes.constant_folding import ConstantFolding
from passes.dead_code import DeadCode

GENERIC = (ConstantFolding(), Canonicalize(), CommonSubexpressions(), DeadCode())
UNARY = ("neg", "abs", "relu", "sign", "identity", "floor")
BINARY = ("add", "sub", "mul", "max", "min")
CONSTANTS = (0.0, 1.0, -1.0, 0.5, 3.0)
Choices = Any
"""Hypothesis' `data()` object."""


def static(value: Value) -> tuple[int, ...]:
    return tuple(size for size in value.shape if isinstance(size, int))


def reshaped(net: Net, x: Value, data: Choices) -> Value:
    """Another factorisation of the elements; a symbolic leading axis stays in front."""
    lead = x.shape[: len(x.shape) - len(static(x))]
    elements = math.prod(static(x))
    first = data.draw(st.sampled_from([n for n in range(1, elements + 1) if elements % n == 0]))
    second = data.draw(st.sampled_from([n for n in range(1, elements // first + 1) if elements // first % n == 0]))
    units = (1,) * data.draw(st.integers(0, 1))
    return net.op("reshape", x, shape=(*units, *lead, first, second, elements // first // second))


def transposed(net: Net, x: Value, data: Choices) -> Value:
    """Any order of the axes, the symbolic one in front."""
    lead = len(x.shape) - len(static(x))
    order = data.draw(st.permutations(range(lead, len(x.shape))))
    return net.op("transpose", x, perm=(*range(lead), *order))


def sliced(net: Net, x: Value, data: Choices) -> Value:
    axis = len(x.shape) - 1
    size = static(x)[-1]
    start = data.draw(st.integers(0, size - 1))
    return net.cut(x, axis, start, data.draw(st.integers(start + 1, size)))


def joined(net: Net, x: Value, data: Choices) -> Value:
    axis = len(x.shape) - 1
    other = net.op(data.draw(st.sampled_from(UNARY)), x)
    both = net.op("concat", x, other, axis=axis)
    size = static(both)[-1]
    start = data.draw(st.integers(0, size // 2))
    return net.cut(both, axis, start, start + size // 2)


def unary(net: Net, x: Value, data: Choices) -> Value:
    return net.op(data.draw(st.sampled_from(UNARY)), x)


def with_constant(net: Net, x: Value, data: Choices) -> Value:
    operands = [x, data.draw(st.sampled_from(CONSTANTS))]
    if data.draw(st.booleans()):
        operands.reverse()
    return net.op(data.draw(st.sampled_from(BINARY)), *operands)


def with_row(net: Net, x: Value, data: Choices) -> Value:
    row = net.constant(np.arange(static(x)[-1]) - 1.0)
    if data.draw(st.booleans()):
        row = net.op("expand", row, shape=x.shape)
    return net.op(data.draw(st.sampled_from(BINARY)), x, row)


def with_itself(net: Net, x: Value, data: Choices) -> Value:
    other = unary(net, x, data)
    chosen = net.op("where", net.op("greater", x, other), x, other)
    return net.op(data.draw(st.sampled_from(BINARY)), chosen, net.op("pow", x, data.draw(st.sampled_from([1.0, 2.0]))))


STEPS = (reshaped, transposed, sliced, joined, unary, with_constant, with_row, with_itself)


def build(data: Choices, symbolic: bool) -> Graph:
    net = Net()
    x = net.input("x", SEQ, 2, 3, 4) if symbolic else net.input("x", 2, 1, 3, 4)
    for number in range(data.draw(st.integers(1, 8))):
        step = data.draw(st.sampled_from(STEPS))
        if symbolic and x.shape[0] != SEQ:
            break
        x = step(net, x, data)
        if data.draw(st.integers(0, 3)) == 0:
            net.output(f"y{number}", x)
    net.output("y", x)
    return net.graph


@given(st.data(), st.booleans())
def test_generic_passes_keep_every_result(data: Choices, symbolic: bool) -> None:
    graph = build(data, symbolic)
    numbers = {"seq": data.draw(st.integers(1, 3))} if symbolic else {}
    inputs = random_inputs(graph, numbers)
    expected = interpret(graph, inputs, numbers)
    run_passes(graph, *GENERIC)
    found = interpret(graph, inputs, numbers)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert not any(step.run(graph) for step in GENERIC[1:])
