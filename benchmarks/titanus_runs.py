"""Runs of Titanus' models: layer programs from ONNX graphs without weights, in the authors' accounting and without it.

    python -m benchmarks.titanus_runs

prints what more units for dequantisation are worth without that accounting. Points are those that the authors' public
simulator prints (github.com/peilin-chen/Titanus-for-LLM-acceleration 8af1fba; GLSVLSI 2025, arXiv 2505.17787).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.command_line import end_with
from benchmarks.shape_only import shape_only_graph
from isa import Machine, Program, load_machine
from passes import PassManager, pipeline
from pimc.backend import CimLayer, DeclaredCache, Workload, build_cim_layer, cim_layers
from pimc.simulator import ChainStep, CoreChain, Recording, ScaledModel, Simulator, Statistics

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from model_weights import AbsentWeights  # models/ is a folder of scripts, no package
from opt import OptConfig, build_opt

_SAMPLED_TOKENS = 64


@dataclass(frozen=True)
class Model:
    """A published model.

    Attributes:
        name: For people.
        machine: Bundled machine, a core of it.
        config: Its shape, of which an ONNX model is built without weights.
        cache: What is declared about its keys and values.
    """

    name: str
    machine: str
    config: OptConfig
    cache: DeclaredCache

    @property
    def layers(self) -> tuple[CimLayer, ...]:
        """Its layers, as the passes find them in its ONNX graph: a core for each."""
        return _layers(self)

    @property
    def layer(self) -> CimLayer:
        """The layer that every core has: all are alike."""
        (found,) = set(self.layers)
        return found


@cache
def _layers(model: Model) -> tuple[CimLayer, ...]:
    graph = shape_only_graph(build_opt(model.config, AbsentWeights()), model.name)
    PassManager(pipeline("default")).run(graph)
    return tuple(cim_layers(graph, model.cache))


OPT_125M = Model(
    "OPT-125M",
    "dcim-titanus",
    OptConfig(50272, 2048, 768, 12, 12, 3072),
    DeclaredCache(0.338, 0.510, 0.405, 3.0, 2.17),
)
OPT_6_7B = Model(
    "OPT-6.7B",
    "dcim-titanus-opt7b",
    OptConfig(50272, 2048, 4096, 32, 32, 16384),
    DeclaredCache(0.358, 0.451, 0.372, 4.0, 3.97),
)
"""Shapes as published with the models; densities and widths of the configurations in config/ of the authors."""


@dataclass(frozen=True)
class Point:
    """A published workload.

    Attributes:
        model: The model.
        workload: Its tokens.
        tokens_per_j: Published tokens for a joule.
        tokens_per_s: Published throughput, by schedule.
    """

    model: Model
    workload: Workload
    tokens_per_j: float
    tokens_per_s: Mapping[str, float]

    @property
    def title(self) -> str:
        """Model and tokens."""
        return f"{self.model.name} {self.workload.prompt}/{self.workload.generated}"


def _point(model: Model, prompt: int, generated: int, tokens_per_j: float, *speeds: float) -> Point:
    schedules = dict(zip(("original", "intra", "intra+inter"), speeds, strict=True))
    return Point(model, Workload(prompt, generated), tokens_per_j, schedules)


POINTS = (
    _point(OPT_6_7B, 128, 512, 59.65, 1718.63, 1967.80, 2132.07),
    _point(OPT_125M, 32, 32, 11878.09, 10375.33, 14717.52, 18801.47),
    _point(OPT_125M, 32, 64, 7363.71, 10375.33, 12913.64, 14793.29),
    _point(OPT_125M, 32, 128, 4327.44, 10375.33, 11760.49, 12637.92),
    _point(OPT_125M, 64, 64, 6592.45, 10375.33, 15062.93, 19458.59),
    _point(OPT_125M, 64, 128, 3909.62, 10375.33, 13089.22, 15060.06),
    _point(OPT_125M, 128, 128, 3489.79, 10375.33, 15241.80, 19804.69),
)
"""Runs of the authors' simulator."""


def program_of(model: Model, workload: Workload, machine: Machine) -> Program:
    """The program of a layer of a model."""
    return build_cim_layer(model.layer, machine, workload)


def scaled(model: Model, workload: Workload, machine: Machine) -> ScaledModel:
    """Run the published instance of a layer, and scale it to the model as the authors do."""
    simulator = Simulator(machine, "paper")
    simulator.load(program_of(model, workload, machine))
    found = simulator.run("instance", timing_only=True)
    return ScaledModel(len(model.layers), workload.prompt, workload.generated, model.layer.hidden, found, machine)


@dataclass(frozen=True)
class Faithful:
    """A model without the authors' accounting.

    Attributes:
        tokens_per_s: Throughput of one sequence.
        tokens_per_j: Tokens for a joule.
    """

    tokens_per_s: float
    tokens_per_j: float


