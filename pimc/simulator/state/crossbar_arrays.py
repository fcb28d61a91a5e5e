"""What groups of crossbars hold: numbers, or cells with their scales, and how often columns were written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Crossbar, Machine

_Array = NDArray[np.float32]


@dataclass(slots=True)
class _Group:
    """A group that was written to.

    Attributes:
        numbers: float32 [rows, columns]: the numbers, or their codes where cells round.
        cells: float32 [slices, rows, columns] of what cells hold, lowest slice first; empty where none rounds.
        scales: float32 [columns], worth of a code.
        writes: int64 [columns], how often each was written.
    """

    numbers: _Array
    cells: _Array
    scales: _Array
    writes: NDArray[np.int64]


class CrossbarArrays:
    """Groups of arrays, zero until written; a group takes room when it is first used.

    Attributes:
        crossbar: Its description, `None` when the machine has none.
        rounds: Whether cells, drivers and converters round (machine numerics).
    """

    def __init__(self, machine: Machine, rounds: bool) -> None:
        """Nothing is written yet."""
        self.crossbar = machine.crossbar
        self.rounds = rounds
        self.reset()

    def reset(self) -> None:
        """Forget everything, also what was worn; noise begins anew."""
        self._groups: dict[int, _Group] = {}
        self._noise = np.random.default_rng(0 if self.crossbar is None else self.crossbar.noise_seed)

    @property
    def most_writes(self) -> int:
        """Writes of the cells that were written most often, since the program was loaded."""
        return max((int(group.writes.max()) for group in self._groups.values()), default=0)

    def _group(self, group: int) -> _Group:
        found = self._groups.get(group)
        if found is None:
            part = self._part
            shape = (part.rows, part.columns)
            cells = np.zeros((0, *shape), np.float32)
            if self.rounds:
                zero = self._levels(np.zeros(1, np.int64)).astype(np.float32)
                cells = np.broadcast_to(zero[:, :, None], (part.slices, *shape)).copy()
            ones, writes = np.ones(part.columns, np.float32), np.zeros(part.columns, np.int64)
            found = self._groups[group] = _Group(np.zeros(shape, np.float32), cells, ones, writes)
        return found

    @property
    def _part(self) -> Crossbar:
        assert self.crossbar is not None
        return self.crossbar

    def write(self, group: int, column: int, numbers: _Array) -> None:
        """Write the first rows of a column, as `xprog` does."""
        found, length = self._group(group), len(numbers)
        found.writes[column] += 1
        if not self.rounds:
            found.numbers[:length, column] = numbers
            return
        part = self._part
        codes, found.scales[column] = quantised(numbers, part.weight_bits)
        found.numbers[:length, column] = codes
        levels = self._levels(codes.astype(np.int64))
        factors = 1 + part.conductance_noise * self._noise.standard_normal(levels.shape)
        found.cells[:, :length, column] = levels * factors

    def _levels(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """[slices, codes] of what cells hold for codes, lowest slice first."""
        part = self._part
        stored = codes + (1 << (part.weight_bits - 1))
        return (stored >> np.arange(0, part.weight_bits, part.cell_bits)[:, None]) & ((1 << part.cell_bits) - 1)

    def column(self, group: int, column: int, rows: int) -> _Array:
        """The first numbers of a column as they were written, up to the rounding to codes; without noise."""
        found = self._group(group)
        return np.asarray(found.numbers[:rows, column] * found.scales[column], np.float32)

    def product(self, group: int, vector: _Array, results: int, transposed: bool, has_signs: bool = True) -> _Array:
        """A vector times the first columns of a matrix, or the first rows where it is `transposed`, as `xmvm` does."""
        found, inputs = self._group(group), len(vector)
        part = np.s_[:results, :inputs] if transposed else np.s_[:inputs, :results]
        numbers = found.numbers[part].T if transposed else found.numbers[part]
        if not self.rounds:
            return np.asarray(vector.astype(np.float64) @ numbers.astype(np.float64), np.float32)
        cells = found.cells[(slice(None), *part)]
        if transposed:
            cells, vector = cells.transpose(0, 2, 1), vector * found.scales[:inputs]
        bits = self._part.input_bits
        codes, scale = quantised(vector, bits) if has_signs else quantised(np.maximum(vector, 0), bits + 1)
        offset = 1 << (bits - 1) if has_signs else 0
        sums = self._sums(codes.astype(np.int64), offset, cells, numbers.astype(np.float64))
        scaled = sums.astype(np.float32) * scale
        return scaled if transposed else scaled * found.scales[:results]

    def _sums(
        self, codes: NDArray[np.int64], offset: int, cells: _Array, weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Products of codes from what the converters see: sum of (u + U)(q + Q) less U (q + Q), u Q for each line."""
        part = self._part
        shifted = codes + offset
        digits = (shifted >> np.arange(0, part.input_bits, part.dac_bits)[:, None]) & ((1 << part.dac_bits) - 1)
        seen = np.zeros(cells.shape[2], np.float64)
        for start in range(0, len(codes), part.array_rows):
            lines = slice(start, start + part.array_rows)
            lanes = np.einsum("dk,skn->dsn", digits[:, lines].astype(np.float64), cells[:, lines].astype(np.float64))
            read = np.clip(np.rint(lanes), 0, (1 << part.adc_bits) - 1)
            places = np.arange(part.digits)[:, None] * part.dac_bits + np.arange(part.slices) * part.cell_bits
            seen += np.einsum("ds,dsn->n", np.exp2(places), read)
        weight_offset = float(1 << (part.weight_bits - 1))
        stored = weights.sum(axis=0) + weight_offset * len(codes)
        return np.asarray(seen - offset * stored - weight_offset * float(codes.sum()))


def quantised(numbers: NDArray[Any], bits: int) -> tuple[_Array, np.float32]:
    """Codes of `bits` bits by the largest magnitude, and what a code is worth; 0 for NaN."""
    known = np.where(np.isfinite(numbers), numbers, np.float32(0)).astype(np.float32)
    largest = np.abs(known).max(initial=np.float32(0))
    scale = np.float32(largest / np.float32((1 << (bits - 1)) - 1)) if largest > 0 else np.float32(1)
    return np.rint(known / scale).astype(np.float32), scale
