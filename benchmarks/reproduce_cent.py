"""CENT's published figures for Llama-2-7B: its own traces of a decoder block, and programs that we compile.

CENT (ASPLOS 2025, arXiv 2502.07578; github.com/Yufeng98/CENT 8c79786) places a decoder block on 8 channels of a
GDDR6-AiM device, or on all 32; eight devices hold the model, and as many tokens are under way as there are places.
Rows of `trace` run the instructions that CENT's generator writes; all other rows run the decode program that pimc
compiles from an ONNX model of the same shapes, without weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from benchmarks.llama_7b import LAYERS, compile_llama_7b
from benchmarks.reproduce_rows import Row
from isa import Machine, load_machine
from pimc.simulator import Simulator, TraceStatistics, simulate_trace

DEVICES = 8
CONTEXT = 4096
CONTEXTS = tuple(range(640, CONTEXT + 1, 128))
"""Contexts over which CENT averages the decode of 3,584 tokens behind 512."""

_TRACES = Path(__file__).parents[1] / "tests" / "golden" / "cent"
_EVENTS = ("dram_activation", "dram_read", "dram_write", "dram_compute", "dram_interface")

_OWN_RUN = (
    "published: the AiM simulator (github.com/arkhadem/aim_simulator 0f28a07) run by us on the trace that CENT's"
    " generator writes for four blocks, energy by CENT's constants without controllers and buffers"
)
_PRINTED = "the authors' table; their own simulator gives 0.381334 ms, ours the same"
_MAPPING = (
    "our compiler's mapping, not CENT's: attention without single reads and writes of banks, softmax and norms on our"
    " vector unit instead of RISC-V cores; refresh on; published: block with link and near-memory units"
)
_PIPELINE = (
    f"{_MAPPING}; ours: tokens under way / (time of all blocks and the head), without links and without the 0.15 ms a"
    " token that the authors add"
)
_ENERGY = (
    "authors' accounting: standby of one channel, no refresh; theirs has controllers and buffers (0.86 of 9.88 mJ"
    " for four blocks), ours the leakage of a shared buffer of 4 MiB beside the channels of a block"
)
_FAITHFUL = "standby of all channels of a block, refresh and registers are charged, too; no controllers, no links"
_A100 = (
    "baseline from the literature: CENT's own measurement of an A100 at the largest batch, 960 tokens/s and 3.3"
    " tokens/J; published: the authors' tables for this model (their 2.3x and 2.9x are means over three)"
)


@dataclass(frozen=True)
class Published:
    """Figures of a mapping of eight devices, from the authors' tables of simulations and results.

    Attributes:
        channels: Channels of a block.
        block_ms: Time of a block, at a context of 128 and of 4,096 tokens.
        tokens_per_s: At a context of 4,096 tokens.
        token_mj: Energy of a token at that context.
        mean_tokens_per_s: Mean over `CONTEXTS`.
        mean_token_mj: Mean over `CONTEXTS`.
    """

    channels: int
    block_ms: tuple[float, float]
    tokens_per_s: float
    token_mj: float
    mean_tokens_per_s: float
    mean_token_mj: float


WHOLE_DEVICE = Published(32, (0.064623, 0.119669), 1979.35, 83.89, 2493.22, 76.45)
QUARTER_DEVICE = Published(8, (0.222435, 0.445593), 2184.79, 79.03, 2850.55, 71.42)


@dataclass(frozen=True)
class Step:
    """What a decode step of the whole model takes.

    Attributes:
        block_s: Time of a decoder block.
        token_s: Time of all blocks and the head, one after another.
        energy_j: Energy of them.
    """

    block_s: float
    token_s: float
    energy_j: float


def with_channels(machine: Machine, channels: int) -> Machine:
    """The part of a device that holds a block."""
    near_bank = machine.near_bank
    assert near_bank is not None
    return machine.model_copy(update={"near_bank": near_bank.model_copy(update={"channels": channels})})


def steps(machine: Machine, contexts: Sequence[int], accounting: Literal["paper", "faithful"] = "paper") -> list[Step]:
    """Decode steps at each context: a model of one layer and of two, whose difference is a block."""
    one, two = (_runs(machine, contexts, accounting, layers) for layers in (1, 2))
    found = []
    for (single_s, single_j), (double_s, double_j) in zip(one, two, strict=True):
        block_s, block_j = double_s - single_s, double_j - single_j
        found.append(Step(block_s, single_s + (LAYERS - 1) * block_s, single_j + (LAYERS - 1) * block_j))
    return found


def _runs(
    machine: Machine, contexts: Sequence[int], accounting: Literal["paper", "faithful"], layers: int
) -> list[tuple[float, float]]:
    """Seconds and joules of each decode step of a model."""
    simulator = Simulator(machine, accounting)
    simulator.load(compile_llama_7b(machine, CONTEXT, layers))
    runs = simulator.sweep("decode", [{"kv_length": length - 1, "masked": 0} for length in contexts])
    return [(run.cycles * machine.clock_ns * 1e-9, run.energy_j) for run in runs]


def replayed(machine: Machine, context: int) -> TraceStatistics:
    """CENT's trace of four blocks on the device, as the published simulator runs it."""
    return simulate_trace(_TRACES / f"llama2_7b_block_8ch_seq{context}.trace.gz", machine, True)


