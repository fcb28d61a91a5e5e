"""Cores in a row: what comes out is what numpy's layers give one after another, and cores work side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_core import LAYER, NumpyLayer, Words, int8, place_numbers, random_layer, small_core

import isa
from pimc.backend import Workload, build_cim_layer
from pimc.simulator import ChainStep, CoreChain, Simulator

WORKLOAD = Workload(4, 3)


@pytest.fixture
def core(tmp_path: Path) -> isa.Machine:
    return small_core(tmp_path)


def chain_of(core: isa.Machine, models: list[NumpyLayer]) -> CoreChain:
    program = build_cim_layer(LAYER, core, WORKLOAD)
    chain = CoreChain(core, [program] * len(models))
    for simulator, model in zip(chain.cores, models, strict=True):
        place_numbers(simulator, model)
    return chain


def through(models: list[NumpyLayer], tokens: Words) -> Words:
    """All tokens through all layers: those of the prompt see exact keys, later ones what codes of earlier ones give."""
    for model in models:
        exact = np.stack([model.key_value(row) for row in tokens])
        codes = np.stack([model.through_codes(row) for row in exact])
        results = []
        for position, row in enumerate(tokens):
            earlier = exact[:position] if position < WORKLOAD.prompt else codes[:position]
            context = np.concatenate([earlier, exact[position : position + 1]])
            results.append(int8(model.token(row, context)))
        tokens = np.stack(results)
    return tokens


def steps_of(tokens: Words) -> list[ChainStep]:
    found = []
    for position, row in enumerate(tokens.astype(np.int8)):
        generated = position >= WORKLOAD.prompt
        entry = "decode" if generated else "token"
        found.append(ChainStep(entry, {"kv_length": position}, row[None], follows=generated))
    return found


@pytest.mark.parametrize("cores", [1, 3])
def test_vectors_pass_from_core_to_core(core: isa.Machine, cores: int) -> None:
    models = [random_layer(seed) for seed in range(cores)]
    tokens = np.random.default_rng(9).integers(-90, 90, (7, 32)).astype(np.float32)
    found = chain_of(core, models).run(steps_of(tokens))
    np.testing.assert_array_equal(np.concatenate(found.outputs).astype(np.float32), through(models, tokens))


def timed(core: isa.Machine, cores: int, steps: list[ChainStep]) -> tuple[int, float]:
    program = build_cim_layer(LAYER, core, WORKLOAD)
    found = CoreChain(core, [program] * cores).run(steps, timing_only=True)
    return found.cycles, found.energy_j


def single(core: isa.Machine, entry: str, position: int) -> int:
    simulator = Simulator(core)
    simulator.load(build_cim_layer(LAYER, core, WORKLOAD))
    return simulator.run(entry, {"kv_length": position}, timing_only=True).cycles


def test_a_prompt_is_a_pipeline_of_cores_and_generated_tokens_follow_one_another(core: isa.Machine) -> None:
    """Later tokens take longer: the last core ends behind all tokens of the first and the last token of the others."""
    prompt = [ChainStep("token", {"kv_length": position}) for position in range(4)]
    cycles = [single(core, "token", position) for position in range(4)]
    assert cycles == sorted(cycles)
    assert timed(core, 3, prompt)[0] == sum(cycles) + 2 * cycles[-1]
    generated = [ChainStep("decode", {"kv_length": position}, follows=True) for position in (4, 5)]
    more = [single(core, "decode", position) for position in (4, 5)]
    assert timed(core, 3, [*prompt, *generated])[0] == sum(cycles) + 2 * cycles[-1] + 3 * sum(more)


def test_all_cores_leak_all_the_time(core: isa.Machine) -> None:
    steps = [ChainStep("token", {"kv_length": 0})]
    program = build_cim_layer(LAYER, core, WORKLOAD)
    one, two = (CoreChain(core, [program] * cores).run(steps, timing_only=True) for cores in (1, 2))
    assert two.cycles == 2 * one.cycles
    assert two.busy_cycles == (one.cycles, one.cycles)
    for part, joules in one.energy_by_unit_j.items():
        factor = 4 if part.endswith("_leakage") else 2
        assert two.energy_by_unit_j[part] == pytest.approx(factor * joules), part


def test_with_and_without_data_time_is_the_same(core: isa.Machine) -> None:
    steps = steps_of(np.zeros((7, 32), np.float32))
    run = chain_of(core, [random_layer(seed) for seed in range(2)]).run(steps)
    assert (run.cycles, pytest.approx(run.energy_j)) == timed(core, 2, steps)


def test_memory_with_refreshes_is_no_core() -> None:
    with pytest.raises(isa.MachineError, match="cannot be a core in a chain"):
        CoreChain(isa.load_machine("gddr6-aim"), [])
