"""Trace files: read, run, charged, logged."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from isa import InputError, MachineError, Place, ResourceLimitError
from pimc.simulator.accounting.energy import Accounting, EnergyModel
from pimc.simulator.dram.tables import COMMANDS
from pimc.simulator.traces.aim.frontend import AimRun, AimTrace, load_kernels, parse_aim_trace, run_aim_trace

if TYPE_CHECKING:
    from isa import Machine
    from pimc.simulator.recording.power import Curves
    from pimc.simulator.recording.timeline import Timeline

_GZIP_MAGIC = b"\x1f\x8b"
_MOST_BYTES = 1 << 31
_STANDBY = ("dram_standby_active", "dram_standby_precharged")


@dataclass(frozen=True)
class TraceStatistics:
    """What a trace cost.

    Attributes:
        cycles: Its length.
        clock_ns: Length of a cycle.
        commands: Issued commands by name, summed over the channels.
        energy_by_unit_j: Energy of the commands, and of standby where it is charged.
        standby_j: Energy of standby, charged or not.
        instructions: Lines that are instructions.
        accounting: What is charged.
        controller: `in_order` or `aim_reference`.
        parse_s: CPU time of reading the text, without the compilation of functions when they are first used.
        engine_s: CPU time of the simulation, likewise.
    """

    cycles: int
    clock_ns: float
    commands: Mapping[str, int]
    energy_by_unit_j: Mapping[str, float]
    standby_j: float
    instructions: int
    accounting: str
    controller: str
    parse_s: float
    engine_s: float

    @property
    def energy_j(self) -> float:
        """All that is charged."""
        return sum(self.energy_by_unit_j.values())

    def to_json(self) -> dict[str, Any]:
        """JSON values with units in the keys; equal for equal traces, so without CPU times."""
        return {
            "cycles": self.cycles,
            "commands": dict(self.commands),
            "energy_j": self.energy_j,
            "energy_by_unit_j": dict(self.energy_by_unit_j),
            "standby_j": self.standby_j,
            "time_s": self.cycles * self.clock_ns * 1e-9,
            "instructions": self.instructions,
            "accounting": self.accounting,
            "controller": self.controller,
        }


def read_trace_bytes(path: str | Path) -> bytes:
    """The bytes of a trace file, unpacked when it is a gzip file.

    Raises:
        InputError: it cannot be read.
        ResourceLimitError: it is larger than 2 GiB.
    """
    try:
        with Path(path).open("rb") as file:
            packed = file.read(2) == _GZIP_MAGIC
        with gzip.open(path) if packed else Path(path).open("rb") as stream:
            data = bytes(stream.read(_MOST_BYTES + 1))
    except (OSError, EOFError, zlib.error) as problem:
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise InputError(f"cannot read the trace: {reason}", Place(str(path))) from None
    if len(data) > _MOST_BYTES:
        raise ResourceLimitError("the trace is larger than 2 GiB", Place(str(path)))
    return data


def simulate_trace(
    path: str | Path,
    machine: Machine,
    compat: bool = False,
    accounting: Accounting | None = None,
    log: BinaryIO | None = None,
) -> TraceStatistics:
    """Run a trace of the published AiM simulator.

    Args:
        path: The trace, plain or packed by gzip.
        machine: A machine with near-bank units.
        compat: Whether it runs as on the published simulator; see `run_aim_trace`.
        accounting: What is charged; default: `paper` with `compat`, else `faithful`. Of a compatibility run `paper`
            charges the commands alone, as published; standby is charged in all other cases.
        log: Gets the issued commands as comma-separated text.

    Raises:
        InputError: a line is not an instruction; names the line.
        UnsupportedError: the reference's controller would never finish this trace.
        MachineError: the machine has no near-bank units.
        ResourceLimitError: the log would be too large.
    """
    load_kernels(not compat and machine.controller == "in_order")
    started = time.process_time()
    trace = parse_aim_trace(read_trace_bytes(path), machine, str(path))
    parsed = time.process_time()
    run = run_aim_trace(trace, machine, faithful=not compat)
    ended = time.process_time()
    if log is not None:
        _write_log(log, trace, machine, not compat)
    return _charged(run, trace, machine, compat, accounting, (parsed - started, ended - parsed))


def _charged(
    run: AimRun,
    trace: AimTrace,
    machine: Machine,
    compat: bool,
    accounting: Accounting | None,
    seconds: tuple[float, float],
) -> TraceStatistics:
    chosen: Accounting = accounting or ("paper" if compat else "faithful")
    model = EnergyModel(machine, chosen)
    counts = np.array([run.command_counts[name] for name in COMMANDS])
    static = model.static_energy_j(run.cycles, run.row_open_cycles)
    standby = {unit: static[unit] for unit in _STANDBY}
    return TraceStatistics(
        cycles=run.cycles,
        clock_ns=machine.clock_ns,
        commands=run.command_counts,
        energy_by_unit_j={**model.dram_energy_j(counts).by_unit, **({} if compat and chosen == "paper" else standby)},
        standby_j=sum(standby.values()),
        instructions=len(trace.lines),
        accounting=chosen,
        controller="in_order" if run.in_order else "aim_reference",
        parse_s=seconds[0],
        engine_s=seconds[1],
    )


def trace_timeline(
    path: str | Path, machine: Machine, compat: bool = False, accounting: Accounting | None = None
) -> tuple[Timeline, Curves]:
    """What every channel and bank does in a trace, and the power that it takes; arguments and errors as above.

    The trace runs apart from `simulate_trace`, with its commands recorded: runs without a record are faster.
    """
    from pimc.simulator.recording.command_log import logged_runs
    from pimc.simulator.recording.power import channel_curves
    from pimc.simulator.recording.timeline import channel_timeline

    run = _logged_run(parse_aim_trace(read_trace_bytes(path), machine, str(path)), machine, not compat)
    runs = logged_runs(run.log)
    charged: Accounting = accounting or ("paper" if compat else "faithful")
    return channel_timeline(runs, machine), channel_curves(runs, run.cycles, machine, charged)


def _write_log(log: BinaryIO, trace: AimTrace, machine: Machine, faithful: bool) -> None:
    from pimc.simulator.recording.command_csv import write_csv
    from pimc.simulator.recording.command_log import expand, logged_runs
    from pimc.simulator.recording.near_bank_log import near_bank_log_format
    from pimc.simulator.traces.aim.work import trace_work

    near_bank = machine.near_bank
    if near_bank is None:
        raise MachineError(f"the machine '{machine.name}' has no near-bank units (extension B)")
    run = _logged_run(trace, machine, faithful)
    events = expand(logged_runs(run.log), trace_work(trace.lines), near_bank_log_format(near_bank, run.in_order))
    write_csv(log, events, near_bank.banks_per_group)


def _logged_run(trace: AimTrace, machine: Machine, faithful: bool) -> AimRun:
    from pimc.simulator.recording.command_log import LOG_RUNS

    run = run_aim_trace(trace, machine, faithful, log_runs=LOG_RUNS)
    if run.log[0] > LOG_RUNS:
        raise ResourceLimitError(
            "the record of commands is too long",
            notes=[f"demand: {run.log[0]:,} runs of commands", f"bound: {LOG_RUNS:,}"],
            help="cut the trace",
        )
    return run
