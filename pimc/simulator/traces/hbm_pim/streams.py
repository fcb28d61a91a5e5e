"""Transactions of the published HBM-PIM kernels on one channel, and of a host that streams the same bytes.

A kernel reads a quiet row of every bank, which leaves all of them closed, switches the channel to all-bank mode by
addressing mode rows, writes the units' program, switches to PIM mode, accesses the columns that the program works on,
and goes back the same way. Banks 0 and 1 then stand for all even and all odd banks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from isa import InputError
from pimc.simulator.traces.hbm_pim.unit_programs import (
    BURSTS,
    Program,
    element_wise_program,
    gemv_program,
    relu_program,
)

if TYPE_CHECKING:
    from isa import DramDevice, HbmPimController

QUIET_BIT = 1 << 12
"""Rows with this bit are kept from the units: accesses to them are plain ones."""
QUIET_ROW = QUIET_BIT
MODE_COLUMN = 31
CONTROL_COLUMN, PROGRAM_COLUMN, REGISTER_COLUMN = 0, 4, 8  # columns of the register row
WORDS_A_COLUMN = 8
_EVEN, _ODD = 0, 1  # banks that stand for all even and all odd ones
_OPERAND_ROW, _SECOND_OPERAND_ROW, _RESULT_ROW = 0, 128, 256

Kernel = Literal["gemv", "add", "mul", "relu"]
_SIZES: dict[str, tuple[str, ...]] = {
    "gemv": ("outputs", "inputs"),
    "add": ("elements",),
    "mul": ("elements",),
    "relu": ("elements",),
}


class Transaction(NamedTuple):
    """An access to a column.

    Attributes:
        is_write: Whether it writes.
        bank: Bank of the channel.
        row: Row.
        column: Column.
        barrier: Whether it waits for all before it, and all after it wait for it.
        control: What a write to the control column does: the mode that follows it, and whether it clears GRF_B.
    """

    is_write: bool
    bank: int
    row: int
    column: int
    barrier: bool = False
    control: str = ""


@dataclass
class _Stream:
    device: DramDevice
    controller: HbmPimController
    transactions: list[Transaction] = field(default_factory=list[Transaction])

    def access(self, is_write: bool, bank: int, row: int, column: int, count: int = 1, control: str = "") -> None:
        """Access `count` columns from a linear column on; the last one is a barrier."""
        for number in range(count):
            further, place = divmod(column + number, self.device.columns_per_row)
            last = number == count - 1
            self.transactions.append(Transaction(is_write, bank, row + further, place, last, control))

    def read_quiet_row(self) -> None:
        """Read its first column in every bank, the groups in turn; the last is a barrier."""
        groups, banks = self.device.levels["bankgroup"], self.device.levels["bank"]
        for bank in range(banks):
            for group in range(groups):
                last = bank == banks - 1 and group == groups - 1
                self.transactions.append(Transaction(False, group * banks + bank, QUIET_ROW, 0, last))

    def address_mode_row(self, row: int, banks: Sequence[int]) -> None:
        """Write to the row of a mode switch in all of its banks; the last is a barrier."""
        for bank in banks:
            self.transactions.append(Transaction(True, bank, row, MODE_COLUMN, bank == banks[-1]))

    @property
    def register_row(self) -> int:
        row = self.device.units.register_row
        assert row is not None
        return row

    def begin(self, program: Program) -> None:
        """Read the quiet row, enter all-bank mode, write the program, its end included."""
        self.read_quiet_row()
        self.address_mode_row(self.controller.enter_all_bank.row, self.controller.enter_all_bank.banks)
        self.access(True, _ODD, self.register_row, PROGRAM_COLUMN, -(-(len(program) + 1) // WORDS_A_COLUMN))

    def set_mode(self, control: str) -> None:
        """Start or stop the units."""
        self.access(True, _EVEN, self.register_row, CONTROL_COLUMN, control=control)

    def end(self) -> None:
        """Leave all-bank mode and read the quiet row again."""
        self.address_mode_row(self.controller.leave_all_bank.row, self.controller.leave_all_bank.banks)
        self.read_quiet_row()


@dataclass(frozen=True)
class KernelStream:
    """What a kernel does on every channel.

    Attributes:
        transactions: Its accesses.
        program: The units' program.
    """

    transactions: Sequence[Transaction]
    program: Program


def _check(kernel: str, sizes: Sequence[int]) -> None:
    """Raise `InputError` when the kernel is unknown or does not have such sizes."""
    if kernel not in _SIZES:
        raise InputError(f"unknown kernel '{kernel}'", notes=[f"kernels: {', '.join(_SIZES)}"])
    if len(sizes) != len(_SIZES[kernel]) or min(sizes) < 1:
        raise InputError(f"the kernel '{kernel}' takes positive sizes: {', '.join(_SIZES[kernel])}")


def _units(device: DramDevice) -> int:
    """Units of the device that kernels use: those of the first rank of every channel."""
    banks = device.levels["bankgroup"] * device.levels["bank"]
    return device.channels * banks // device.units.banks_per_unit


def _gemv(stream: _Stream, outputs: int, inputs: int) -> KernelStream:
    """Tiles of 8 outputs a unit by 8 columns of inputs; the tiles' even columns lie in even banks, the odd in odd."""
    device = stream.device
    registers = device.units.vector_registers
    input_tiles = -(-inputs // (device.units.lanes * registers))
    output_tiles = -(-outputs // (_units(device) * registers))
    tile = registers * registers  # columns
    program = gemv_program(input_tiles)
    stream.begin(program)
    for output in range(output_tiles):
        stream.set_mode("HAB_PIM+GRF_B_ZEROIZE")
        for bank in (_EVEN, _ODD):
            here = -(-input_tiles // 2) if bank == _EVEN else input_tiles // 2
            for number in range(here):
                stream.access(True, _ODD, stream.register_row, REGISTER_COLUMN, registers)
                stream.access(False, bank, _OPERAND_ROW, (output * here + number) * tile, tile)
        results = output_tiles * input_tiles * tile // 2 + output * registers
        stream.access(True, _ODD, _OPERAND_ROW, results, registers)
        stream.set_mode("HAB_END")
    stream.end()
    return KernelStream(stream.transactions, program)


def _element_wise(stream: _Stream, kernel: Kernel, elements: int) -> KernelStream:
    """Tiles of 8 columns in every bank: operands, result; even banks, then odd ones."""
    device = stream.device
    both_banks = _units(device) * 2 * device.units.lanes * BURSTS
    tiles = -(-elements // both_banks)
    program = relu_program(tiles) if kernel == "relu" else element_wise_program(kernel.upper(), tiles)
    stream.begin(program)
    stream.set_mode("HAB_PIM")
    for tile in range(tiles):
        for bank in (_EVEN, _ODD):
            stream.access(False, bank, _OPERAND_ROW, tile * BURSTS, BURSTS)
            if kernel != "relu":
                stream.access(False, bank, _SECOND_OPERAND_ROW, tile * BURSTS, BURSTS)
            stream.access(True, bank, _RESULT_ROW, tile * BURSTS, BURSTS)
    stream.set_mode("HAB_END")
    stream.end()
    return KernelStream(stream.transactions, program)


def kernel_stream(
    kernel: Kernel, sizes: Sequence[int], device: DramDevice, controller: HbmPimController
) -> KernelStream:
    """The accesses of a kernel on one channel; all channels do the same.

    Args:
        kernel: Name.
        sizes: Outputs and inputs of `gemv`, elements of the others.
        device: The device.
        controller: Its controller.

    Raises:
        InputError: wrong number of sizes, or one below 1.
    """
    _check(kernel, sizes)
    stream = _Stream(device, controller)
    if kernel == "gemv":
        outputs, inputs = sizes
        return _gemv(stream, outputs, inputs)
    return _element_wise(stream, kernel, sizes[0])


def host_columns(kernel: Kernel, sizes: Sequence[int], device: DramDevice, element_bytes: int = 2) -> tuple[int, int]:
    """Columns of the whole device that a host without units reads, and those that it then writes."""
    _check(kernel, sizes)
    if kernel == "gemv":
        outputs, inputs = sizes
        operands, results = [outputs * inputs, inputs], outputs
    else:
        operands, results = list(sizes) * (1 if kernel == "relu" else 2), sizes[0]
    columns = [-(-size * element_bytes // device.column_bytes) for size in (*operands, results)]
    return sum(columns[:-1]), columns[-1]


def host_transactions(is_write: bool, first: int, last: int, channel: int, device: DramDevice) -> list[Transaction]:
    """The accesses of one channel to the columns `first` to `last` - 1 of the device.

    Columns go round the channels first, then the banks of a group, the groups, the columns of a row, the rows.
    """
    banks, groups = device.levels["bank"], device.levels["bankgroup"]
    accesses: list[Transaction] = []
    begin, end = (-(-(bound - channel) // device.channels) for bound in (first, last))
    for number in range(begin, end):
        rest, bank = divmod(number, banks)
        rest, group = divmod(rest, groups)
        row, column = divmod(rest, device.columns_per_row)
        accesses.append(Transaction(is_write, group * banks + bank, row, column))
    return accesses
