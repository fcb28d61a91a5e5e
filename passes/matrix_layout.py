"""How a weight matrix lies in near-bank DRAM, and what a product with it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa import Machine, NearBank, ResourceLimitError, register_visit_cycles, row_overhead_cycles


@dataclass(frozen=True)
class Tile:
    """Outputs that share one filling of the accumulators.

    Attributes:
        first_output: Index of the first output of every bank.
        outputs: Outputs of every bank.
        column: First linear column, relative to the matrix.
    """

    first_output: int
    outputs: int
    column: int


@dataclass(frozen=True)
class MatrixLayout:
    """y = W x with W [outputs, inputs], spread over all channels and banks.

    With a K-split of `split`, group g of channels / split channels holds slice g of the inputs; the groups' partial
    sums are added in the read path. Output m lives in bank m mod (banks * channels / split) of its group. A bank keeps
    its outputs in tiles of at most `accumulators`; a tile is stored chunk by chunk (a chunk is what the global buffer
    holds), a chunk output by output. While the slice fits the global buffer, outputs are simply packed back to back.

    Attributes:
        inputs: K, elements of x.
        outputs: M, elements of y.
        split: Channel groups that share the inputs; divides `channels`.
        channels: Channels of the machine.
        banks: Banks of a channel.
        lanes: Elements of a column.
        chunk_columns: Columns that the global buffer holds, at most a row.
        tile_outputs: Accumulators of a bank.
    """

    inputs: int
    outputs: int
    split: int
    channels: int
    banks: int
    lanes: int
    chunk_columns: int
    tile_outputs: int

    @property
    def group_channels(self) -> int:
        """Channels of a group."""
        return self.channels // self.split

    @property
    def group_outputs(self) -> int:
        """Outputs that one accumulator of all banks of a group covers."""
        return self.banks * self.group_channels

    @property
    def bank_outputs(self) -> int:
        """Outputs of every bank, the last ones possibly padding."""
        return -(-self.outputs // self.group_outputs)

    @property
    def slice_columns(self) -> int:
        """Columns of an output: ceil(ceil(inputs / lanes) / split)."""
        columns = -(-self.inputs // self.lanes)
        return -(-columns // self.split)

    @property
    def padded_inputs(self) -> int:
        """Words of x that the global buffers read; those past `inputs` must be finite."""
        return self.slice_columns * self.lanes * self.split

    @property
    def padded_outputs(self) -> int:
        """Words of y that the accumulators write; those past `outputs` come out as zero."""
        return self.bank_outputs * self.group_outputs

    @property
    def columns(self) -> int:
        """Linear columns of every bank."""
        return self.bank_outputs * self.slice_columns

    def tiles(self) -> Iterator[Tile]:
        """The tiles in order of their columns."""
        for first in range(0, self.bank_outputs, self.tile_outputs):
            yield Tile(first, min(self.tile_outputs, self.bank_outputs - first), first * self.slice_columns)

    def chunks(self) -> list[tuple[int, int]]:
        """(first column, columns) of every chunk of the slice."""
        width = self.chunk_columns
        return [(start, min(width, self.slice_columns - start)) for start in range(0, self.slice_columns, width)]

    def pack(self, weight: NDArray[np.float32], image: NDArray[np.float32]) -> None:
        """Write W^T = `weight` [inputs, outputs] into `image` [channels, banks, columns * lanes], which holds zeros."""
        depth = self.slice_columns * self.lanes
        for group in range(self.split):
            part = np.asarray(weight[group * depth : (group + 1) * depth])
            padded = np.zeros((self.padded_outputs, depth), dtype=np.float32)
            padded[: self.outputs, : part.shape[0]] = part.T
            by_bank = padded.reshape(self.bank_outputs, self.group_channels, self.banks, depth)
            channels = slice(group * self.group_channels, (group + 1) * self.group_channels)
            self._pack_group(by_bank.transpose(1, 2, 0, 3), image[channels])

    def _pack_group(self, by_bank: NDArray[np.float32], image: NDArray[np.float32]) -> None:
        place = 0
        for tile in self.tiles():
            rows = by_bank[:, :, tile.first_output : tile.first_output + tile.outputs]
            for start, width in self.chunks():
                chunk = rows[..., start * self.lanes : (start + width) * self.lanes]
                size = tile.outputs * width * self.lanes
                image[..., place : place + size] = chunk.reshape(self.group_channels, self.banks, size)
                place += size


def matrix_layout(near_bank: NearBank, inputs: int, outputs: int, split: int) -> MatrixLayout:
    """The layout of an outputs x inputs matrix with the given K-split."""
    return MatrixLayout(
        inputs,
        outputs,
        split,
        near_bank.channels,
        near_bank.banks,
        near_bank.lanes,
        min(near_bank.global_buffer_columns, near_bank.columns_per_row),
        near_bank.accumulators,
    )


def product_cycles(machine: Machine, layout: MatrixLayout) -> int:
    """Estimated cycles of one product: register visits, rows and MAC columns (`isa.costs`), vector work left out."""
    row_columns = layout.chunk_columns
    chunks = layout.chunks()
    cycles = 0
    for number, tile in enumerate(layout.tiles()):
        rows = -(-tile.outputs * layout.slice_columns // row_columns)
        cycles += rows * row_overhead_cycles(machine) + 2 * tile.outputs * layout.slice_columns
        rewritten = chunks if number == 0 or len(chunks) > 1 else []
        cycles += register_visit_cycles(machine, sum(width for _, width in rewritten), tile.outputs, tile.outputs)
        cycles += (len(rewritten) - 1 if rewritten else 0) * register_visit_cycles(machine, 0, 0, 0)
    return cycles


def best_layout(machine: Machine, inputs: int, outputs: int, splits: tuple[int, ...] | None = None) -> MatrixLayout:
    """The layout with the fewest estimated cycles among the K-splits that divide the channels (or among `splits`)."""
    near_bank = machine.near_bank
    if near_bank is None:
        raise ResourceLimitError(f"the machine '{machine.name}' has no banks to place weights in")
    allowed = splits or tuple(s for s in range(1, near_bank.channels + 1) if near_bank.channels % s == 0)
    layouts = [matrix_layout(near_bank, inputs, outputs, split) for split in allowed]
    return min(layouts, key=lambda layout: (product_cycles(machine, layout), layout.split))
