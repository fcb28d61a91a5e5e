"""Banks of the near-bank component: their sizes, and the elements of the regions that a program owns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import Machine, MachineError, Region
from pimc.simulator.semantics.dot_kernel import LANES


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of the near-bank component as plain numbers, because every instruction asks for them.

    Attributes:
        channels: Channels of the device.
        all_channels: Mask of all channels.
        bank_groups: Bank groups of a channel.
        banks_per_group: Banks of a bank group.
        banks: Banks of a channel.
        row_columns: Columns of a row.
        lanes: Elements of a column.
        buffer_columns: Columns of a global buffer.
        accumulators: Accumulators of a bank.
        accumulator_bits: Width in which an accumulator leaves the bank.
        equal_columns: Whether a MAC takes the same column of bank and global buffer.
    """

    channels: int
    all_channels: int
    bank_groups: int
    banks_per_group: int
    banks: int
    row_columns: int
    lanes: int
    buffer_columns: int
    accumulators: int
    accumulator_bits: int
    equal_columns: bool


class BankRegion:
    """A region of the banks and its elements, which are allocated when they are first touched.

    Attributes:
        region: What the program says about it.
        low: First linear column.
        high: Linear column after the last.
    """

    def __init__(self, region: Region, shape: tuple[int, int, int], dtype: Any, data: NDArray[Any] | None) -> None:
        self.region = region
        self.low = region.address
        self.high = region.address + region.size
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._initial = data
        self._data: NDArray[Any] | None = None
        self._address = 0

    @property
    def data(self) -> NDArray[Any]:
        """Elements [channels, banks, columns * lanes]: uint16 bf16 bits or codes, or float32.

        Weights are used in place.
        """
        if self._data is None:
            self._data = self._materialised()
        return self._data

    def _materialised(self) -> NDArray[Any]:
        if self._initial is None:
            return np.zeros(self._shape, self._dtype)
        if self.region.writable:
            return np.array(self._initial)
        return np.ascontiguousarray(self._initial)

    @property
    def address(self) -> int:
        """Memory address of the first element, for compiled kernels."""
        if not self._address:
            self._address = int(self.data.ctypes.data)
        return self._address

    @property
    def bank_bytes(self) -> int:
        """Bytes from one bank to the next."""
        return self._shape[2] * int(self._dtype.itemsize)

    def reset(self) -> None:
        """Go back to the initial contents."""
        if self.region.writable:
            self._data = None
            self._address = 0


_NO_BANKS = Geometry(0, 0, 0, 0, 0, 1, LANES, 0, 0, 32, False)


def near_bank_geometry(machine: Machine) -> Geometry:
    """Sizes of the near-bank component, of none where there is none; `MachineError` when lanes do not fit kernels."""
    part = machine.near_bank
    if part is None:
        return _NO_BANKS
    if part.lanes % LANES:
        raise MachineError(f"the machine '{machine.name}' has {part.lanes} lanes, which is no multiple of {LANES}")
    return Geometry(
        channels=part.channels,
        all_channels=part.all_channels,
        bank_groups=part.bank_groups,
        banks_per_group=part.banks_per_group,
        banks=part.banks,
        row_columns=part.columns_per_row,
        lanes=part.lanes,
        buffer_columns=part.global_buffer_columns,
        accumulators=part.accumulators,
        accumulator_bits=part.acc_read_bits,
        equal_columns=part.mac_gb_column == "equal",
    )
