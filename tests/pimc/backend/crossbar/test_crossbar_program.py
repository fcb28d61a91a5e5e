"""An encoder block in crossbars: outputs of the interpreter, with and without decomposition, in both schedules."""

from typing import Any

import numpy as np
import pytest

from isa import Machine, MachineError, ResourceLimitError, UnsupportedError, check_program, load_machine
from passes import Graph, PassManager, TensorType, Value, interpret
from passes.decompose_attention import DecomposeAttention
from pimc.backend.crossbar import CrossbarOptions, build_crossbar_program
from pimc.simulator import Simulator

TOKENS, WIDTH, HEADS, WIDE = 12, 32, 4, 48


class Block:
    """An encoder block under construction."""

    def __init__(self, tokens: int, width: int) -> None:
        self.graph, self.random = Graph("block"), np.random.default_rng(0)
        kind = TensorType("float32", (1, tokens, width))
        self.graph.signature |= {"x": kind, "y": kind}
        self.x, self.width = self.graph.add_input("x", kind), width

    def weights(self, *shape: int) -> Value:
        values = self.random.standard_normal(shape) / np.sqrt(shape[0])
        return self.graph.add_constant(values.astype(np.float32), "w")

    def op(self, op: str, *operands: Value | None, **attributes: Any) -> Value:
        return self.graph.add_node(op, operands, [self.x.type], attributes).output

    def linear(self, value: Value) -> Value:
        return self.op("linear", value, self.weights(self.width, self.width), self.weights(self.width))

    def normed(self, value: Value) -> Value:
        return self.op("layer_norm", value, self.weights(self.width), self.weights(self.width), epsilon=1e-5)


def encoder_block(tokens: int = TOKENS, width: int = WIDTH, **attributes: Any) -> Graph:
    net = Block(tokens, width)
    query, key, value = (net.linear(net.x) for _ in "qkv")
    kept = TensorType("float32", (1, HEADS, tokens, width // HEADS))
    plain = {"heads": HEADS, "kv_heads": HEADS, "scale": 0.4, "causal": False, "window": 0, "softcap": 0.0}
    kinds = [query.type, kept, kept]
    attention = net.graph.add_node("attention", [query, key, value], kinds, {**plain, **attributes}).output
    first = net.normed(net.op("add", net.x, net.linear(attention)))
    up, down = (net.weights(width, WIDE), net.weights(WIDE)), (net.weights(WIDE, width), net.weights(width))
    forward = net.op("feed_forward", first, *up, None, None, *down, activation="gelu")
    net.graph.outputs["y"] = net.normed(net.op("add", first, forward))
    return net.graph


def decomposed_block() -> Graph:
    graph = encoder_block()
    PassManager([DecomposeAttention("all")]).run(graph)
    return graph


def machine(**values: Any) -> Machine:
    base = load_machine("reram-retransformer")
    assert base.crossbar is not None
    return base.model_copy(update={"crossbar": base.crossbar.model_copy(update=values)})


def run(
    graph: Graph, given: np.ndarray, target: Machine, options: CrossbarOptions
) -> tuple[np.ndarray, Simulator, int]:
    program = build_crossbar_program(graph, target, options)
    assert check_program(program, target) == []
    simulator = Simulator(target)
    simulator.load(program)
    simulator.run("load")
    places = {symbol.name: slice(symbol.address, symbol.address + symbol.size) for symbol in program.symbols}
    simulator.state.shared[places["x"]] = given.reshape(-1)
    cycles = simulator.run("encode").cycles
    return simulator.state.shared[places["y"]].reshape(given.shape).copy(), simulator, cycles


def results(decomposed: bool, target: Machine | None = None, **options: Any) -> tuple[float, Simulator, int]:
    """Largest difference from the interpreter relative to the largest output, and the run."""
    graph = encoder_block()
    given = np.random.default_rng(1).standard_normal((1, TOKENS, WIDTH)).astype(np.float32)
    expected = interpret(graph, {"x": given})["y"]
    chosen = decomposed_block() if decomposed else graph
    found, simulator, cycles = run(chosen, given, target or machine(), CrossbarOptions(**options))
    return float(np.abs(found - expected).max() / np.abs(expected).max()), simulator, cycles


@pytest.mark.parametrize("schedule", ["rows", "layers"])
@pytest.mark.parametrize(("decomposed", "copies"), [(False, 1), (True, 1), (True, 3), (True, 8)])
def test_outputs_are_those_of_the_interpreter(decomposed: bool, copies: int, schedule: Any) -> None:
    assert results(decomposed, schedule=schedule, copies=copies)[0] < 1e-5


@pytest.mark.parametrize("decomposed", [False, True])
def test_matrices_larger_than_a_group_are_parted(decomposed: bool) -> None:
    small = machine(array_rows=16, array_columns=16, group_rows=2, group_columns=1)
    assert results(decomposed, small)[0] < 1e-5


@pytest.mark.parametrize("decomposed", [False, True])
def test_eight_bits_cost_little(decomposed: bool) -> None:
    error = results(decomposed, numerics="machine")[0]
    assert 1e-4 < error < 0.03


def test_rows_overlap_what_layers_do_not() -> None:
    for decomposed in (False, True):
        _, _, rows = results(decomposed, copies=8)
        _, _, layers = results(decomposed, copies=8, schedule="layers")
        assert rows < layers


def test_decomposition_halves_what_is_written() -> None:
    """Keys and values of 4 heads: 2 x 32 numbers a token; X: 32. A number has four cells."""
    energies = []
    for decomposed in (False, True):
        graph = decomposed_block() if decomposed else encoder_block()
        simulator = Simulator(machine())
        simulator.load(build_crossbar_program(graph, machine(), CrossbarOptions()))
        energies.append(simulator.run("encode", timing_only=True).energy_by_unit_j["crossbar_write"])
    assert energies[0] == pytest.approx(TOKENS * 64 * 4 * 1.29e-12)
    assert energies[1] == pytest.approx(energies[0] / 2)


@pytest.mark.parametrize(
    ("attributes", "what"), [({"causal": True}, "a causal mask"), ({"softcap": 2.0, "window": 3}, "a window, capped")]
)
def test_forms_of_attention_that_it_lacks_are_refused(attributes: dict[str, Any], what: str) -> None:
    with pytest.raises(UnsupportedError, match=what):
        build_crossbar_program(encoder_block(**attributes), machine(), CrossbarOptions())


def test_operations_that_it_lacks_are_refused_together() -> None:
    net = Block(4, 8)
    net.graph.outputs["y"] = net.op("tanh", net.op("exp", net.x))
    with pytest.raises(UnsupportedError, match="cannot run exp, tanh"):
        build_crossbar_program(net.graph, machine(), CrossbarOptions())


def test_capacity_is_respected() -> None:
    with pytest.raises(ResourceLimitError, match="do not fit the crossbars"):
        build_crossbar_program(encoder_block(), machine(groups=3), CrossbarOptions())
    with pytest.raises(ResourceLimitError, match="do not fit a group of arrays"):
        build_crossbar_program(encoder_block(tokens=600), machine(), CrossbarOptions())
    with pytest.raises(MachineError, match="has no crossbars"):
        build_crossbar_program(encoder_block(), load_machine("gddr6-aim"), CrossbarOptions())
