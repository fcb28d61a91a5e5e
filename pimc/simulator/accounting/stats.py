"""What a run took: cycles, joules, bytes and bounds as values that can be added, and as versioned JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from pimc.simulator.accounting.cell_wear import CellWear, summed_wear

SCHEMA_VERSION = 1
"""Version of the JSON that `Statistics.to_json` gives."""


@dataclass(frozen=True)
class InstructionStatistics:
    """One kind of instruction.

    Attributes:
        count: Times executed.
        busy_cycles: Cycles that its unit worked on it; overlapping instructions count each.
    """

    count: int
    busy_cycles: int

    def __add__(self, other: InstructionStatistics) -> InstructionStatistics:
        return InstructionStatistics(self.count + other.count, self.busy_cycles + other.busy_cycles)


@dataclass(frozen=True)
class NodeStatistics:
    """One node of the compiled graph, or `(standby)` for what no node causes.

    Attributes:
        node: Name of the graph node.
        onnx_nodes: ONNX nodes that were fused into it.
        instructions: Instructions executed.
        busy_cycles: Cycles that units worked on it; nodes that overlap in time count each.
        energy_j: Energy of its actions; for `(standby)` static power and refreshes of idle channels.
    """

    node: str
    onnx_nodes: tuple[str, ...]
    instructions: int
    busy_cycles: int
    energy_j: float

    def __add__(self, other: NodeStatistics) -> NodeStatistics:
        return NodeStatistics(
            self.node,
            self.onnx_nodes,
            self.instructions + other.instructions,
            self.busy_cycles + other.busy_cycles,
            self.energy_j + other.energy_j,
        )


@dataclass(frozen=True)
class CacheStatistics:
    """The KV cache at the end, and what moved to and from its banks. `+` adds what moved and takes the later end.

    Attributes:
        tokens_kept: Tokens that it holds; of the layer that holds most.
        bytes: Bytes of their keys and values as stored.
        uncompressed_bytes: Bytes that all tokens so far would take in the machine's element type.
        bytes_read: Bytes of columns read for MACs or through the data pins.
        bytes_written: Bytes of columns written, masked ones whole; in crossbars those of the codes.
        levels: Open levels of all channels, where tokens are pruned and quantised in levels; 0 in runs without data.
        survivors: Share of the elements of these tokens that were not pruned, `None` where nothing says it.
    """

    tokens_kept: int = 0
    bytes: int = 0
    uncompressed_bytes: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    levels: int = 0
    survivors: float | None = None

    def __add__(self, later: CacheStatistics) -> CacheStatistics:
        read, written = self.bytes_read + later.bytes_read, self.bytes_written + later.bytes_written
        return replace(later, bytes_read=read, bytes_written=written)

    @property
    def ratio(self) -> float:
        """Uncompressed size over stored size."""
        return self.uncompressed_bytes / self.bytes if self.bytes else 1.0


@dataclass(frozen=True)
class Statistics:
    """What one or more runs took. `+` puts a later run behind an earlier one.

    Attributes:
        clock_ns: Length of a cycle.
        cycles: Length of the runs.
        tokens: Tokens that went through the model.
        first_cycles: Length of the first step.
        first_tokens: Tokens of the first step.
        busy_cycles_by_unit: Cycles in which a unit worked on anything; `mac` is the part of the peak MAC rate.
        energy_by_unit_j: Energy by unit, static power and refresh included.
        bytes_by_space: Bytes moved, by memory space and direction.
        commands: DRAM commands, summed over channels.
        mnemonics: By mnemonic.
        nodes: By name of the graph node.
        peak_floor_cycles: See `floors.peak_floor_cycles`.
        row_cycled_floor_cycles: See `floors.row_cycled_floor_cycles`.
        cache: The KV cache.
        area_mm2: Silicon area of the machine where its description has areas, else `None`.
        provenance: Machine, model, numerics, versions.
        wear: Writes of cells, on machines with crossbars.
    """

    clock_ns: float
    cycles: int
    tokens: int
    first_cycles: int
    first_tokens: int
    busy_cycles_by_unit: Mapping[str, float]
    energy_by_unit_j: Mapping[str, float]
    bytes_by_space: Mapping[str, int]
    commands: Mapping[str, int]
    mnemonics: Mapping[str, InstructionStatistics]
    nodes: Mapping[str, NodeStatistics]
    peak_floor_cycles: float
    row_cycled_floor_cycles: float
    cache: CacheStatistics
    area_mm2: float | None
    provenance: Mapping[str, Any]
    wear: CellWear | None = None

    def __add__(self, other: Statistics) -> Statistics:
        return replace(
            self,
            cycles=self.cycles + other.cycles,
            tokens=self.tokens + other.tokens,
            busy_cycles_by_unit=_sum(self.busy_cycles_by_unit, other.busy_cycles_by_unit),
            energy_by_unit_j=_sum(self.energy_by_unit_j, other.energy_by_unit_j),
            bytes_by_space=_sum(self.bytes_by_space, other.bytes_by_space),
            commands=_sum(self.commands, other.commands),
            mnemonics=_sum(self.mnemonics, other.mnemonics),
            nodes=_sum(self.nodes, other.nodes),
            peak_floor_cycles=self.peak_floor_cycles + other.peak_floor_cycles,
            row_cycled_floor_cycles=self.row_cycled_floor_cycles + other.row_cycled_floor_cycles,
            cache=self.cache + other.cache,
            wear=summed_wear(self.wear, other.wear),
        )

    @property
    def instructions(self) -> int:
        """Instructions executed."""
        return sum(each.count for each in self.mnemonics.values())

    @property
    def time_s(self) -> float:
        """Length of the runs in seconds."""
        return self._seconds(self.cycles)

    @property
    def energy_j(self) -> float:
        """Energy of all units."""
        return sum(self.energy_by_unit_j.values())

    @property
    def power_w(self) -> float:
        """Mean power."""
        return self.energy_j / self.time_s if self.cycles else 0.0

    @property
    def time_to_first_token_s(self) -> float:
        """Time of the first step, which ends with the first new token."""
        return self._seconds(self.first_cycles)

    @property
    def time_per_token_s(self) -> float:
        """Mean time of a token after the first step; of all tokens when there was only one step."""
        later = self.tokens - self.first_tokens
        if later:
            return self._seconds(self.cycles - self.first_cycles) / later
        return self.time_s / self.tokens if self.tokens else 0.0

    @property
    def utilization_by_unit(self) -> dict[str, float]:
        """Share of the time in which a unit worked."""
        return {unit: busy / self.cycles if self.cycles else 0.0 for unit, busy in self.busy_cycles_by_unit.items()}

    def _seconds(self, cycles: float) -> float:
        return cycles * self.clock_ns * 1e-9

    def to_json(self) -> dict[str, Any]:
        """JSON values with units in the keys."""
        return {
            "schema_version": SCHEMA_VERSION,
            "cycles": self.cycles,
            "time_s": self.time_s,
            "tokens": self.tokens,
            "instructions": self.instructions,
            "time_to_first_token_s": self.time_to_first_token_s,
            "time_per_token_s": self.time_per_token_s,
            "energy_j": self.energy_j,
            "energy_by_unit_j": dict(self.energy_by_unit_j),
            "power_w": self.power_w,
            "area_mm2": self.area_mm2,
            "utilization_by_unit": self.utilization_by_unit,
            "bytes_by_space": dict(self.bytes_by_space),
            "bound": {
                "peak_floor_s": self._seconds(self.peak_floor_cycles),
                "row_cycled_floor_s": self._seconds(self.row_cycled_floor_cycles),
            },
            "kv": _cache_json(self.cache),
            **({} if self.wear is None else {"cells": self.wear.to_json()}),
            "commands": {name: count for name, count in self.commands.items() if count},
            "mnemonics": {
                name: {"count": each.count, "busy_cycles": each.busy_cycles} for name, each in self.mnemonics.items()
            },
            "nodes": [_node_json(node) for node in self.nodes.values()],
            "provenance": dict(self.provenance),
        }


def _cache_json(cache: CacheStatistics) -> dict[str, Any]:
    pruned = {} if cache.survivors is None else {"levels": cache.levels, "survivors": cache.survivors}
    return {
        "bytes": cache.bytes,
        "tokens_kept": cache.tokens_kept,
        "ratio": cache.ratio,
        "bytes_read": cache.bytes_read,
        "bytes_written": cache.bytes_written,
        **pruned,
    }


def _node_json(node: NodeStatistics) -> dict[str, Any]:
    return {
        "node": node.node,
        "onnx_nodes": list(node.onnx_nodes),
        "instructions": node.instructions,
        "cycles": node.busy_cycles,
        "energy_j": node.energy_j,
    }


def _sum(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Values of equal keys added; keys in the order of their first appearance."""
    merged = dict(first)
    for key, value in second.items():
        merged[key] = merged[key] + value if key in merged else value
    return merged


def total(runs: Iterable[Statistics]) -> Statistics:
    """The sum of at least one run, in order."""
    return reduce(lambda first, second: first + second, runs)


def as_one_step(statistics: Statistics) -> Statistics:
    """The same work as a single step: a prompt that was cut into chunks."""
    return replace(statistics, first_cycles=statistics.cycles, first_tokens=statistics.tokens)
