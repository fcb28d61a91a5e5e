"""Kernels of the published HBM-PIM simulator: cycles, commands, the log of a channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa import MachineError
from pimc.simulator.dram.layout import NEVER, initial_state
from pimc.simulator.traces.hbm_pim.streams import (
    PROGRAM_COLUMN,
    QUIET_BIT,
    REGISTER_COLUMN,
    Kernel,
    Transaction,
    host_columns,
    host_transactions,
    kernel_stream,
)
from pimc.simulator.traces.hbm_pim.unit_programs import Program, ProgramCounter

if TYPE_CHECKING:
    from isa import DramDevice, HbmPimController, Machine

_Log = NDArray[np.int64]


class Event(NamedTuple):
    """A line of a channel's log.

    Attributes:
        cycle: Cycle in which the command reaches the memory, one after its issue.
        name: READ, WRITE, ACTIVATE, PRECHARGE or REF; BWRITE_CRF, BWRITE_GRF_A, GRF_B_ZEROIZE, HAB_PIM or HAB_END
            for a write to the units' registers; HAB when all-bank mode begins.
        bank: Bank.
        row: Row.
        column: Column; 0 for commands without one.
        instruction: Instruction of the units' program that the access executed.
    """

    cycle: int
    name: str
    bank: int
    row: int
    column: int
    instruction: str = ""


@dataclass(frozen=True, eq=False)
class HbmPimRun:
    """What a kernel did.

    Attributes:
        cycles: Cycles until its last transaction ended.
        command_counts: DRAM commands, summed over the channels.
        event_counts: Lines of the logs, summed over the channels, as the published simulator prints them: a line for
            each jump as well, register writes under their own names.
        log: Log of channel 0.
    """

    cycles: int
    command_counts: Mapping[str, int]
    event_counts: Mapping[str, int]
    log: Sequence[Event]


def _device(machine: Machine) -> tuple[DramDevice, HbmPimController]:
    device = machine.dram
    if device is None or device.controller.kind != "hbm_pim_reference":
        raise MachineError(f"the machine '{machine.name}' has no DRAM with the controller 'hbm_pim_reference'")
    return device, device.controller


def _parameters(device: DramDevice, controller: HbmPimController) -> NDArray[np.int64]:
    names = list(device.commands)
    interval = device.timing["nREFI"] if controller.refresh else NEVER
    values = [controller.transaction_queue_depth, controller.command_queue_depth, interval]
    values += [device.levels["rank"], device.span("rank"), controller.all_bank_banks]
    for switch in (controller.enter_all_bank, controller.leave_all_bank):
        values += [names.index(switch.command), switch.row, sum(1 << bank for bank in switch.banks)]
    return np.array([*values, *(names.index(name) for name in ("ACTIVATE", "PRECHARGE", "REF"))], dtype=np.int64)


class _Channel:
    """A channel that runs one batch of transactions after the other."""

    def __init__(self, machine: Machine, compat: bool) -> None:
        from pimc.simulator.dram.device_timing import device_tables
        from pimc.simulator.traces.hbm_pim.channel_kernels import LEDGER

        device, controller = _device(machine)
        self._tables = device_tables(device, published_rules_only=compat)
        self._state = initial_state(self._tables, 1)[0]
        self._counters = np.zeros(len(self._tables.names) + 1, dtype=np.int64)
        self._ledger = np.zeros(LEDGER, dtype=np.int64)
        self._parameters = _parameters(device, controller)

    def run(self, transactions: Sequence[Transaction]) -> _Log:
        """Run the transactions to their end; return the log."""
        from pimc.simulator.traces.hbm_pim.channel_kernels import run_transactions

        read, write = (self._tables.names.index(name) for name in ("READ", "WRITE"))
        rows = [(write if each.is_write else read, *each[1:5]) for each in transactions]
        table = np.array(rows, dtype=np.int64).reshape(-1, 5)
        log: _Log = run_transactions(
            table, self._state, self._tables.values, self._counters, self._ledger, self._parameters
        )
        return log

    @property
    def cycles(self) -> int:
        """Cycles so far."""
        return int(self._ledger[0])

    def events(
        self, log: _Log, transactions: Sequence[Transaction]
    ) -> Iterator[tuple[Event, Transaction | None, bool]]:
        """The commands that reached the memory so far, with their transactions, and whether all banks then obey."""
        rows: list[list[int]] = log.tolist()
        for issued, command, bank, row, number, all_banks in rows:
            if issued + 1 < self.cycles:
                transaction = transactions[number] if number >= 0 else None
                column = transaction.column if transaction is not None and row >= 0 else 0
                event = Event(issued + 1, self._tables.names[command], bank, row, column)
                yield event, transaction, bool(all_banks)


def _register_events(event: Event, transaction: Transaction) -> list[Event]:
    """The lines of a write to the units' registers."""
    if transaction.control:
        return [event._replace(name=name) for name in reversed(transaction.control.split("+"))]
    if PROGRAM_COLUMN <= event.column < REGISTER_COLUMN:
        return [event._replace(name="BWRITE_CRF")]
    return [event._replace(name="BWRITE_GRF_A" if event.column < 2 * REGISTER_COLUMN else "BWRITE_GRF_B")]


