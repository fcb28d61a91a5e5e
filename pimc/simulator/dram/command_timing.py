"""Command timing of DRAM channels with compute units at their banks: earliest legal cycles, state, counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pimc.simulator.dram.command_kernels import earliest, issue
from pimc.simulator.dram.layout import (
    CLOCK,
    OPEN_BANKS,
    OPEN_ROWS,
    OPEN_SINCE,
    REGISTER_MODE,
    WEIGHT,
    CommandTables,
    initial_state,
)
from pimc.simulator.dram.tables import command_tables

if TYPE_CHECKING:
    from isa import NearBank


class CommandTiming:
    """The state of some channels under the spacing rules of a machine, one command at a time.

    It knows when a command may issue, not whether a controller would choose it. Commands of one channel must be issued
    in ascending cycles.
    """

    def __init__(self, near_bank: NearBank, channels: int = 1, published_rules_only: bool = False) -> None:
        rules = near_bank.resolve(near_bank.spacing_rules) if published_rules_only else near_bank.spacings
        self._start(command_tables(near_bank, rules, refresh=True), near_bank.banks_per_group, channels)

    def _start(self, tables: CommandTables, banks_per_group: int, channels: int) -> None:
        self._banks_per_group = banks_per_group
        self._tables = tables
        self._index = {name: index for index, name in enumerate(tables.names)}
        self._state = initial_state(tables, channels)
        self._counters = np.zeros(len(tables.names) + 1, dtype=np.int64)

    def earliest(self, channel: int, command: str, group: int = 0, bank: int = 0) -> int:
        """First cycle at which `command` is legal, one command a cycle; `bank` counts inside its bank group."""
        index = group * self._banks_per_group + bank
        state = self._state[channel]
        return max(int(state[CLOCK]), int(earliest(state, self._tables.values, self._index[command], index)))

    def issue(self, channel: int, command: str, cycle: int, group: int = 0, bank: int = 0, row: int = 0) -> None:
        """Issue `command` at `cycle`; raises `ValueError` when a spacing rule forbids it."""
        allowed = self.earliest(channel, command, group, bank)
        if cycle < allowed:
            raise ValueError(f"{command} at cycle {cycle} is illegal before cycle {allowed}")
        index = group * self._banks_per_group + bank
        state, tables = self._state[channel], self._tables.values
        issue(state, tables, self._counters, self._index[command], index, row, cycle, 1)

    def open_row(self, channel: int, group: int, bank: int) -> int | None:
        """The row that is open in a bank, or `None`."""
        row = int(self._state[channel, OPEN_ROWS + group * self._banks_per_group + bank])
        return row if row >= 0 else None

    def register_mode(self, channel: int) -> bool:
        """Whether the channel is in register mode."""
        return bool(self._state[channel, REGISTER_MODE])

    def row_open_cycles(self, cycle: int) -> int:
        """Cycles before `cycle`, summed over the channels, in which at least one row was open."""
        open_now = self._state[self._state[:, OPEN_BANKS] > 0]
        return int(self._counters[-1] + ((cycle - open_now[:, OPEN_SINCE]) * open_now[:, WEIGHT]).sum())

    @property
    def command_counts(self) -> Mapping[str, int]:
        """Commands issued so far, summed over the channels."""
        return {name: int(count) for name, count in zip(self._tables.names, self._counters, strict=False)}
