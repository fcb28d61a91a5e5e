"""What a machine holds while a program runs on it: registers, shared buffer, banks, global buffers, accumulators."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import REGISTER_COUNT, InputError, Machine, Program, Region
from pimc.simulator.state.banks import BankRegion, near_bank_geometry
from pimc.simulator.state.cam import CamState
from pimc.simulator.state.cim_arrays import CimArrays
from pimc.simulator.state.crossbar_arrays import CrossbarArrays

ZERO_REGISTER = REGISTER_COUNT
"""Index in `MachineState.registers` of a register that is always zero."""


@dataclass(slots=True)
class Loop:
    """A running hardware loop.

    Attributes:
        body: Index of the first instruction of the body.
        register: Register that shows the iteration number; the body may overwrite it.
        count: Number of iterations.
        iteration: Number of the running iteration.
    """

    body: int
    register: int
    count: int
    iteration: int = 0


class MachineState:
    """State of a machine with a loaded program. Instruction semantics change it, nothing else does while running.

    Scalar registers hold integers of 64 bits, two's complement; a result outside that range is an error.

    Attributes:
        machine: The machine.
        geometry: Sizes of its near-bank component.
        dtype: Type of bank elements that are numbers: uint16 (bf16 bits) or float32.
        rounds_operands: Whether global buffers hold values rounded to bf16.
        rounds_readout: Whether accumulators are rounded to bf16 when they leave or enter the bank.
        registers: 32 scalar registers, and a zero behind them.
        shared: Shared buffer as float32 words.
        shared_integers: The same words as int32.
        regions: Regions of the banks, by ascending address.
        global_buffer: float32 [channels, columns * lanes].
        accumulators: float32 [channels, accumulators, banks].
        activation: float32 [channels, banks], the activation registers.
        cam: Memories of the CAM, `None` where the machine has none.
        crossbar: Matrices in crossbars.
        cim: Weights of a digital CIM core, and the off-chip memory.
        program_counter: Index of the next instruction.
        loops: Running loops, the innermost last.
        loop_ends: For the index of each `loop` instruction the index of its `end`.
        halted: Whether `halt` was executed.
        computes: Whether the run has data; without them, sizes that depend on data are those that operands declare.
    """

    def __init__(self, machine: Machine, program: Program, loop_ends: dict[int, int]) -> None:
        self.machine = machine
        self.geometry = near_bank_geometry(machine)
        is_machine = program.numerics == "machine"
        self.dtype = np.dtype(np.uint16 if is_machine else np.float32)
        self.rounds_operands = is_machine
        self.rounds_readout = is_machine and self.geometry.accumulator_bits == 16
        self.registers = [0] * (REGISTER_COUNT + 1)
        self.shared = np.zeros(machine.shared_buffer.capacity_words, np.float32)
        self.shared_integers = self.shared.view(np.int32)
        self.cam = None if machine.cam is None else CamState(machine.cam, self.shared.size)
        self.program_counter = 0
        self.loops: list[Loop] = []
        self.loop_ends = loop_ends
        self.halted = False
        self.computes = True
        self.cim = CimArrays(machine)
        self.crossbar = CrossbarArrays(machine, is_machine)
        self._program = program
        self._allocate_near_bank()
        self._load_regions()

    def _allocate_near_bank(self) -> None:
        part = self.geometry
        self.global_buffer = np.zeros((part.channels, part.buffer_columns * part.lanes), np.float32)
        self.accumulators = np.zeros((part.channels, part.accumulators, part.banks), np.float32)
        self.activation = np.zeros((part.channels, part.banks), np.float32)
        self._channels: dict[int, NDArray[np.int64]] = {}
        self._offsets: dict[tuple[int, int, int, int], NDArray[np.int64]] = {}
        self._extents: dict[tuple[int, int, int, int], tuple[int, int, int]] = {}

    def _load_regions(self) -> None:
        segments = {segment.region: segment.data for segment in self._program.segments}
        self.regions: list[BankRegion] = []
        self._shared_segments: list[tuple[int, NDArray[np.uint32]]] = []
        for region in sorted(self._program.regions, key=lambda each: each.address):
            data = segments.get(region.name)
            if region.space == "bank" and region.size:
                self.regions.append(self._bank_region(region, data))
            elif region.space == "sb" and data is not None:
                self._shared_segments.append((region.address, data))
        self._starts = [region.low for region in self.regions]
        self._write_shared_segments()

    def _bank_region(self, region: Region, data: NDArray[Any] | None) -> BankRegion:
        shape = (self.geometry.channels, self.geometry.banks, region.size * self.geometry.lanes)
        dtype = np.dtype(np.uint16) if region.element == "code" else self.dtype
        if data is not None and (data.shape != shape or data.dtype != dtype):
            raise InputError(
                f"the data of region '{region.name}' do not fit the machine '{self.machine.name}'",
                notes=(f"given: {data.dtype} {data.shape}", f"needed: {dtype} {shape}"),
            )
        return BankRegion(region, shape, dtype, data)

    def _write_shared_segments(self) -> None:
        words = self.shared.view(np.uint32)
        for address, data in self._shared_segments:
            words[address : address + data.size] = data

    def reset(self) -> None:
        """Go back to the state after loading: registers, buffers, accumulators and writable regions."""
        self.registers[:] = [0] * len(self.registers)
        self.shared[:] = 0
        self._write_shared_segments()
        self.global_buffer[:] = 0
        self.accumulators[:] = 0
        self.activation[:] = 0
        if self.cam is not None:
            self.cam.reset()
        self.cim.reset()
        self.crossbar.reset()
        for region in self.regions:
            region.reset()

    def region_at(self, column: int) -> BankRegion | None:
        """The region of the banks that holds a linear column, or `None`."""
        index = bisect_right(self._starts, column) - 1
        if index < 0 or column >= self.regions[index].high:
            return None
        return self.regions[index]

    def bank_region(self, name: str) -> BankRegion:
        """The region of the banks called `name`; raises `KeyError` when there is none."""
        for region in self.regions:
            if region.region.name == name:
                return region
        raise KeyError(name)

    def channels(self, mask: int) -> NDArray[np.int64]:
        """Channel numbers of a mask, ascending."""
        found = self._channels.get(mask)
        if found is None:
            found = np.array([c for c in range(self.geometry.channels) if mask >> c & 1], np.int64)
            self._channels[mask] = found
        return found

    def channel_offsets(self, mask: int, divisor: int, quotient: int, remainder: int) -> NDArray[np.int64]:
        """Words that the channel coordinate adds to the base address, for each channel of the mask."""
        key = (mask, divisor, quotient, remainder)
        found = self._offsets.get(key)
        if found is None:
            channels = self.channels(mask)
            found = channels // divisor * quotient + channels % divisor * remainder
            self._offsets[key] = found
        return found

    def channel_extent(self, mask: int, divisor: int, quotient: int, remainder: int) -> tuple[int, int, int]:
        """Smallest and largest of `channel_offsets`, and how many different ones there are."""
        key = (mask, divisor, quotient, remainder)
        found = self._extents.get(key)
        if found is None:
            offsets = self.channel_offsets(mask, divisor, quotient, remainder)
            found = (int(offsets.min()), int(offsets.max()), int(np.unique(offsets).size))
            self._extents[key] = found
        return found
