"""A layer on a digital CIM core: what it computes, how long the published instance takes, its text, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from small_core import LAYER, NumpyLayer, Words, place_numbers, random_layer, small_core, variants

import isa
from pimc.backend import CimLayer, DeclaredCache, Workload, build_cim_layer
from pimc.simulator import Simulator

PUBLISHED = {
    "dcim-titanus": CimLayer(768, 12, 3072, DeclaredCache(0.338, 0.510, 0.405, 3.0, 2.17)),
    "dcim-titanus-opt7b": CimLayer(4096, 32, 16384, DeclaredCache(0.358, 0.451, 0.372, 4.0, 3.97)),
}


@pytest.fixture
def core(tmp_path: Path) -> isa.Machine:
    return small_core(tmp_path)


def _loaded(machine: isa.Machine, model: NumpyLayer, inputs: Words, workload: Workload) -> Simulator:
    """The layer's program with its numbers and the inputs of a block in place."""
    simulator = Simulator(machine)
    simulator.load(build_cim_layer(model.layer, machine, workload))
    place_numbers(simulator, model)
    _give(simulator, inputs)
    return simulator


def _give(simulator: Simulator, inputs: Words) -> None:
    octets = inputs.astype(np.int8).view(np.uint8).reshape(-1)
    simulator.state.cim.off_chip[: octets.size] = octets


def _outputs(simulator: Simulator, tokens: int) -> Words:
    start = simulator.program.symbol("residual").address
    return simulator.state.shared[start : start + tokens * 32].reshape(tokens, 32).copy()