def faithful(model: Model, workload: Workload, machine: Machine, side_by_side: bool = False) -> Faithful:
    """Run a model on a chain of cores: the prompt, and steps at every 64th length of the context.

    Between these lengths cost is linear.

    Args:
        model: The model.
        workload: Its tokens.
        machine: One of its cores.
        side_by_side: Whether the prompt goes token by token through the cores, so that they work at the same time;
            else a core takes the whole prompt before the next one begins.
    """
    chain = CoreChain(machine, [program_of(model, workload, machine)] * len(model.layers))
    tokens = [ChainStep("token", {"kv_length": position}) for position in range(workload.prompt)]
    prompt = chain.run(tokens if side_by_side else [ChainStep("prefill")], timing_only=True)
    lengths = [*range(workload.prompt, workload.tokens - 1, _SAMPLED_TOKENS), workload.tokens - 1]
    steps = [chain.run([ChainStep("decode", {"kv_length": length})], timing_only=True) for length in lengths]
    seconds = prompt.time_s + _sum(lengths, [step.time_s for step in steps])
    energy_j = prompt.energy_j + _sum(lengths, [step.energy_j for step in steps])
    return Faithful(workload.tokens / seconds, workload.tokens / energy_j)


QUEUES = 256
"""Instructions that may wait for a unit in runs of a pipeline inside a core; the published sequencer has none."""


@dataclass(frozen=True)
class Pipelined:
    """How many times as fast a prompt is with pipelines, against unit by unit and layer by layer.

    Attributes:
        inside: Units of a core side by side on different tokens, layer by layer.
        all_cores: Cores side by side, too: each begins so late that no token has to be waited for.
    """

    inside: float
    all_cores: float


def pipelined(model: Model, workload: Workload, machine: Machine) -> Pipelined:
    """Run the prompt on a core, unit by unit, and as a pipeline on units with queues."""
    simulator = Simulator(machine)
    simulator.load(program_of(model, workload, machine))
    one_by_one = simulator.run("prefill", timing_only=True).cycles
    queued = machine.sequencer.model_copy(update={"queue_depth": QUEUES})
    wide = machine.model_copy(update={"sequencer": queued})
    program = program_of(model, workload, wide)
    simulator = Simulator(wide)
    simulator.load(program)
    simulator.record()
    cycles = simulator.run("pipeline", timing_only=True).cycles
    lag = _lag(program, simulator.recording(), workload.prompt)
    layers = len(model.layers)
    return Pipelined(one_by_one / cycles, layers * one_by_one / ((layers - 1) * lag + cycles))


def _lag(program: Program, recording: Recording, tokens: int) -> int:
    """Cycles from a core's begin to the next one's, so that every token is done before the next core needs it."""
    nodes = np.array([program.sources[program.debug[index]].node for index in recording.index])
    needed = np.array(recording.start)[nodes == "norm_1"].reshape(tokens, -1)[:, 0]
    done = np.array(recording.finish)[nodes == "down"]
    return int(max(done - needed))


def peak_power_w(machine: Machine) -> float:
    """Power with every unit at work and a block of the buffer accessed in every cycle, as the authors print it."""
    core, memory, buffer = machine.digital_cim, machine.off_chip, machine.shared_buffer
    assert core is not None
    assert memory is not None
    access_mw = buffer.read_energy_pj_per_word * memory.block_bytes / machine.clock_ns
    return core.peak_power_w + (access_mw + buffer.leakage_mw) * 1e-3


def _sum(places: list[int], values: list[float]) -> float:
    """Sum over all integers from the first place to the last of what is linear between places."""
    total = values[0]
    for before, after, low, high in zip(places, places[1:], values, values[1:], strict=False):
        count = after - before
        total += count * low + (high - low) * (count + 1) / 2
    return total


@cache
def scaled_point(model: Model, workload: Workload) -> ScaledModel:
    """`scaled` on the model's bundled machine."""
    return scaled(model, workload, load_machine(model.machine))


@cache
def faithful_point(model: Model, workload: Workload, side_by_side: bool = False) -> Faithful:
    """`faithful` on the model's bundled machine."""
    return faithful(model, workload, load_machine(model.machine), side_by_side)


def weights_load(model: Model, workload: Workload, machine: Machine) -> Statistics:
    """Load the weights of a layer into its arrays."""
    simulator = Simulator(machine)
    simulator.load(program_of(model, workload, machine))
    return simulator.run("load", timing_only=True)


def with_dequantisers(machine: Machine, count: int) -> Machine:
    """The core with other units that restore elements from codes; all else as published."""
    core = machine.digital_cim
    assert core is not None
    units = core.dequantise.model_copy(update={"count": count})
    changed = core.model_copy(update={"dequantise": units})
    return machine.model_copy(update={"name": f"{machine.name}-{count}", "digital_cim": changed})


def main() -> None:
    """Print what units for dequantisation are worth without the authors' accounting."""
    print(f"{'OPT-125M, 128 + 128 tokens':<28}  {'tokens/s':>9}  {'tokens/J':>9}  {'mm2 a core':>10}")
    base, workload = load_machine(OPT_125M.machine), Workload(128, 128)
    for count in (1, 4, 16, 48):
        machine = with_dequantisers(base, count)
        found = faithful(OPT_125M, workload, machine, side_by_side=True)
        core = machine.digital_cim
        assert core is not None
        area = core.area_mm2 + (machine.shared_buffer.area_mm2 or 0)
        title = f"{count} for dequantisation"
        print(f"{title:<28}  {found.tokens_per_s:>9,.0f}  {found.tokens_per_j:>9.1f}  {area:>10.2f}")


if __name__ == "__main__":
    end_with(main)