def tokens_per_s(step: Step, channels: int, machine: Machine) -> float:
    """Throughput of eight devices: as many tokens under way as parts of `channels` channels."""
    near_bank = machine.near_bank
    assert near_bank is not None
    return DEVICES * (near_bank.channels // channels) / step.token_s


@cache
def rows() -> list[Row]:
    """All rows."""
    machine = load_machine("gddr6-aim")
    return [*_traces(machine), *_mapping(machine, WHOLE_DEVICE), *_mapping(machine, QUARTER_DEVICE)]


def _traces(machine: Machine) -> Iterator[Row]:
    for context, cycles, energy_mj in ((1, 419563, 7.03918), (4096, 762668, 9.01926)):
        found = replayed(machine, context)
        ours_mj = 1e3 * sum(found.energy_by_unit_j[event] for event in _EVENTS)
        claim = f"CENT trace of a block on 8 channels, context {context:,}"
        yield Row(claim, cycles, found.cycles, "cycles", "E", 0, _OWN_RUN)
        yield Row(f"{claim}, four blocks", energy_mj, ours_mj, "mJ", "E", 5, _OWN_RUN)
        if context == CONTEXT:
            yield Row(claim, 0.381391, 1e-6 * found.cycles * found.clock_ns, "ms", "M", 6, _PRINTED)


def _mapping(device: Machine, published: Published) -> Iterator[Row]:
    part = with_channels(device, published.channels)
    ends = steps(part, (128, CONTEXT))
    claim = f"CENT Llama-2-7B, {published.channels} channels a block"
    for context, block_ms, found in zip((128, CONTEXT), published.block_ms, ends, strict=True):
        yield Row(f"{claim}, context {context:,}: block", block_ms, 1e3 * found.block_s, "ms", "A", 6, _MAPPING)
    at, last = f"{claim}, context {CONTEXT:,}", ends[-1]
    yield Row(f"{at}: 8 devices", *_speed(published.tokens_per_s, [last], part, device), "tokens/s", "A", 2, _PIPELINE)
    yield Row(f"{at}: energy", published.token_mj, 1e3 * last.energy_j, "mJ/token", "A", 2, _ENERGY)
    (honest,) = steps(part, (CONTEXT,), "faithful")
    yield Row(f"{at}: energy, faithful", published.token_mj, 1e3 * honest.energy_j, "mJ/token", "A", 2, _FAITHFUL)
    yield from _decode(device, part, published, claim)


def _decode(device: Machine, part: Machine, published: Published, claim: str) -> Iterator[Row]:
    found = steps(part, CONTEXTS)
    speed = _speed(published.mean_tokens_per_s, found, part, device)
    energy_mj = 1e3 * sum(step.energy_j for step in found) / len(found)
    what = f"{claim}, decode of 512 + 3,584"
    yield Row(f"{what}: 8 devices", *speed, "tokens/s", "A", 2, _PIPELINE)
    yield Row(f"{what}: energy", published.mean_token_mj, energy_mj, "mJ/token", "A", 2, _ENERGY)
    if published is QUARTER_DEVICE:
        yield Row(f"{what}: throughput against an A100", speed[0] / 960, speed[1] / 960, "", "A", 2, _A100)
        gain, ours = (1e3 / each / 3.3 for each in (published.mean_token_mj, energy_mj))
        yield Row(f"{what}: tokens/J against an A100", gain, ours, "", "A", 2, _A100)


def _speed(published: float, found: Sequence[Step], part: Machine, device: Machine) -> tuple[float, float]:
    """The published throughput and ours, the mean over steps."""
    near_bank = part.near_bank
    assert near_bank is not None
    ours = [tokens_per_s(step, near_bank.channels, device) for step in found]
    return published, sum(ours) / len(ours)
