"""Ranges that instructions access in each memory space, with register operands as expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa.program import Instruction
from isa.verification.linear import Linear
from isa.verification.register_state import State, bounds_of
from isa.verification.unknowns import Unknowns

if TYPE_CHECKING:
    from isa.cam import Cam
    from isa.crossbar import Crossbar
    from isa.digital_cim import DigitalCim
    from isa.kv_codec import KvCodec
    from isa.near_bank import NearBank

ONE = Linear((), 1)


@dataclass(frozen=True)
class Access:
    """A range of addresses of one memory space.

    Attributes:
        operand: Operand with the first address.
        space: `sb`, `bank`, `gb`, `acc`, `xb` or `off`; of the CAM `key`, `value`, `candidate` or `value_row`.
        start: First address.
        size: Addresses from the first to the last, gaps included.
        solid: Whether there are no gaps.
        reads: Whether it reads.
        writes: Whether it writes.
    """

    operand: str
    space: str
    start: Linear
    size: Linear
    solid: bool
    reads: bool
    writes: bool


@dataclass(frozen=True)
class Operands:
    """Operand values of one instruction.

    Attributes:
        built: The instruction.
        state: What holds before it.
        unknowns: Unknowns of the analysis.
        values: Integer of each operand, by name; choices and floats are left out.
        near_bank: The near-bank component, `None` when the machine has none (and so no instruction needs it).
        kv_codec: The KV codec, `None` when the machine has none.
        digital_cim: The digital CIM core, `None` when the machine has none.
        cam: The CAM, `None` when the machine has none.
        crossbar: The crossbars, `None` when the machine has none.
    """

    built: Instruction
    state: State
    unknowns: Unknowns
    values: Mapping[str, Linear]
    near_bank: NearBank | None
    kv_codec: KvCodec | None = None
    digital_cim: DigitalCim | None = None
    cam: Cam | None = None
    crossbar: Crossbar | None = None

    @property
    def device(self) -> NearBank:
        """The near-bank component of an instruction of extension B."""
        assert self.near_bank is not None
        return self.near_bank

    @property
    def core(self) -> DigitalCim:
        """The core of an instruction of the digital half of extension X."""
        assert self.digital_cim is not None
        return self.digital_cim

    @property
    def arrays(self) -> Crossbar:
        """The crossbars of an instruction of the resistive half of extension X."""
        assert self.crossbar is not None
        return self.crossbar

    def value(self, name: str) -> Linear:
        """The integer of an operand."""
        return self.values[name]

    def number(self, name: str) -> int:
        """An operand that takes no register."""
        return int(str(self.built[name]))

    def word(self, name: str) -> str:
        """The name that a choice has."""
        return str(self.built[name])

    def has(self, name: str) -> bool:
        """Whether the instruction has such an operand."""
        return name in self.values

    def largest(self, value: Linear) -> int:
        """The best known upper bound."""
        return bounds_of(self.unknowns, value, self.state.facts)[1]


def words(operands: Operands, name: str) -> Access:
    """rows x len words; results of reductions and scalar accesses have one word a row."""
    rows = operands.value("rows") if operands.has("rows") else ONE
    single = not operands.has(f"{name}_step")
    length = ONE if single else operands.value("len")
    row = operands.number(f"{name}_row") if operands.has(f"{name}_row") else 0
    step = 0 if single else operands.number(f"{name}_step")
    size = (rows - 1) * row + (length - 1) * step + 1
    one_row = rows == ONE or row == 0 or length == Linear((), row)
    solid = (single and (rows == ONE or row <= 1)) or (not single and step <= 1 and one_row)
    writes = name == "dst"
    reads = not writes or operands.built.mnemonic in ("vmac", "vsel")
    return Access(name, "sb", operands.value(name), size, solid, reads, writes)


def transfer(operands: Operands, name: str, items: Linear, width: Linear, writes: bool) -> Access:
    """Words that a transfer between the shared buffer and channels covers."""
    item_stride = operands.number("sn") if operands.has("sn") else 0
    low, high = _channel_extent(operands)
    size = (items - 1) * item_stride + width + (high - low)
    solid = low == high and (items == ONE or (width.is_constant and item_stride <= width.constant))
    reads = not writes or (operands.built.mnemonic == "rdacc" and operands.word("mode") == "add")
    return Access(name, "sb", operands.value(name) + low, size, solid, reads, writes)


def _channel_extent(operands: Operands) -> tuple[int, int]:
    """Smallest and largest (channel div cdiv) * si + (channel mod cdiv) * sj of the channels that can take part."""
    mask = operands.value("ch")
    channels = range(max(operands.largest(mask), 0).bit_length())
    members = [each for each in channels if not mask.is_constant or mask.constant >> each & 1]
    divisor = max(operands.number("cdiv"), 1)
    across, along = operands.number("si"), operands.number("sj")
    offsets = [each // divisor * across + each % divisor * along for each in members[: operands.device.channels]]
    return min(offsets, default=0), max(offsets, default=0)


def lanes(operands: Operands) -> Linear:
    """Words of a column: one a lane, or one for two lanes in the form `word`."""
    narrow = operands.built.mnemonic in ("ldb", "stb") and operands.word("form") == "word"
    return Linear((), operands.device.lanes // 2 if narrow else operands.device.lanes)


def bank_columns(operands: Operands, columns: Linear, writes: bool) -> Access:
    """Columns of the banks from `addr` on."""
    return Access("addr", "bank", operands.value("addr"), columns, True, not writes, writes)


def buffer_columns(operands: Operands, columns: Linear, writes: bool, solid: bool = True) -> Access:
    """Columns of the global buffer from `gb` on."""
    return Access("gb", "gb", operands.value("gb"), columns, solid, not writes, writes)


def accumulators(operands: Operands, count: Linear, reads: bool, writes: bool, solid: bool = True) -> Access:
    """Accumulators from `acc` on."""
    return Access("acc", "acc", operands.value("acc"), count, solid, reads, writes)
