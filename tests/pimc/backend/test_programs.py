"""Programs of fused graphs against the graph interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from fused_graphs import FusedDecoder
from running import ProgramUnderTest, oracle_inputs

from isa import ResourceLimitError, load_machine
from passes import PlaceWeights, interpret
from pimc.backend import ProgramOptions, build_program
from pimc.simulator import Simulator

MACHINE = load_machine("gddr6-aim")
SHAPES = {
    "grouped": (FusedDecoder(), (1, 5, 1, 1, 8, 8, 1)),
    "window below the length": (FusedDecoder(window=5), (8, 8, 1, 1)),
    "window above the length": (FusedDecoder(window=20), (8, 8, 8, 1)),
    "head of no whole column count": (FusedDecoder(head_dim=24, heads=3, kv_heads=1), (8, 8, 1)),
    "rows with unused columns": (FusedDecoder(head_dim=96, heads=2, kv_heads=2), (8,) * 9),
    "several heads a group": (FusedDecoder(head_dim=96, heads=40, kv_heads=40, layers=1), (8, 8, 1)),
    "one key head, inputs beyond the global buffer": (
        FusedDecoder(head_dim=128, heads=16, kv_heads=1, hidden=1200, inner=1400, vocabulary=3000, layers=1),
        (8, 8, 1),
    ),
    "encoder": (FusedDecoder(causal=False, context=200), (70,)),
}


def _compile(decoder: FusedDecoder, numerics: str):  # type: ignore[no-untyped-def]
    graph = decoder.build()
    PlaceWeights(MACHINE).run(graph)
    return graph, build_program(graph, MACHINE, ProgramOptions(decoder.context, 8, numerics, {}))


def _largest_error(decoder: FusedDecoder, chunks: tuple[int, ...], numerics: str = "fp32") -> float:
    graph, program = _compile(decoder, numerics)
    test, caches, worst = ProgramUnderTest(program, MACHINE), {}, 0.0
    random = np.random.default_rng(1)
    for count in chunks:
        ids, start = random.integers(0, decoder.vocabulary, count), test.length
        mask = None
        if decoder.key_mask:
            mask = (np.arange(start + count) % 7 != 3).astype(np.int64)
        inputs = oracle_inputs(graph, ids, start, mask)
        expected = interpret(graph, inputs, {"past": start, "seq": count}, caches)["logits"][0]
        entry = "encode" if not decoder.causal else ("decode" if count == 1 else "prefill")
        found = test.run(ids, entry, mask)
        worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    return worst


@pytest.mark.parametrize("name", SHAPES)
def test_program_equals_the_interpreter(name: str) -> None:
    decoder, chunks = SHAPES[name]
    assert _largest_error(decoder, chunks) < 3e-6


@pytest.mark.parametrize("causal", [True, False])
def test_key_mask_excludes_positions(causal: bool) -> None:
    decoder = FusedDecoder(key_mask=True, causal=causal, context=200)
    assert _largest_error(decoder, (8, 8, 1) if causal else (70,)) < 3e-6


def test_machine_numerics_round_to_bf16() -> None:
    error = _largest_error(FusedDecoder(), (8, 1), "machine")
    assert 1e-4 < error < 0.03


def test_code_is_the_same_under_both_numerics() -> None:
    programs = [_compile(FusedDecoder(), numerics)[1] for numerics in ("machine", "fp32")]
    assert programs[0].code == programs[1].code


def test_cache_holds_what_the_interpreter_has() -> None:
    graph, program = _compile(FusedDecoder(), "fp32")
    test, caches = ProgramUnderTest(program, MACHINE), {}
    for count in (8, 8, 3):
        ids, start = np.arange(count), test.length
        interpret(graph, oracle_inputs(graph, ids, start, None), {"past": start, "seq": count}, caches)
        test.run(ids, "prefill")
    keys, values = caches["layer1"]
    np.testing.assert_allclose(test.cache("layer1.key"), keys[0], atol=1e-5)
    np.testing.assert_allclose(test.cache("layer1.value"), values[0], atol=1e-5)


def test_outputs_before_the_first_wanted_one_are_skipped() -> None:
    _, program = _compile(FusedDecoder(), "fp32")
    test = ProgramUnderTest(program, MACHINE)
    state = test.engine.state
    for register in program.registers:
        state.registers[register.register] = {"token_count": 4, "first_output": 3}.get(register.name, 0)
    test.engine.run(program.entries["prefill"].address, timing_only=False)
    symbol = program.symbol("logits")
    rows = state.shared[symbol.address : symbol.address + symbol.size].reshape(8, -1)[:4]
    assert not rows[:3].any()
    assert rows[3].any()


def test_host_registers_keep_to_the_limits_that_the_proof_relies_on() -> None:
    _, program = _compile(FusedDecoder(context=40), "fp32")
    simulator = Simulator(MACHINE)
    simulator.load(program)
    with pytest.raises(ResourceLimitError) as caught:
        simulator.run("prefill", {"kv_length": 36, "token_count": 5, "first_output": 0})
    assert caught.value.message == "kv_length + token_count is 41"
    assert caught.value.notes == ("bound: 40",)


def test_a_sweep_costs_what_single_runs_cost() -> None:
    _, program = _compile(FusedDecoder(), "fp32")
    registers = [{"kv_length": length} for length in (0, 1, 17, 300, 699)]
    costs = []
    for compiled in (True, False):
        simulator = Simulator(MACHINE)
        simulator.load(program)
        costs.append([(cost.cycles, cost.energy_j) for cost in simulator.sweep("decode", registers, compiled)])
    assert costs[0] == costs[1]