@pytest.mark.parametrize("units", ["both", "pruned", "coded", "plain"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_prompt_and_steps_behind_it_are_those_of_numpy(core: isa.Machine, seed: int, units: str) -> None:
    """Five tokens together, with exact keys and values; then each of four with what earlier ones are worth."""
    model = random_layer(seed, variants()[units])
    x = np.random.default_rng(seed).integers(-90, 90, (9, 32)).astype(np.float32)
    exact = np.stack([model.key_value(row) for row in x])
    simulator = _loaded(core, model, x[:5], Workload(5, 4))
    simulator.run("prefill")
    expected = np.stack([model.token(x[t], exact[: t + 1]) for t in range(5)])
    np.testing.assert_array_equal(_outputs(simulator, 5), expected)
    for position in range(5, 9):
        _give(simulator, x[position : position + 1])
        simulator.run("decode", {"kv_length": position})
        earlier = np.stack([model.through_codes(row) for row in exact[:position]])
        context = np.concatenate([earlier, exact[position : position + 1]])
        np.testing.assert_array_equal(_outputs(simulator, 1)[0], model.token(x[position], context))


def test_units_of_codes_may_differ_in_number(core: isa.Machine) -> None:
    """With three units that restore elements: as numpy, in fewer cycles."""
    facts = core.model_dump()
    facts["digital_cim"]["dequantise"]["count"] = 3
    faster = isa.Machine.model_validate(facts)
    model = random_layer(6)
    x = np.random.default_rng(6).integers(-90, 90, (6, 32)).astype(np.float32)
    cycles = []
    for machine in (core, faster):
        simulator = _loaded(machine, model, x[:5], Workload(5, 4))
        simulator.run("prefill")
        _give(simulator, x[5:])
        cycles.append(simulator.run("decode", {"kv_length": 5}).cycles)
        exact = np.stack([model.key_value(row) for row in x])
        context = np.concatenate([np.stack([model.through_codes(row) for row in exact[:5]]), exact[5:]])
        np.testing.assert_array_equal(_outputs(simulator, 1)[0], model.token(x[5], context))
    assert cycles[1] < cycles[0]


def test_a_prompt_token_by_token_is_the_prompt_at_once(core: isa.Machine) -> None:
    """Keys and values of earlier tokens are still in the buffer, exact."""
    model = random_layer(5)
    x = np.random.default_rng(5).integers(-90, 90, (5, 32)).astype(np.float32)
    at_once = _loaded(core, model, x, Workload(5, 4))
    at_once.run("prefill")
    simulator = _loaded(core, model, x[:1], Workload(5, 4))
    for position in range(5):
        _give(simulator, x[position : position + 1])
        simulator.run("token", {"kv_length": position})
        np.testing.assert_array_equal(_outputs(simulator, 1)[0], _outputs(at_once, 5)[position])


def test_a_core_with_one_set_of_each_unit_takes_longer_for_a_pipeline(core: isa.Machine) -> None:
    """Scores of a token then wait for the values of the one before, and so do the normalisations."""
    facts = core.model_dump()
    facts["sequencer"]["queue_depth"] = 64
    two = isa.Machine.model_validate(facts)
    facts["digital_cim"]["engines"]["sets"] = facts["digital_cim"]["norm"]["sets"] = 1
    one = isa.Machine.model_validate(facts)
    cycles = []
    for machine in (two, one):
        simulator = Simulator(machine)
        program = build_cim_layer(LAYER, machine, Workload(8, 4))
        assert isa.check_program(program, machine) == []
        simulator.load(program)
        cycles.append(simulator.run("pipeline", timing_only=True).cycles)
    assert cycles[0] < cycles[1]


@pytest.mark.parametrize("queue_depth", [0, 64])
@pytest.mark.parametrize(("tokens", "units"), [(1, "both"), (2, "plain"), (3, "coded"), (6, "both"), (6, "pruned")])
def test_a_pipeline_of_tokens_is_the_prompt_at_once(
    core: isa.Machine, tokens: int, units: str, queue_depth: int
) -> None:
    """The same keys, values and results; in fewer cycles when units work side by side."""
    core = core.model_copy(update={"sequencer": core.sequencer.model_copy(update={"queue_depth": queue_depth})})
    model = random_layer(7, variants()[units])
    x = np.random.default_rng(7).integers(-90, 90, (tokens, 32)).astype(np.float32)
    found, cycles = [], []
    for entry in ("prefill", "pipeline"):
        simulator = _loaded(core, model, x, Workload(tokens, 4))
        cycles.append(simulator.run(entry).cycles)
        found.append((_outputs(simulator, tokens), simulator.state.cim.off_chip.copy()))
    np.testing.assert_array_equal(found[1][0], found[0][0])
    np.testing.assert_array_equal(found[1][1], found[0][1])
    if tokens > 3:
        assert cycles[1] < cycles[0]


@pytest.mark.parametrize("units", ["both", "pruned", "coded", "plain"])
def test_the_published_instance_computes_with_codes_from_the_ninth_token_on(core: isa.Machine, units: str) -> None:
    """What comes back from off chip replaces keys and values of all tokens but the last before any score."""
    model = random_layer(4, variants()[units])
    x = np.random.default_rng(4).integers(-90, 90, (16, 32)).astype(np.float32)
    simulator = _loaded(core, model, x, Workload(8, 8))
    simulator.run("instance")
    exact = np.stack([model.key_value(row) for row in x])
    context = np.concatenate([np.stack([model.through_codes(row) for row in exact[:15]]), exact[15:]])
    expected = np.stack([model.token(x[t], context[: t + 1]) for t in range(16)])
    np.testing.assert_array_equal(_outputs(simulator, 16), expected)


def closed_form_cycles(layer: CimLayer, core: isa.DigitalCim) -> int:
    """Sum of operations x (cycles + 1), less what the 14 changes of unit overlap; one cycle for the inputs."""
    tokens, cache = 16, layer.cache
    survivors = math.ceil(math.ceil(2 * layer.hidden * (1 - cache.zeros_pruned) / core.quantise.count) / 32)
    norm = 16 * math.ceil(math.ceil(layer.hidden / core.norm.count) / 16)
    phases = [
        *((norm, 189), (tokens, 9), (tokens, 9), (tokens, 9)),
        (tokens * math.ceil(math.ceil(2 * layer.hidden / core.prune.count) / 32), 2),
        *((tokens * survivors, 3), (92 * survivors, 2), (136, 3), (tokens, 46), (tokens * layer.head_width, 3)),
        *((tokens, 9), (norm, 189), (tokens, 9), (tokens * layer.feed_forward // 256, 2), (tokens, 9)),
    ]
    overlaps = sum(cycles for _, cycles in phases[:-1])
    return 1 + sum(count * (cycles + 1) for count, cycles in phases) - overlaps


@pytest.mark.parametrize(("machine", "cycles"), [("dcim-titanus", 25709), ("dcim-titanus-opt7b", 58193)])
def test_the_published_instance_takes_its_cycles(machine: str, cycles: int) -> None:
    layer, target = PUBLISHED[machine], isa.load_machine(machine)
    program = build_cim_layer(layer, target, Workload(8, 8))
    simulator = Simulator(target, "paper")
    simulator.load(program)
    assert target.digital_cim is not None
    assert simulator.run("instance", timing_only=True).cycles == cycles == closed_form_cycles(layer, target.digital_cim)


@pytest.mark.parametrize(
    ("units", "cycles", "octets"), [("both", 25709, 564), ("pruned", 14834, 1209), ("coded", 28847, 689)]
)
def test_units_that_are_off_take_no_cycles(units: str, cycles: int, octets: int) -> None:
    """Without pruning, all 48 tiles of a token get codes; without codes, 2,304 cycles less the 2 of the last tile."""
    target, layer = isa.load_machine("dcim-titanus"), PUBLISHED["dcim-titanus"]
    caches = {"both": layer.cache, "pruned": layer.cache.without_codes(), "coded": layer.cache.without_pruning()}
    layer = replace(layer, cache=caches[units])
    simulator = Simulator(target, "paper")
    simulator.load(build_cim_layer(layer, target, Workload(8, 8)))
    found = simulator.run("instance", timing_only=True)
    assert found.cycles == cycles
    assert found.bytes_by_space["off_written"] == 16 * octets


def test_a_plain_cache_goes_off_chip_as_it_is() -> None:
    """16 x 1,536 bytes; a cycle more than its tiles take, as the last store is handed over ahead of the scores."""
    target, layer = isa.load_machine("dcim-titanus"), PUBLISHED["dcim-titanus"]
    layer = replace(layer, cache=layer.cache.without_codes().without_pruning())
    simulator = Simulator(target, "paper")
    program = build_cim_layer(layer, target, Workload(8, 8))
    simulator.load(program)
    found = simulator.run("instance", timing_only=True)
    assert found.cycles == 12533
    assert found.bytes_by_space["off_written"] == 16 * 1536
    assert {"dprune", "dquant", "ddequant", "stnz", "ldnz"}.isdisjoint(each.mnemonic for each in program.code)


def test_operands_are_awaited_outside_the_published_accounting() -> None:
    """The last token's products wait for its normalisation: 189 - 15 x 10 cycles, twice; transfers take longer."""
    target = isa.load_machine("dcim-titanus")
    simulator = Simulator(target)
    simulator.load(build_cim_layer(PUBLISHED["dcim-titanus"], target, Workload(8, 8)))
    inputs = math.ceil(16 * 768 / 1374.389)
    assert simulator.run("instance", timing_only=True).cycles == 25709 - 1 + inputs + 2 * (189 - 150)


@pytest.mark.parametrize("accounting", ["paper", "faithful"])
def test_energies_of_phases_and_of_units_add_up(core: isa.Machine, accounting: Literal["paper", "faithful"]) -> None:
    simulator = Simulator(core, accounting)
    simulator.load(build_cim_layer(LAYER, core, Workload(8, 8)))
    found = simulator.run("instance", timing_only=True)
    assert sum(node.energy_j for node in found.nodes.values()) == pytest.approx(found.energy_j)
    leaks = {part for part, joules in found.energy_by_unit_j.items() if part.endswith("_leakage") and joules}
    assert ("engines_leakage" in leaks) == (accounting == "faithful")
    record = LAYER.cache.record_bytes(64)
    assert found.bytes_by_space["off_written"] == 16 * record
    assert found.bytes_by_space["off_read"] == 92 * record + 16 * 32


def test_programs_are_loops_with_names_and_keep_the_rules(core: isa.Machine) -> None:
    for layer in variants().values():
        assert isa.check_program(build_cim_layer(layer, core, Workload(5, 4)), core) == []
    program = build_cim_layer(LAYER, core, Workload(5, 4))
    assert len(program.code) == len(build_cim_layer(LAYER, core, Workload(500 // 20, 9)).code) < 1200
    text = isa.disassemble(program)
    assert isa.disassemble(isa.assemble(text)) == text


def test_programs_are_stored(core: isa.Machine, tmp_path: Path) -> None:
    program = build_cim_layer(LAYER, core, Workload(5, 4))
    isa.save_program(program, tmp_path / "p.pim")
    loaded = isa.load_program(tmp_path / "p.pim")
    assert isa.encode_instructions(loaded.code) == isa.encode_instructions(program.code)


def test_what_does_not_fit_is_refused_with_demand_and_bound(core: isa.Machine) -> None:
    with pytest.raises(isa.ResourceLimitError) as caught:
        build_cim_layer(replace(LAYER, hidden=64, heads=4, feed_forward=128), core, Workload(5, 4))
    assert list(caught.value.notes) == [
        "query: 64 x 64 of 32 x 32 weights",
        "up: 64 x 128 of 32 x 64 weights",
        "engines: 4 heads, 2 engines",
        "softmax units: 4 heads, 2 softmax units",
    ]
    with pytest.raises(isa.ResourceLimitError, match="the values of the layer do not fit the shared buffer") as caught:
        build_cim_layer(LAYER, core, Workload(5, 30000))
    assert caught.value.notes[1] == "bound: 4,194,304 words"


def test_a_machine_without_a_core_is_refused() -> None:
    with pytest.raises(isa.MachineError, match="has no digital CIM core with off-chip memory"):
        build_cim_layer(LAYER, isa.load_machine("gddr6-aim"), Workload(5, 4))


def test_bytes_of_records() -> None:
    """564 of 1,536 bytes and 3,923 of 8,192: the published densities and widths."""
    first, second = PUBLISHED.values()
    assert first.cache.record_bytes(first.channels) == 564
    assert second.cache.record_bytes(second.channels) == 3923
