"""Traces of the published AiM simulator: reads their text, runs them as that simulator does, or faithfully."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isa import InputError, MachineError, Place, UnsupportedError
from pimc.simulator.dram.layout import CLASSES, LOG_WIDTH, MEMBERS, OPEN_BANKS, OPEN_SINCE, WEIGHT, initial_state
from pimc.simulator.dram.tables import COMMAND_INDEX, COMMANDS, COUNTERS, OPEN_CYCLES, command_tables
from pimc.simulator.traces.aim.text import LineParser

if TYPE_CHECKING:
    from isa import Machine, NearBank

_END = COMMAND_INDEX["EOC"]
_MOST_ERRORS = 20  # of a trace that are told together


@dataclass(frozen=True, eq=False)
class AimTrace:
    """A trace, decoded.

    Attributes:
        lines: [lines, 5], dtype int64: command (-1: only a front-end cycle), requests a channel, channel mask (bit i is
            channel i), bank, row. The last line is EOC.
    """

    lines: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AimRun:
    """What a trace did.

    Attributes:
        cycles: Memory cycles until the end of EOC.
        command_counts: Commands summed over the channels, in the order of `dram_tables.COMMANDS`.
        row_open_cycles: Cycles, summed over the channels, in which a row was open.
        log: Number of runs of commands, then as many of them as were to be kept; empty without a log.
        in_order: Whether in-order channels ran it, so that conventional reads and writes went in order too.
    """

    cycles: int
    command_counts: Mapping[str, int]
    row_open_cycles: int
    log: NDArray[np.int64]
    in_order: bool


def parse_aim_trace(text: str | bytes, machine: Machine, file: str | None = None) -> AimTrace:
    """Read a trace.

    Args:
        text: The trace; what follows the line `AiM EOC` is not read.
        machine: The machine that bounds channels, banks and rows.
        file: Name for errors.

    Raises:
        InputError: lines are no instructions (up to 20 are named), or there is no EOC.
        MachineError: the machine has no near-bank units.
    """
    from pimc.simulator.traces.aim import text_kernels as kernels

    near_bank = _near_bank(machine)
    raw = text.encode() if isinstance(text, str) else text
    data = np.frombuffer(raw, dtype=np.uint8).copy()  # compiled functions take no read-only arrays
    lines = np.empty((raw.count(b"\n") + 1, 5), dtype=np.int64)
    position = np.zeros(kernels.POSITION, dtype=np.int64)
    position[kernels.NUMBER] = 1
    parser = LineParser(near_bank, file)
    facts = (kernels.spelling_table(), kernels.limit_table(near_bank), near_bank.channels)
    errors: list[InputError] = []
    while not kernels.read_lines(data, *facts, position, lines):
        if position[kernels.OFFSET] >= data.size:
            errors.append(InputError("the trace does not end with 'AiM EOC'", Place(file)))
            break
        if _read_closely(raw, parser, position, lines, errors):
            break
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]
    return AimTrace(lines[: position[kernels.DECODED]])


def _read_closely(
    raw: bytes, parser: LineParser, position: NDArray[np.int64], lines: NDArray[np.int64], errors: list[InputError]
) -> bool:
    """Decode the line that the compiled reader stopped at, or note what is wrong; whether reading ends there."""
    from pimc.simulator.traces.aim import text_kernels as kernels

    parser.activation_function = int(position[kernels.FUNCTION])
    text, end = _line_at(raw, int(position[kernels.OFFSET]))
    decoded = None
    try:
        decoded = parser.line(int(position[kernels.NUMBER]), text)
    except InputError as problem:
        errors.append(problem)
    if decoded is not None:
        lines[position[kernels.DECODED]] = decoded
        position[kernels.DECODED] += 1
    position[[kernels.OFFSET, kernels.FUNCTION]] = end + 1, parser.activation_function
    position[kernels.NUMBER] += 1
    if len(errors) == _MOST_ERRORS:
        errors[-1].notes = (*errors[-1].notes, f"reading stopped after {_MOST_ERRORS} wrong lines")
        return True
    return decoded is not None and decoded[0] == _END


def _line_at(raw: bytes, offset: int) -> tuple[str, int]:
    """The line that begins at `offset`, and where it ends."""
    end = raw.find(b"\n", offset)
    end = len(raw) if end < 0 else end
    return raw[offset:end].decode(errors="replace"), end


def run_aim_trace(
    trace: AimTrace, machine: Machine, faithful: bool = False, shortcut: bool = True, log_runs: int = 0
) -> AimRun:
    """Run a trace.

    Args:
        trace: The trace.
        machine: A machine with near-bank units.
        faithful: Whether rows are refreshed as the machine says, all its rules hold, SYNC and EOC wait for everything
            before them, and the machine's controller is in charge; otherwise the trace runs as on the published
            simulator: its front end and controllers, its rules, no refresh.
        shortcut: Whether channels that act alike are simulated once, and regular runs in closed form; the cycles are
            the same.
        log_runs: Runs of commands to keep at most.

    Raises:
        UnsupportedError: the reference's controller would never finish this trace.
        MachineError: the machine has no near-bank units.
    """
    near_bank = _near_bank(machine)
    rules = near_bank.spacings if faithful else near_bank.resolve(near_bank.spacing_rules)
    refresh = faithful and near_bank.refresh.mode != "none"
    tables = command_tables(near_bank, rules, refresh, shortcut)
    state = initial_state(tables, near_bank.channels)
    state[0, [CLASSES, MEMBERS, WEIGHT]] = 1, near_bank.all_channels, near_bank.channels
    counters = np.zeros((2, COUNTERS + (1 + LOG_WIDTH * log_runs if log_runs else 0)), dtype=np.int64)
    in_order = faithful and machine.controller == "in_order"
    cycles = _run(trace.lines, state, tables.values, counters, in_order, faithful, shortcut)
    if cycles < 0:
        raise UnsupportedError("the reference simulator never finishes this trace")
    open_cycles = int(counters[0, OPEN_CYCLES]) + _still_open(state, cycles if in_order else cycles + 1)
    counts = {name: int(counters[0, i]) for i, name in enumerate(COMMANDS)}
    return AimRun(cycles, counts, open_cycles, counters[1 if in_order else 0, COUNTERS:], in_order)


def load_kernels(in_order: bool) -> None:
    """Load the compiled functions that traces need, compiled now if they never were: apart from what is then timed."""
    from pimc.simulator.traces.aim import text_kernels  # noqa: F401

    if in_order:
        from pimc.simulator.traces.aim import in_order_kernels  # noqa: F401
    else:
        from pimc.simulator.traces.aim import kernels  # noqa: F401


def _run(
    lines: NDArray[np.int64],
    state: NDArray[np.int64],
    tables: NDArray[np.int64],
    counters: NDArray[np.int64],
    in_order: bool,
    drains: bool,
    shortcut: bool,
) -> int:
    if in_order:
        from pimc.simulator.traces.aim.in_order_kernels import run_in_order

        return int(run_in_order(lines, state, tables, counters))
    from pimc.simulator.traces.aim.kernels import run_trace

    return int(run_trace(lines, state, tables, counters[0], drains, shortcut))


def _still_open(state: NDArray[np.int64], cycle: int) -> int:
    """Cycles before `cycle`, summed over the channels, for which the rows that are still open have been so."""
    rows = state[: int(state[0, CLASSES])]
    rows = rows[rows[:, OPEN_BANKS] > 0]
    return int(((cycle - rows[:, OPEN_SINCE]) * rows[:, WEIGHT]).sum())


def _near_bank(machine: Machine) -> NearBank:
    if machine.near_bank is None:
        raise MachineError(f"the machine '{machine.name}' has no near-bank units (extension B)")
    return machine.near_bank
