"""What decode steps cost on the machine, as values that can be added and stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pimc.simulator import Statistics


@dataclass(frozen=True)
class Cost:
    """What some decode steps took together.

    Attributes:
        steps: Tokens, one a step.
        time_s: Time.
        energy_j: Energy.
        cache_bytes_read: Bytes read from the banks that hold the KV cache.
        cache_bytes_written: Bytes written there.
        busy_s: Time in which each unit worked, by its name.
    """

    steps: int
    time_s: float
    energy_j: float
    cache_bytes_read: int
    cache_bytes_written: int
    busy_s: Mapping[str, float]

    def __add__(self, other: Cost) -> Cost:
        units = dict.fromkeys([*self.busy_s, *other.busy_s])
        return Cost(
            self.steps + other.steps,
            self.time_s + other.time_s,
            self.energy_j + other.energy_j,
            self.cache_bytes_read + other.cache_bytes_read,
            self.cache_bytes_written + other.cache_bytes_written,
            {unit: self.busy_s.get(unit, 0.0) + other.busy_s.get(unit, 0.0) for unit in units},
        )

    @property
    def tokens_per_s(self) -> float:
        """Speed of the machine."""
        return self.steps / self.time_s

    @property
    def energy_j_per_token(self) -> float:
        """Mean energy of a step."""
        return self.energy_j / self.steps

    @property
    def cache_bytes_moved_per_token(self) -> float:
        """Mean bytes read from and written to the KV cache in a step."""
        return (self.cache_bytes_read + self.cache_bytes_written) / self.steps

    @property
    def busy_shares(self) -> dict[str, float]:
        """Share of the time in which each unit worked."""
        return {unit: busy / self.time_s for unit, busy in self.busy_s.items()}

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Cost:
        """Read what `to_json` wrote."""
        return cls(**values)


def cost_of(statistics: Statistics) -> Cost:
    """The cost of one step."""
    cycle_s = statistics.clock_ns * 1e-9
    return Cost(
        statistics.tokens,
        statistics.time_s,
        statistics.energy_j,
        statistics.cache.bytes_read,
        statistics.cache.bytes_written,
        {unit: cycles * cycle_s for unit, cycles in statistics.busy_cycles_by_unit.items()},
    )
