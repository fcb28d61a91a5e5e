"""Traces of the published AttAcc simulator: reads their text, runs them with that simulator's controller.

A line is a request and an address, decimal or hexadecimal after 0x: `LD`, `ST` or `PIM_...`. From its low bits an
address names the byte of a column, column, row, bank, and so on up to the channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isa import InputError, MachineError, Place, UnsupportedError
from pimc.simulator.dram.layout import NEVER, initial_state

if TYPE_CHECKING:
    from isa import AttaccController, DramDevice, Machine

_OPCODES: Mapping[str, str] = {
    "LD": "RD",
    "ST": "WR",
    "PIM_MAC_AB": "MACAB",
    "PIM_MAC_SB": "MACSB",
    "PIM_MAC_PB": "MACPB",
    "PIM_WR_GB": "WRGB",
    "PIM_MV_SB": "MVSB",
    "PIM_MV_GB": "MVGB",
    "PIM_SFM": "SFM",
    "PIM_SET_MODEL": "SETM",
    "PIM_SET_HEAD": "SETH",
    "PIM_BARRIER": "BARRIER",
}


@dataclass(frozen=True)
class LoggedCommand:
    """A command that a channel issued.

    Attributes:
        cycle: Cycle of its issue.
        name: The command.
        bank: Number of the addressed bank in the channel; of the pseudo channel's first bank for a refresh.
        row: Row that its request addresses; -1 for a refresh.
        column: Column that its request addresses; -1 for a refresh.
    """

    cycle: int
    name: str
    bank: int
    row: int
    column: int


@dataclass(frozen=True, eq=False)
class AttaccRun:
    """What a trace did.

    Attributes:
        cycles: Memory cycles until nothing waits any more.
        command_counts: Commands summed over the channels, without barriers.
        log: [commands, 6]: cycle, channel, command, bank, row, column, as numbers.
        command_names: Names of the commands in the log.
    """

    cycles: int
    command_counts: Mapping[str, int]
    log: NDArray[np.int64]
    command_names: tuple[str, ...]

    def channel_log(self, channel: int) -> list[LoggedCommand]:
        """The commands of one channel in the order of their issue."""
        rows: list[list[int]] = self.log[self.log[:, 1] == channel].tolist()
        return [LoggedCommand(row[0], self.command_names[row[2]], *row[3:]) for row in rows]


def _device(machine: Machine) -> tuple[DramDevice, AttaccController]:
    device = machine.dram
    if device is None or device.controller.kind != "attacc_reference":
        raise MachineError(f"the machine '{machine.name}' has no DRAM with the controller 'attacc_reference'")
    return device, device.controller


def _address(token: str, place: Place) -> int:
    try:
        value = int(token[2:], 16) if token[:2] in ("0x", "0X") else int(token)
    except ValueError:
        value = -1
    if not 0 <= value < 1 << 62:
        raise InputError(f"'{token}' is not a decimal or 0x address", place)
    return value


def parse_attacc_trace(text: str, machine: Machine, file: str | None = None) -> NDArray[np.int64]:
    """Read a trace.

    Args:
        text: The trace.
        machine: The machine that the addresses belong to.
        file: Name for errors.

    Returns:
        [requests, 7], dtype int64: command, channel, bank, row, column, address, 0.

    Raises:
        InputError: a line is not a request of this machine, or there is none.
        MachineError: the machine has no such DRAM.
    """
    device, _ = _device(machine)
    numbers = {name: number for number, name in enumerate(device.commands)}
    commands: list[int] = []
    addresses: list[int] = []
    for line, content in enumerate(text.splitlines(), start=1):
        tokens = content.split()
        place = Place(file, line, text=content.rstrip())
        if len(tokens) != 2:
            raise InputError("a trace line is a request and an address", place)
        command = _OPCODES.get(tokens[0])
        if command not in numbers:
            known = [opcode for opcode, name in _OPCODES.items() if name in numbers]
            raise InputError(f"unknown request '{tokens[0]}'", place, notes=[f"requests: {', '.join(known)}"])
        commands.append(numbers[command])
        addresses.append(_address(tokens[1], place))
    if not commands:
        raise InputError("the trace holds no request", Place(file))
    return _requests(device, np.array(commands, dtype=np.int64), np.array(addresses, dtype=np.int64))


def _requests(device: DramDevice, commands: NDArray[np.int64], addresses: NDArray[np.int64]) -> NDArray[np.int64]:
    rest, column = np.divmod(addresses // device.column_bytes, device.columns_per_row)
    rest, row = np.divmod(rest, device.rows)
    rest, bank = np.divmod(rest, device.banks)
    columns = (commands, rest % device.channels, bank, row, column, addresses, np.zeros_like(commands))
    return np.ascontiguousarray(np.stack(columns, axis=1))


def _parameters(device: DramDevice, controller: AttaccController) -> NDArray[np.int64]:
    names = list(device.commands)
    interval = device.timing["nREFI"] if controller.refresh else NEVER
    known = [names.index(name) for name in ("RD", "WR", "REFab", "BARRIER")]
    limits = [controller.queue_depth, controller.write_high, controller.write_low, interval]
    return np.array([*limits, *known], dtype=np.int64)


def run_attacc_requests(
    requests: NDArray[np.int64], machine: Machine, *, power_limit: bool = True, compat: bool = True
) -> AttaccRun:
    """Run the requests of `parse_attacc_trace`; see `run_attacc_trace`."""
    from pimc.simulator.dram.device_timing import device_tables
    from pimc.simulator.traces.attacc.kernels import LOGGED, LOOP, run_requests

    device, controller = _device(machine)
    device = device if power_limit else device.without_power_limit()
    tables = device_tables(device, published_rules_only=compat)
    counters = np.zeros(len(tables.names) + 1, dtype=np.int64)
    loop = np.zeros(LOOP, dtype=np.int64)
    parameters = _parameters(device, controller)
    log = run_requests(
        requests.copy(), initial_state(tables, device.channels), tables.values, parameters, counters, loop
    )
    cycles = int(loop[0])
    if cycles >= NEVER:
        raise UnsupportedError("the reference simulator never finishes this trace")
    counts = {name: int(counters[number]) for number, name in enumerate(tables.names) if name != "BARRIER"}
    return AttaccRun(cycles, counts, log[: int(loop[LOGGED])], tables.names)


def run_attacc_trace(
    trace: str | Path, machine: Machine, *, power_limit: bool = True, compat: bool = True
) -> AttaccRun:
    """Run a trace as the published AttAcc simulator does.

    Args:
        trace: The file, or the text of the trace.
        machine: A machine whose DRAM has the controller `attacc_reference`.
        power_limit: Whether the machine's power limit stretches the distance of MACs.
        compat: Whether only the published spacing rules hold; otherwise those that they lack hold as well.

    Raises:
        InputError: the file cannot be read, or a line is not a request.
        UnsupportedError: the reference would never finish this trace.
        MachineError: the machine has no such DRAM.
    """
    text, file = trace, None
    if isinstance(trace, Path):
        file = str(trace)
        try:
            text = trace.read_text()
        except (OSError, UnicodeDecodeError) as problem:
            raise InputError(f"the trace cannot be read: {problem}", Place(file)) from problem
    requests = parse_attacc_trace(str(text), machine, file)
    return run_attacc_requests(requests, machine, power_limit=power_limit, compat=compat)
