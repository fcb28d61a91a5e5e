"""Cores in a row, one layer each: vectors pass from core to core, and cores work on different tokens at a time.

Each core runs its own program with its own memories. A step (an entry of all programs, for a token or a block of them)
begins on a core as soon as the core is free and the core before it has stored its outputs; a generated token also waits
until the one before it has left the last core. The next core loads as inputs what its predecessor stored. That cores
share the bandwidth of the memory behind them is not modelled: each has all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isa import Machine, MachineError, Program
from pimc.simulator.accounting.stats import Statistics
from pimc.simulator.simulator import Simulator

_LEAKAGE = "_leakage"


@dataclass(frozen=True)
class ChainStep:
    """What passes through all cores, one after another.

    Attributes:
        entry: Entry of every core's program.
        registers: Values of the register symbols that it asks for.
        inputs: Vectors for the first core, int8 [tokens, width]; `None` in runs without data.
        follows: Whether it waits until the step before it has left the last core, as a generated token does.
    """

    entry: str
    registers: Mapping[str, int] = field(default_factory=dict[str, int])
    inputs: NDArray[np.int8] | None = None
    follows: bool = False


@dataclass(frozen=True)
class ChainRun:
    """What the steps cost, and what came out.

    Attributes:
        cycles: From the first step's begin on the first core to the last one's end on the last.
        clock_ns: Length of a cycle.
        busy_cycles: Of each core.
        energy_by_unit_j: Energy by part; every core leaks for all `cycles`.
        outputs: Vectors that left the last core, int8 as the inputs, of each step; none in runs without data.
    """

    cycles: int
    clock_ns: float
    busy_cycles: tuple[int, ...]
    energy_by_unit_j: Mapping[str, float]
    outputs: tuple[NDArray[np.int8], ...]

    @property
    def time_s(self) -> float:
        """`cycles` in seconds."""
        return self.cycles * self.clock_ns * 1e-9

    @property
    def energy_j(self) -> float:
        """Of all parts."""
        return sum(self.energy_by_unit_j.values())


class CoreChain:
    """Cores of one machine description that hand vectors on.

    Attributes:
        cores: The simulator of each core, with its program loaded.
    """

    def __init__(self, machine: Machine, programs: Sequence[Program]) -> None:
        """Load a program on each core; equal layers may share one program.

        Raises:
            MachineError: the machine is no core: what it has runs differently at different times, or it has no memory
                through which vectors are handed on.
        """
        if machine.near_bank is not None or machine.off_chip is None:
            raise MachineError(
                f"the machine '{machine.name}' cannot be a core in a chain",
                notes=["a core has off-chip memory, and no near-bank memory, whose refreshes depend on time"],
            )
        self._machine, self._programs = machine, tuple(programs)
        self.cores = tuple(Simulator(machine) for _ in programs)
        for core, program in zip(self.cores, programs, strict=True):
            core.load(program)
        self._known: dict[tuple[int, str, tuple[tuple[str, int], ...]], Statistics] = {}

    def run(self, steps: Sequence[ChainStep], timing_only: bool = False) -> ChainRun:
        """Send steps through all cores, in order.

        Args:
            steps: What passes.
            timing_only: Time and energy without data; cores with the same program are run once for all of them.
        """
        free, left = [0] * len(self.cores), 0
        found: list[list[Statistics]] = [[] for _ in self.cores]
        outputs: list[NDArray[np.int8]] = []
        for step in steps:
            ready, vectors = left if step.follows else 0, step.inputs
            for place in range(len(self.cores)):
                statistics = self._timed(place, step) if timing_only else self._executed(place, step, vectors)
                vectors = None if timing_only else self._stored(place, step)
                ready = free[place] = max(free[place], ready) + statistics.cycles
                found[place].append(statistics)
            left = ready
            if vectors is not None:
                outputs.append(vectors)
        busy = tuple(sum(each.cycles for each in runs) for runs in found)
        energies = self._energies([each for runs in found for each in runs], left)
        return ChainRun(left, self._machine.clock_ns, busy, energies, tuple(outputs))

    def _timed(self, place: int, step: ChainStep) -> Statistics:
        """A step without data on a core, or on another one with the same program."""
        program = self._programs[place]
        key = (id(program), step.entry, tuple(sorted(step.registers.items())))
        if key not in self._known:
            self._known[key] = self.cores[place].run(step.entry, step.registers, timing_only=True)
        return self._known[key]

    def _executed(self, place: int, step: ChainStep, vectors: NDArray[np.int8] | None) -> Statistics:
        core = self.cores[place]
        if vectors is not None:
            first = core.program.metadata["off_chip"]["inputs_at"]
            core.state.cim.off_chip[first : first + vectors.size] = vectors.view(np.uint8).reshape(-1)
        return core.run(step.entry, step.registers)

    def _stored(self, place: int, step: ChainStep) -> NDArray[np.int8] | None:
        """What a core stored for the next one."""
        if step.inputs is None:
            return None
        core = self.cores[place]
        first = core.program.metadata["off_chip"]["outputs_at"]
        octets = core.state.cim.off_chip[first : first + step.inputs.size]
        return octets.view(np.int8).reshape(step.inputs.shape).copy()

    def _energies(self, runs: Sequence[Statistics], cycles: int) -> dict[str, float]:
        """Energy of all that the cores did, and leakage of all of them for the whole time."""
        found: dict[str, float] = {}
        for run in runs:
            for part, joules in run.energy_by_unit_j.items():
                if not part.endswith(_LEAKAGE):
                    found[part] = found.get(part, 0.0) + joules
        if runs:
            shares = cycles / runs[0].cycles * len(self.cores)
            leaks = {part: joules for part, joules in runs[0].energy_by_unit_j.items() if part.endswith(_LEAKAGE)}
            found |= {part: joules * shares for part, joules in leaks.items()}
        return found
