"""Timing of the near-bank unit: instructions of the channels in cycles, on in-order channels that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isa import INSTRUCTIONS, MachineError, ResourceLimitError, beat_ranges, beats_per_column
from pimc.simulator.dram.channel_kernels import ACTIVATE, OPEN, SEQUENCE, STORE_LANE, advance, execute
from pimc.simulator.dram.layout import CLASSES, LOG_WIDTH, MEMBERS, OPEN_BANKS, OPEN_SINCE, WEIGHT, initial_state
from pimc.simulator.dram.row_kernels import MEMORY
from pimc.simulator.dram.tables import COMMAND_COUNT, COMMAND_INDEX, COMMANDS, COUNTERS, OPEN_CYCLES, command_tables

if TYPE_CHECKING:
    from isa import Machine

_ZERO, _READS, _ONE = -3, -2, -1  # positions of the constants that follow the operands
_Fields = tuple[str | int, ...]
_RECIPES: dict[str, tuple[int, str, _Fields]] = {  # kind, command, sources of bank, address, columns, outputs, stride
    "wrgb": (SEQUENCE, "WRGB", (_ZERO, _ZERO, "cols", _ONE, _ZERO)),
    "wracc": (SEQUENCE, "WRMAC16", (_ZERO, _ZERO, "count", _ONE, _ZERO)),
    "mac": (SEQUENCE, "MAC16", (_ZERO, "addr", "cols", "outs", "bstride")),
    "rdacc": (SEQUENCE, "RDMAC16", (_ZERO, _ZERO, "count", _READS, _ZERO)),
    "open": (OPEN, "ACT16", (_ZERO, "addr", _ONE, _ONE, _ZERO)),
    "ldb": (SEQUENCE, "RD", ("bank", "addr", "cols", _ONE, _ZERO)),
    "stb": (SEQUENCE, "WR", ("bank", "addr", "cols", _ONE, _ZERO)),
    "stlane": (STORE_LANE, "WR", (_ZERO, "addr", "count", _ONE, "cstride")),
    "wrab": (SEQUENCE, "WRA16", (_ZERO, "addr", "cols", _ONE, _ZERO)),
    "ewmul": (SEQUENCE, "EWMUL16", (_ZERO, "addr", "cols", _ONE, _ZERO)),
    "af": (ACTIVATE, "AF16", (_ZERO, "fn", _ONE, _ONE, _ZERO)),
    "rdaf": (SEQUENCE, "RDAF16", (_ZERO, _ZERO, _ONE, _ONE, _ZERO)),
    "cpbg": (SEQUENCE, "RDCP", ("bank", "addr", "cols", _ONE, _ZERO)),
    "cpgb": (SEQUENCE, "WRCP", ("bank", "addr", "cols", _ONE, _ZERO)),
    "kstore": (STORE_LANE, "WR", (_ZERO, "addr", "count", _ONE, "bstride")),
    "kmac": (SEQUENCE, "MAC16", (_ZERO, "addr", "beats", "outs", "bstride")),
}
_PACKED = ("kstore", "kmac")
"""Instructions whose counts and strides are beats of packed codes, and whose address has a `beat` besides."""


def _positions(mnemonic: str) -> tuple[int, ...]:
    """Kind, command, and where the operand list followed by the constants holds mask, bank, address and so on."""
    kind, command, fields = _RECIPES[mnemonic]
    return (kind, COMMAND_INDEX[command], *_operand_places(mnemonic, ("ch", *fields)))


def _operand_places(mnemonic: str, fields: _Fields) -> tuple[int, ...]:
    names = [operand.name for operand in INSTRUCTIONS[mnemonic].operands]
    return tuple(names.index(field) if isinstance(field, str) else field for field in fields)


def recipe(mnemonic: str) -> tuple[int, int, tuple[str, ...]]:
    """What the channel kernels are given for an instruction.

    Returns:
        Kind, command, then where mask, bank, address, columns, outputs and stride come from: an operand, or the
        constant `zero`, `one` or `reads` (commands that read one accumulator).
    """
    kind, command, fields = _RECIPES[mnemonic]
    names = {_ZERO: "zero", _READS: "reads", _ONE: "one"}
    sources = [field if isinstance(field, str) else names[field] for field in fields]
    return kind, COMMAND_INDEX[command], ("ch", *sources)


def beat_work(machine: Machine, operands: Sequence[int]) -> tuple[list[tuple[int, int]], int]:
    """What a `kmac` reads.

    Args:
        machine: The machine.
        operands: Resolved values in row order.

    Returns:
        First column behind `addr` and number of columns of each output; and the MAC16 commands, over all channels, that
        take a further beat of a column already read.
    """
    mask, _, beat, _, beats, outputs, _, stride, _, _, bits = operands
    ranges = beat_ranges(beats_per_column(machine, bits), beat, beats, outputs, stride)
    further = beats * outputs - sum(count for _, count in ranges)
    return ranges, further * mask.bit_count()


class ChannelTiming:
    """Cycles and commands of near-bank instructions on the channels of a machine.

    Every channel executes its instructions in the order of `issue`, issues each command at the first cycle that the
    spacing rules allow, and switches its mode where the command would have issued. Instructions for different channels
    overlap. A due refresh (REFab every nREFI) waits for a row border; see `channel_kernels`.

    Attributes:
        command_names: Names of the counted commands.
    """

    command_names = COMMANDS

    def __init__(self, machine: Machine, refresh: bool | None = None, *, shortcut: bool = True) -> None:
        """Start at cycle 0 with every bank closed.

        Args:
            machine: A machine with near-bank units.
            refresh: Whether rows are refreshed; `None` does as the machine says.
            shortcut: Whether runs of a command are computed in closed form instead of one by one, with equal cycles.

        Raises:
            MachineError: the machine has no near-bank units.
        """
        near_bank = machine.near_bank
        if near_bank is None:
            raise MachineError(f"the machine '{machine.name}' has no near-bank units (extension B)")
        enabled = near_bank.refresh.mode != "none" if refresh is None else refresh
        tables = command_tables(near_bank, near_bank.spacings, enabled, shortcut)
        self._tables = tables.values
        self._state = initial_state(tables, near_bank.channels)
        self._state[0, [CLASSES, MEMBERS, WEIGHT]] = 1, near_bank.all_channels, near_bank.channels
        self._counters = np.zeros((2, COUNTERS), dtype=np.int64)
        self._memory = np.zeros(MEMORY, dtype=np.int64)
        self._constants = (0, near_bank.acc_read_bits // 16, 1)
        self._positions = {mnemonic: _positions(mnemonic) for mnemonic in _RECIPES}
        self._packed = {mnemonic: _operand_places(mnemonic, ("beat", "bits")) for mnemonic in _PACKED}
        self._element_bits = near_bank.element_bits
        self._finish = 0

    def issue(self, mnemonic: str, operands: Sequence[int], ready: int) -> tuple[int, int]:
        """Execute an instruction.

        Args:
            mnemonic: A row of extension B, or `kstore`, `kmac`.
            operands: Resolved values in row order: choices as their code, masks as integers.
            ready: Earliest cycle of its first command.

        Returns:
            Cycle of its first command in any channel, and the cycle at which its last data have arrived in every
            channel: in the shared buffer (`rdacc`, `rdaf`, `ldb`), or at the bank, buffer or accumulator. `ready` twice
            when it needs no command.
        """
        kind, command, mask, bank, address, columns, outputs, stride = self._positions[mnemonic]
        values = (*operands, *self._constants)
        first, beats = values[address], 1
        if mnemonic in self._packed:
            beat, bits = self._packed[mnemonic]
            beats = self._element_bits // values[bits]
            first = first * beats + values[beat]
        start, finish = execute(
            self._state,
            self._tables,
            self._counters,
            self._memory,
            kind,
            command,
            values[mask],
            values[bank],
            first,
            values[columns],
            values[outputs],
            values[stride],
            beats,
            ready,
        )
        if finish > self._finish:
            self._finish = finish
        return start, finish

    def begin_log(self, most_runs: int) -> None:
        """Log commands from now on, at most `most_runs` runs of them; cycles stay what they are."""
        counters = np.zeros((2, COUNTERS + 1 + LOG_WIDTH * most_runs), dtype=np.int64)
        counters[:, :COUNTERS] = self._counters[:, :COUNTERS]
        self._counters = counters

    @property
    def logged_runs(self) -> int:
        """Runs of commands since `begin_log`."""
        return int(self._counters[1, COUNTERS])

    def end_log(self) -> NDArray[np.int64]:
        """The runs [n, LOG_WIDTH] since `begin_log`, see `dram_layout.LOG_WIDTH`; from now on none are logged.

        Raises:
            ResourceLimitError: there were more than were to be kept.
        """
        log = self._counters[1, COUNTERS:]
        self._counters = self._counters[:, :COUNTERS].copy()
        room, count = log[1:].size // LOG_WIDTH, int(log[0])
        if count > room:
            raise ResourceLimitError(
                "the command log is too long",
                notes=[f"demand: {count:,} runs of commands", f"bound: {room:,}"],
                help="log a shorter run",
            )
        return log[1 : 1 + LOG_WIDTH * count].reshape(-1, LOG_WIDTH).copy()

    @property
    def kernel_arrays(self) -> tuple[NDArray[np.int64], ...]:
        """State, tables, counters and memory of rows, for kernels that call `channel_kernels.execute` themselves."""
        return self._state, self._tables, self._counters, self._memory

    def finish_at(self, cycle: int) -> None:
        """Note that such a kernel's last data arrive at `cycle`."""
        self._finish = max(self._finish, cycle)

    def advance(self, cycle: int) -> None:
        """Refresh idle channels up to `cycle`, the end of a run; the commands count as the latest issue."""
        advance(self._state, self._tables, self._counters, cycle)

    @property
    def command_counts(self) -> NDArray[np.int64]:
        """Commands so far, summed over the channels, in the order of `command_names`."""
        return self._counters[0, :COMMAND_COUNT]

    @property
    def last_counts(self) -> NDArray[np.int64]:
        """What the latest `issue` or `advance` added to `command_counts`; the next one overwrites it."""
        return self._counters[1, :COMMAND_COUNT]

    @property
    def finish_cycle(self) -> int:
        """Cycle at which the data of every instruction so far have arrived."""
        return self._finish

    def row_open_cycles(self, cycle: int) -> int:
        """Cycles before `cycle`, summed over the channels, in which a channel had an open row (active standby)."""
        rows = self._state[: int(self._state[0, CLASSES])]
        rows = rows[rows[:, OPEN_BANKS] > 0]
        return int(self._counters[0, OPEN_CYCLES] + ((cycle - rows[:, OPEN_SINCE]) * rows[:, WEIGHT]).sum())


class NoChannels(ChannelTiming):
    """The channels of a machine that has none: they never issue anything."""

    def __init__(self) -> None:
        """Nothing happens here at any cycle."""
        self._counters = np.zeros((2, COUNTERS), dtype=np.int64)
        self._finish = 0

    def issue(self, mnemonic: str, operands: Sequence[int], ready: int) -> tuple[int, int]:
        """Never called: programs of such machines have no instructions for channels."""
        raise AssertionError(f"no channels execute {mnemonic}")

    def advance(self, cycle: int) -> None:
        """Nothing to refresh."""

    def row_open_cycles(self, cycle: int) -> int:
        """0."""
        return 0


def channels_of_machine(machine: Machine) -> ChannelTiming:
    """The channels of a machine at cycle 0, which may be none."""
    return NoChannels() if machine.near_bank is None else ChannelTiming(machine)
