"""Lower bounds of the time of a run, from the MAC columns that it executed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isa import Machine, mac_stream_cycles, row_overhead_cycles

Sweep = tuple[int, int, int, int, int]
"""Channel mask, first column, columns of an output, outputs, columns from one output to the next."""


@dataclass
class MacWork:
    """MAC instructions of a run.

    Attributes:
        sweeps: How often each range was swept.
        further_beats: Further slots of the MAC units on columns of packed codes, summed over channels.
    """

    sweeps: dict[Sweep, int] = field(default_factory=dict[Sweep, int])
    further_beats: int = 0

    def add(self, mask: int, column: int, columns: int, outputs: int, stride: int) -> None:
        """Count one `mac`."""
        sweep = (mask, column, columns, outputs, stride)
        self.sweeps[sweep] = self.sweeps.get(sweep, 0) + 1

    def executed_columns(self) -> int:
        """MAC columns and further beats of packed ones, summed over channels."""
        return self.further_beats + sum(
            mask.bit_count() * columns * outputs * times
            for (mask, _, columns, outputs, _), times in self.sweeps.items()
        )

    def distinct_columns(self) -> int:
        """Different columns that were swept at least once, summed over channels."""
        by_mask: dict[int, list[Sweep]] = {}
        for sweep in self.sweeps:
            by_mask.setdefault(sweep[0], []).append(sweep)
        ranges = {mask: _ranges(sweeps) for mask, sweeps in by_mask.items()}
        alike: dict[tuple[int, ...], int] = {}
        for channel in range(max((mask.bit_length() for mask in by_mask), default=0)):
            masks = tuple(mask for mask in by_mask if mask >> channel & 1)
            alike[masks] = alike.get(masks, 0) + 1
        return sum(
            channels * union_size(np.concatenate([ranges[mask] for mask in masks]))
            for masks, channels in alike.items()
            if masks
        )


def _ranges(sweeps: Iterable[Sweep]) -> NDArray[np.int64]:
    """[n, 2]: first column and the column after the last of every range."""
    found: list[tuple[int, int]] = []
    for _, column, columns, outputs, stride in sweeps:
        if stride == columns:
            found.append((column, column + columns * outputs))
        else:
            found += [(column + o * stride, column + o * stride + columns) for o in range(outputs)]
    return np.array(found, np.int64)


def union_size(ranges: NDArray[np.int64]) -> int:
    """Number of integers in the union of half-open ranges [n, 2]."""
    ordered = ranges[np.argsort(ranges[:, 0], kind="stable")]
    ends = np.maximum.accumulate(ordered[:, 1])
    starts = np.maximum(ordered[1:, 0], ends[:-1])
    return int((ends[0] - ordered[0, 0]) + np.maximum(ordered[1:, 1] - starts, 0).sum())


def peak_floor_cycles(machine: Machine, work: MacWork) -> float:
    """Time of the executed MAC columns at the peak rate of all channels; 0 without channels."""
    if machine.near_bank is None:
        return 0.0
    return mac_stream_cycles(machine, work.executed_columns()) / machine.near_bank.channels


def row_cycled_floor_cycles(machine: Machine, work: MacWork) -> float:
    """Time of the executed MAC columns when every row that holds them is opened once, in all channels at the same rate.

    A full row costs its activation and precharge (98 cycles on GDDR6-AiM) and all MAC columns that it serves: 226 for a
    matrix, more for keys and values that several query heads share. Rows are counted by their filled part, so that the
    bound does not depend on the placement. 0 without channels.
    """
    near_bank = machine.near_bank
    if near_bank is None:
        return 0.0
    opening = row_overhead_cycles(machine) * work.distinct_columns() / near_bank.columns_per_row
    return (opening + mac_stream_cycles(machine, work.executed_columns())) / near_bank.channels
