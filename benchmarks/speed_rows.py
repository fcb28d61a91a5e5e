"""What the simulator's speed is measured on; each function is to run in a process of its own."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from isa import load_machine
from pimc.report.perfetto import write_perfetto
from pimc.simulator import Simulator, curves, simulate_trace, timeline, write_recorded_log
from pimc.simulator.dram.channel_timing import ChannelTiming
from pimc.simulator.recording.command_log import issued_commands

BLOCK = Path(__file__).parents[1] / "tests" / "golden" / "cent" / "llama2_7b_block_8ch_seq4096.trace.gz"
_REPEAT = 5
_SWEEP = 4096
_RUNS = 4096


@dataclass(frozen=True)
class Figure:
    """A measured figure.

    Attributes:
        what: What it is of.
        value: The figure.
        unit: Its unit.
        bar: What it is held to: at most this, or for rates at least; `None` for a figure without a bar.
        is_rate: Whether larger is better.
    """

    what: str
    value: float
    unit: str
    bar: float | None = None
    is_rate: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the figure keeps to its bar."""
        return self.bar is None or (self.value >= self.bar if self.is_rate else self.value <= self.bar)


def peak_memory(what: str = "peak memory of the process", bar: float | None = 300) -> Figure:
    """Peak memory of this process so far."""
    return Figure(what, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB", bar)


def compile_kernels() -> Iterator[Figure]:
    """Compile what the measurements run, so that none of them pays for it; measures nothing."""
    from benchmarks.llama_7b import compile_llama_7b

    machine = load_machine("gddr6-aim")
    for compat in (True, False):
        simulate_trace(BLOCK, machine, compat)
    simulator = Simulator(machine)
    simulator.load(compile_llama_7b(machine, 64, layers=1))
    list(simulator.sweep("decode", [{"kv_length": 0, "masked": 0}]))
    yield from ()


def first_trace() -> Iterator[Figure]:
    """The trace where no compiled kernels are kept yet, once after an installation; the bars are of warm processes."""
    machine = load_machine("gddr6-aim")
    started = time.process_time()
    for compat in (True, False):
        simulate_trace(BLOCK, machine, compat)
    yield Figure("first runs, which compile their kernels", time.process_time() - started, "s CPU")
    yield peak_memory("peak memory of the process that compiles", None)


def foreign_trace() -> Iterator[Figure]:
    """The Llama-2-7B block of 236,101 lines: parsed, then run as published and on refreshed in-order channels."""
    machine = load_machine("gddr6-aim")
    for compat in (True, False):
        runs = [simulate_trace(BLOCK, machine, compat) for _ in range(1 + _REPEAT)][1:]
        lines, commands = runs[0].instructions, sum(runs[0].commands.values())
        parse_s, engine_s = min(run.parse_s for run in runs), min(run.engine_s for run in runs)
        how = "--compat" if compat else "refresh on"
        if compat:
            yield Figure(f"reading {lines:,} lines", parse_s, "s CPU", 0.4)
        yield Figure(f"running them, {how}", engine_s, "s CPU", 0.1)
        yield Figure(f"lines, {how}", lines / engine_s / 1e6, "M/s", None, True)
        yield Figure(f"commands of all channels, {how}", commands / engine_s / 1e6, "M/s", None, True)
    yield peak_memory()


def regular_stream() -> Iterator[Figure]:
    """The engine alone: MAC rows one after the other on refreshed channels that act alike."""
    machine = load_machine("gddr6-aim")
    near_bank = machine.near_bank
    assert near_bank is not None
    for rows, shortcut in ((255, True), (32, True), (32, False)):
        timing = ChannelTiming(machine, shortcut=shortcut)
        operands = [near_bank.all_channels, 0, 0, near_bank.columns_per_row, rows, 0, near_bank.columns_per_row, 0, 0]
        count = _RUNS if shortcut else _RUNS // 64
        timing.issue("mac", operands, 0)
        before, start, ready = int(timing.command_counts.sum()), time.process_time(), timing.finish_cycle
        for _ in range(count):
            _, ready = timing.issue("mac", operands, ready)
        seconds = time.process_time() - start
        commands = int(timing.command_counts.sum()) - before
        how = f"{rows} rows an instruction" + ("" if shortcut else ", each command alone (shortcuts off)")
        bar = 50 if shortcut else None
        yield Figure(f"commands of one channel, {how}", commands / near_bank.channels / seconds / 1e6, "M/s", bar, True)
        yield Figure(f"commands of all channels, {how}", commands / seconds / 1e6, "M/s", None, True)


def decode_sweep() -> Iterator[Figure]:
    """Llama-2-7B, all 32 layers, token by token over contexts of 1 to 4,096 tokens, refresh on."""
    from benchmarks.llama_7b import compile_llama_7b

    machine = load_machine("gddr6-aim")
    simulator = Simulator(machine)
    simulator.load(compile_llama_7b(machine, _SWEEP))
    registers = [{"kv_length": length, "masked": 0} for length in range(_SWEEP)]
    next(simulator.sweep("decode", registers[:1]))
    simulator.reset()
    start, wall = time.process_time(), time.perf_counter()
    runs = list(simulator.sweep("decode", registers))
    seconds, passed = time.process_time() - start, time.perf_counter() - wall
    yield Figure(f"sweep of {len(runs):,} decode steps", seconds, "s CPU", 30)
    yield Figure("the same, with what else the machine did", passed, "s")
    yield Figure("instructions", sum(run.instructions for run in runs) / seconds / 1e6, "M/s", None, True)
    yield Figure("simulated cycles", sum(run.cycles for run in runs) / seconds / 1e6, "M/s", None, True)
    yield Figure("mean cycles of a step", sum(run.cycles for run in runs) / len(runs), "")
    yield peak_memory()


def recorded_run() -> Iterator[Figure]:
    """Command log and Perfetto trace of a decode step of four Llama-2-7B layers."""
    from benchmarks.llama_7b import compile_llama_7b

    machine = load_machine("gddr6-aim")
    program = compile_llama_7b(machine, 1024, layers=4)
    simulator = Simulator(machine)
    simulator.load(program)
    simulator.record()
    simulator.run("decode", {"kv_length": 100, "masked": 0}, timing_only=True)
    recording = simulator.recording()
    out = BytesIO()
    started = time.process_time()
    write_recorded_log(out, recording, program, machine)
    seconds, commands = time.process_time() - started, issued_commands(recording.runs)
    yield Figure(f"command log, a million of {commands:,} commands", seconds / commands * 1e6, "s CPU", 2)
    started = time.process_time()
    lines = timeline(recording, program, machine)
    write_perfetto(BytesIO(), lines, curves(recording, program, machine, "faithful"), machine)
    seconds, slices = time.process_time() - started, lines.slices.begin.size
    yield Figure(f"Perfetto trace, a million of {slices:,} slices", seconds / slices * 1e6, "s CPU", 2)


SECTIONS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "compile": compile_kernels,
    "first": first_trace,
    "trace": foreign_trace,
    "stream": regular_stream,
    "sweep": decode_sweep,
    "record": recorded_run,
}
"""The measurements by name."""
