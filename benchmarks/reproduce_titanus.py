"""Titanus' published figures from runs of an emitted layer program: throughput, energy, KV traffic, area, power.

Published figures are those that the authors' public simulator prints (github.com/peilin-chen/
Titanus-for-LLM-acceleration 8af1fba; GLSVLSI 2025, arXiv 2505.17787). Rows marked `faithful` have no accounting of the
authors in them: the context grows, transfers take their time, units leak, and tokens of a decode follow one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from benchmarks.reproduce_rows import Row
from isa import Machine, Program, load_machine
from pimc.backend import CimLayer, DeclaredCache, Workload, build_cim_layer
from pimc.simulator import ScaledModel, Simulator, Statistics

_SAMPLED_TOKENS = 64
_LOG = (
    "the authors' log drops the cycles behind the last whole hundred of a run, and ours with it; ours has no energy of"
    " stores into the shared buffer, which theirs counts in part"
)
_CLOSED = "recomputed by the authors' byte formula from declared densities and mean widths of codes"
_GAP = (
    "not the authors' accounting: dequantisation and scores grow with the context (the authors scale those of 8 + 8"
    " tokens), transfers take 256 GiB/s, every core leaks all the time, layers follow one another"
)
_WEIGHTS = "left out of tokens/J there and here: weights of all layers off chip into the arrays, once"


@dataclass(frozen=True)
class Model:
    """A published model.

    Attributes:
        name: For people.
        machine: Bundled machine, a core of it.
        layers: Its layers.
        layer: One of them.
    """

    name: str
    machine: str
    layers: int
    layer: CimLayer


OPT_125M = Model("OPT-125M", "dcim-titanus", 12, CimLayer(768, 12, 3072, DeclaredCache(0.338, 0.510, 0.405, 3.0, 2.17)))
OPT_6_7B = Model(
    "OPT-6.7B", "dcim-titanus-opt7b", 32, CimLayer(4096, 32, 16384, DeclaredCache(0.358, 0.451, 0.372, 4.0, 3.97))
)
"""Densities and widths of the configurations in config/ of the authors."""


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

_INSTANCES = ((OPT_125M, 25702), (OPT_6_7B, 58186))
_CUTS = ((OPT_125M, 63.3), (OPT_6_7B, 52.1))
_CORES = ((OPT_125M, 83.32, 31.95), (OPT_6_7B, 2090.0, 651.5))
_FAITHFUL = (POINTS[0], POINTS[6])


def program_of(model: Model, workload: Workload, machine: Machine) -> Program:
    """The program of a layer of a model."""
    return build_cim_layer(model.layer, machine, workload)


def scaled(model: Model, workload: Workload, machine: Machine) -> ScaledModel:
    """Run the published instance of a layer, and scale it to the model as the authors do."""
    simulator = Simulator(machine, "paper")
    simulator.load(program_of(model, workload, machine))
    found = simulator.run("instance", timing_only=True)
    return ScaledModel(model.layers, workload.prompt, workload.generated, model.layer.hidden, found, machine)


@dataclass(frozen=True)
class Faithful:
    """A model without the authors' accounting.

    Attributes:
        tokens_per_s: Throughput of one sequence.
        tokens_per_j: Tokens for a joule.
    """

    tokens_per_s: float
    tokens_per_j: float


def faithful(model: Model, workload: Workload, machine: Machine) -> Faithful:
    """Run the prompt, and steps at every 64th length of the context, between which cost is linear."""
    simulator = Simulator(machine)
    simulator.load(program_of(model, workload, machine))
    prefill = simulator.run("prefill", timing_only=True)
    lengths = [*range(workload.prompt, workload.tokens - 1, _SAMPLED_TOKENS), workload.tokens - 1]
    steps = [simulator.run("decode", {"kv_length": length}, timing_only=True) for length in lengths]
    cycles = prefill.cycles + _sum(lengths, [step.cycles for step in steps])
    seconds = cycles * machine.clock_ns * 1e-9 * model.layers
    leakage_w = _leakage_j(prefill) / prefill.time_s
    moved_j = prefill.energy_j - _leakage_j(prefill)
    moved_j += _sum(lengths, [step.energy_j - _leakage_j(step) for step in steps])
    energy_j = model.layers * (moved_j + leakage_w * seconds)
    return Faithful(workload.tokens / seconds, workload.tokens / energy_j)


def peak_power_w(machine: Machine) -> float:
    """Power with every unit at work and a block of the buffer accessed in every cycle, as the authors print it."""
    core, memory, buffer = machine.digital_cim, machine.off_chip, machine.shared_buffer
    assert core is not None
    assert memory is not None
    access_mw = buffer.read_energy_pj_per_word * memory.block_bytes / machine.clock_ns
    return core.peak_power_w + (access_mw + buffer.leakage_mw) * 1e-3


def _leakage_j(found: Statistics) -> float:
    return sum(joules for part, joules in found.energy_by_unit_j.items() if part.endswith("_leakage"))


def _sum(places: list[int], values: list[float] | list[int]) -> float:
    """Sum over all integers from the first place to the last of what is linear between places."""
    total = float(values[0])
    for before, after, low, high in zip(places, places[1:], values, values[1:], strict=False):
        count = after - before
        total += count * low + (high - low) * (count + 1) / 2
    return total


@cache
def _scaled(model: Model, workload: Workload) -> ScaledModel:
    return scaled(model, workload, load_machine(model.machine))


def _paper(point: Point) -> ScaledModel:
    return _scaled(point.model, point.workload)


def rows() -> list[Row]:
    """Run every published workload."""
    return [*_instances(), *_speeds(), *_energies(), *_traffic(), *_weights(), *_cores(), *_without_accounting()]


def _instances() -> Iterator[Row]:
    for model, cycles in _INSTANCES:
        point = next(each for each in POINTS if each.model is model)
        claim = f"Titanus {model.name}, layer of 8 + 8 tokens"
        yield Row(claim, cycles, _paper(point).instance_cycles, "cycles", "E", 0)


def _speeds() -> Iterator[Row]:
    for point in POINTS:
        found = _paper(point).tokens_per_s()
        for schedule, published in point.tokens_per_s.items():
            yield Row(f"Titanus {point.title}, {schedule}", published, found[schedule], "tokens/s", "E", 2)


def _energies() -> Iterator[Row]:
    for point in POINTS:
        found = _paper(point).tokens_per_j
        yield Row(f"Titanus {point.title}, energy", point.tokens_per_j, found, "tokens/J", "M", 2, _LOG)


def _traffic() -> Iterator[Row]:
    for model, published in _CUTS:
        point = next(each for each in POINTS if each.model is model)
        cut = 100 * (1 - _paper(point).record_bytes / model.layer.channels)
        yield Row(f"Titanus {model.name}, KV traffic cut against INT8", published, cut, "%", "E", 1, _CLOSED)


def weights_load(model: Model, workload: Workload, machine: Machine) -> Statistics:
    """Load the weights of a layer into its arrays."""
    simulator = Simulator(machine)
    simulator.load(program_of(model, workload, machine))
    return simulator.run("load", timing_only=True)


def _weights() -> Iterator[Row]:
    point = POINTS[1]
    found = weights_load(point.model, point.workload, load_machine(point.model.machine))
    energy_mj = found.energy_by_unit_j["off_chip"] * 1e3 * point.model.layers
    yield Row(f"Titanus {point.model.name}, weights off chip", 35.3, energy_mj, "mJ", "M", 1, _WEIGHTS)


def _cores() -> Iterator[Row]:
    for model, area, power in _CORES:
        machine = load_machine(model.machine)
        point = next(each for each in POINTS if each.model is model)
        ours = _paper(point).instance.area_mm2
        assert ours is not None
        yield Row(f"Titanus {model.name}, area of a core", area, ours, "mm2", "E", 2 if area < 1000 else 0)
        yield Row(
            f"Titanus {model.name}, power of a core, every unit at work",
            power,
            peak_power_w(machine),
            "W",
            "E",
            2 if area < 1000 else 1,
        )


def _without_accounting() -> Iterator[Row]:
    for point in _FAITHFUL:
        found = faithful(point.model, point.workload, load_machine(point.model.machine))
        claim = f"Titanus {point.title}, faithful"
        speed = point.tokens_per_s["intra+inter"]
        yield Row(claim, speed, found.tokens_per_s, "tokens/s", "A", 2, _GAP)
        yield Row(claim, point.tokens_per_j, found.tokens_per_j, "tokens/J", "A", 2, _GAP)
