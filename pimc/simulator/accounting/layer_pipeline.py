"""From a run of one layer's 16-token instance to a whole model, as the authors of Titanus scale it.

Source of every formula: src/simulator.py of github.com/peilin-chen/Titanus-for-LLM-acceleration 8af1fba. A workload of
P tokens of prompt and D generated ones takes (P + D) / 16 times the cycles and the compute energy of the instance, in
each layer; the attention of an instance does not grow with the context, and transfers take no time. Energy of the cache
is that of the records of the real workload; that of loading weights is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from isa import DigitalCim, Machine, MachineError
from pimc.simulator.accounting.stats import Statistics

INSTANCE_TOKENS = 16
"""Tokens that the authors simulate."""

LOG_CYCLES = 100
"""Cycles from one time that the authors write their log to the next; their shares and energies are sums of the log."""

STAGES: tuple[tuple[str, ...], ...] = (
    ("norm_1",),
    ("query", "key", "value", "prune"),
    ("quantise",),
    ("dequantise", "scores", "softmax"),
    ("values",),
    ("output", "norm_2"),
    ("up", "relu", "down"),
)
"""Phases of each stage of the pipeline inside a core."""

_PRODUCTS = ("query", "key", "value", "output", "up", "down")
_UNITS = {
    "norm_1": "norm",
    "norm_2": "norm",
    "prune": "prune",
    "quantise": "quantise",
    "dequantise": "dequantise",
    "scores": "engines",
    "values": "engines",
    "softmax": "softmax",
    "relu": "relu",
}
"""Field of the core that executes a phase, for those that are no products with resident weights."""

_PJ = 1e-12


@dataclass(frozen=True)
class ScaledModel:
    """A model of equal layers, one a core, in the authors' accounting.

    Attributes:
        layers: How many.
        prompt: Tokens of the prompt.
        generated: Tokens that follow.
        hidden: Width of the model.
        instance: The run of the instance, with the accounting `paper`.
        machine: The core that it ran on.
    """

    layers: int
    prompt: int
    generated: int
    hidden: int
    instance: Statistics
    machine: Machine

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.prompt + self.generated

    @property
    def instance_cycles(self) -> int:
        """Cycles of the instance by the authors' clock, which stops with the accumulators of the last product.

        The run goes on until its macros are done, too: macro.cycles - accumulator.cycles later.
        """
        core = self._core
        return self.instance.cycles - (core.macro.cycles - core.accumulator.cycles)

    @property
    def _core(self) -> DigitalCim:
        if self.machine.digital_cim is None:
            raise MachineError(f"the machine '{self.machine.name}' has no digital CIM core")
        return self.machine.digital_cim

    @property
    def _scaled_cycles(self) -> float:
        return self.instance_cycles * self.tokens / INSTANCE_TOKENS

    @property
    def cycles_per_token(self) -> int:
        """Cycles of a token in a layer."""
        return math.ceil(self._scaled_cycles / self.tokens)

    def busy_cycles(self) -> dict[str, float]:
        """Cycles in which each phase's unit works according to the log, without those between its tiles."""
        core, nodes = self._core, self.instance.nodes
        logged = self._logged(core.macro.cycles)
        units = {name: getattr(core, unit) for name, unit in _UNITS.items()} | dict.fromkeys(_PRODUCTS, core.macro)
        shares = {name: unit.cycles / (unit.cycles + core.assign_cycles) for name, unit in units.items()}
        busy = {name: nodes[name].busy_cycles if name in nodes else 0 for name in shares}
        return {name: busy[name] * share for name, share in shares.items()} | {"down": logged}

    def _logged(self, cycles: int) -> int:
        """Cycles of the last phase's products in the authors' log, of `cycles` from the begin of each product.

        The log is written whenever LOG_CYCLES are full; what follows the last time is lost. The last product begins
        accumulator.cycles before the end, the others every macro.cycles + assign_cycles before it.
        """
        core = self._core
        end = self.instance_cycles // LOG_CYCLES * LOG_CYCLES
        last = self.instance_cycles - (core.accumulator.cycles + core.assign_cycles)
        begins = [last - product * (core.macro.cycles + core.assign_cycles) for product in range(INSTANCE_TOKENS)]
        return sum(max(0, min(begin + cycles, end) - begin) for begin in begins)

    def stage_cycles(self) -> tuple[int, ...]:
        """Cycles of a token in each of `STAGES`: its phases' shares of the busy time, each rounded up."""
        busy = self.busy_cycles()
        total, per_token = sum(busy.values()), self.cycles_per_token
        return tuple(sum(math.ceil(per_token * busy[phase] / total) for phase in stage) for stage in STAGES)

    def cycles_by_schedule(self) -> Mapping[str, float]:
        """Cycles of the workload, by schedule.

        `original`: one token after another. `intra`: the prompt in a pipeline of the stages of a core. `intra+inter`:
        the prompt in one pipeline through the stages of all cores. Generated tokens follow one another in all of them.
        """
        stages, slowest = len(STAGES), max(self.stage_cycles())
        decode = self.cycles_per_token * self.generated * self.layers
        fill = (self.prompt - 1) * slowest
        return {
            "original": self._scaled_cycles * self.layers,
            "intra": (stages * slowest + fill) * self.layers + decode,
            "intra+inter": stages * slowest * self.layers + fill + decode,
        }

    def tokens_per_s(self) -> dict[str, float]:
        """Throughput of each schedule."""
        second = 1e9 / self.machine.clock_ns
        return {name: self.tokens * second / cycles for name, cycles in self.cycles_by_schedule().items()}

    @property
    def compute_energy_j(self) -> float:
        """Energy of the units in the authors' log, leakage while they work included."""
        found = sum(self.instance.energy_by_unit_j[part] for part in self._core.leakages_mw())
        return (found - self._unlogged_energy_j) * self.layers * self.tokens / INSTANCE_TOKENS

    @property
    def _unlogged_energy_j(self) -> float:
        """Energy of the last phase's products that is not in the authors' log."""
        core = self._core
        cycles = {"arrays": core.macro.cycles, "accumulators": core.accumulator.cycles}
        product = core.published().energies_pj("dmvm", "down")
        lost = {part: INSTANCE_TOKENS - self._logged(count) / count for part, count in cycles.items()}
        return sum(product[part] * products for part, products in lost.items()) * _PJ

    @property
    def record_bytes(self) -> float:
        """Bytes of a token's record, as the instance wrote them off chip."""
        return self.instance.bytes_by_space["off_written"] / INSTANCE_TOKENS

    @property
    def cache_bytes(self) -> float:
        """Bytes that the cache moves: every token's record once, and all records before it for every generated one."""
        loads = sum(range(self.prompt, self.tokens))
        return self.layers * self.record_bytes * (self.tokens + loads)

    @property
    def cache_energy_j(self) -> float:
        """Energy of what the cache moves."""
        return self.cache_bytes * self._byte_energy_j

    @property
    def input_energy_j(self) -> float:
        """Energy of loading the prompt, which the authors count in each layer."""
        return self.layers * self.prompt * self.hidden * self._byte_energy_j

    @property
    def _byte_energy_j(self) -> float:
        if self.machine.off_chip is None:
            raise MachineError(f"the machine '{self.machine.name}' has no off-chip memory")
        return self.machine.off_chip.energy_pj_per_byte * _PJ

    @property
    def tokens_per_j(self) -> float:
        """Tokens for a joule of compute, cache and inputs."""
        return self.tokens / (self.compute_energy_j + self.cache_energy_j + self.input_energy_j)
