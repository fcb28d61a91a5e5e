"""Where values lie in the shared buffer, and matrices in the groups, of a program for crossbars."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Crossbar, Machine, Region, ResourceLimitError, Segment
from passes import ArrayTile, array_tiles


@dataclass(frozen=True)
class Stored:
    """A matrix [inputs, outputs] in groups; its numbers lie in the shared buffer column by column.

    Attributes:
        address: First word of column 0.
        inputs: Its rows.
        outputs: Its columns.
        tiles: Its parts.
    """

    address: int
    inputs: int
    outputs: int
    tiles: tuple[ArrayTile, ...]


@dataclass
class Rooms:
    """Hands out words and groups.

    Attributes:
        machine: The machine.
        regions: Regions so far.
        segments: Contents of constant regions.
        words: Words handed out.
        groups: Groups handed out.
    """

    machine: Machine
    regions: list[Region] = field(default_factory=list[Region])
    segments: list[Segment] = field(default_factory=list[Segment])
    words: int = 0
    groups: int = 0

    @property
    def crossbar(self) -> Crossbar:
        """The crossbars of the machine."""
        assert self.machine.crossbar is not None
        return self.machine.crossbar

    def room(self, name: str, size: int) -> int:
        """First of `size` words that programs write."""
        return self._region(name, size, "cache")

    def constant(self, name: str, array: NDArray[Any]) -> int:
        """First word of an array that is there when the program is loaded."""
        data = np.ascontiguousarray(array, np.float32).reshape(-1)
        address = self._region(name, data.size, "weights")
        self.segments.append(Segment(self.regions[-1].name, data.view(np.uint32)))
        return address

    def matrix(self, name: str, array: NDArray[Any]) -> Stored:
        """A matrix [inputs, outputs], cut into parts that groups can hold."""
        inputs, outputs = array.shape
        address = self.constant(name, np.asarray(array, np.float32).T)
        tiles = array_tiles(self.crossbar, inputs, outputs, self.groups)
        for _ in tiles:
            self.group()
        return Stored(address, inputs, outputs, tiles)

    def group(self) -> int:
        """A group that nothing else uses."""
        if self.groups == self.crossbar.groups:
            raise ResourceLimitError(
                "the matrices do not fit the crossbars",
                notes=[f"bound: {self.groups:,} groups of {self.crossbar.rows} x {self.crossbar.columns} numbers"],
                help="give a smaller model, or a machine with more groups",
            )
        self.groups += 1
        return self.groups - 1

    def _region(self, name: str, size: int, role: str) -> int:
        address, capacity = self.words, self.machine.shared_buffer.capacity_words
        if address + size > capacity:
            raise ResourceLimitError(
                f"the shared buffer has no room for '{name}'",
                notes=[f"demand: {size:,} words", f"bound: {capacity - address:,} of {capacity:,} words are free"],
                help="give fewer tokens or a smaller model, or a machine with a larger buffer",
            )
        self.words += size
        self.regions.append(Region(f"{name}.{len(self.regions)}", "sb", address, size, role))
        return address