class _Interpreter:
    """Turns commands into the lines of the published log."""

    def __init__(self, program: Program, register_row: int | None) -> None:
        self._program = program
        self._register_row = register_row
        self._counter: ProgramCounter | None = None
        self._all_banks = False

    def lines(self, event: Event, transaction: Transaction | None, all_banks: bool) -> list[Event]:
        begins = all_banks and not self._all_banks
        self._all_banks = all_banks
        if event.name not in ("READ", "WRITE") or transaction is None or not all_banks:
            return [event, event._replace(name="HAB")] if begins else [event]
        if event.row == self._register_row:
            if transaction.control:
                self._counter = ProgramCounter(self._program) if "HAB_PIM" in transaction.control else None
            return _register_events(event, transaction)
        if self._counter is None or event.row & QUIET_BIT:
            return [event]
        return [event._replace(instruction=text) for text in self._counter.access()] or [event]


def run_hbm_pim_kernel(name: Kernel, sizes: Sequence[int], machine: Machine, *, compat: bool = True) -> HbmPimRun:
    """Run a kernel on the units as the published HBM-PIM simulator does; all channels do the same.

    Args:
        name: `gemv`, `add`, `mul` or `relu`.
        sizes: Outputs and inputs of `gemv`, elements of the others.
        machine: A machine whose DRAM has the controller `hbm_pim_reference`.
        compat: Whether only the published spacing rules hold; otherwise those that they lack hold as well.

    Raises:
        InputError: wrong sizes.
        MachineError: the machine has no such DRAM.
    """
    device, controller = _device(machine)
    stream = kernel_stream(name, sizes, device, controller)
    channel = _Channel(machine, compat)
    log = channel.run(stream.transactions)
    interpreter = _Interpreter(stream.program, device.units.register_row)
    commands: Counter[str] = Counter()
    lines: list[Event] = []
    for event, transaction, all_banks in channel.events(log, stream.transactions):
        commands[event.name] += device.channels
        lines += interpreter.lines(event, transaction, all_banks)
    events = {name: count * device.channels for name, count in Counter(line.name for line in lines).items()}
    return HbmPimRun(channel.cycles, dict(commands), events, lines)


def run_hbm_pim_host(name: Kernel, sizes: Sequence[int], machine: Machine, *, compat: bool = True) -> HbmPimRun:
    """Let a host without units read a kernel's operands, then write its results; see `run_hbm_pim_kernel`."""
    device, _ = _device(machine)
    reads, writes = host_columns(name, sizes, device)
    counts: Counter[str] = Counter()
    cycles = 0
    first: list[Event] = []
    phases = ((False, 0, reads), (True, reads, reads + writes))
    for channel, weight in _alike_channels(reads, reads + writes, device.channels):
        memory = _Channel(machine, compat)
        batches = [host_transactions(*phase, channel, device) for phase in phases]
        logs = [memory.run(batch) for batch in batches]
        events = [event for log, batch in zip(logs, batches, strict=True) for event, *_ in memory.events(log, batch)]
        for event in events:
            counts[event.name] += weight
        cycles = max(cycles, memory.cycles)
        first = first or events
    return HbmPimRun(cycles, dict(counts), dict(counts), first)


def _alike_channels(reads: int, total: int, channels: int) -> Iterator[tuple[int, int]]:
    """A channel of each kind that has the same accesses, and how many of them there are."""
    borders = sorted({0, reads % channels, total % channels, channels})
    yield from ((low, high - low) for low, high in pairwise(borders))
