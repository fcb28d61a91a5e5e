"""What an instruction reads and writes in each memory space, with register operands as expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isa.program import Instruction
from isa.verification.linear import Linear
from isa.verification.register_state import State, bounds_of
from isa.verification.unknowns import Unknowns

if TYPE_CHECKING:
    from isa.near_bank import NearBank

_ONE = Linear((), 1)


@dataclass(frozen=True)
class Access:
    """A range of addresses of one memory space.

    Attributes:
        operand: Operand with the first address.
        space: `sb`, `bank`, `gb` or `acc`.
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
    """

    built: Instruction
    state: State
    unknowns: Unknowns
    values: Mapping[str, Linear]
    near_bank: NearBank | None

    @property
    def device(self) -> NearBank:
        """The near-bank component of an instruction of extension B."""
        assert self.near_bank is not None
        return self.near_bank

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


def accesses(operands: Operands) -> list[Access]:
    """Everything that the instruction touches when none of its counts is zero."""
    if operands.built.spec.unit == "vector":
        return list(_vector(operands))
    return list(_CHANNEL_RULES[operands.built.mnemonic](operands))


def counts(operands: Operands) -> list[str]:
    """Operands that say how much the instruction does; with any of them zero it touches nothing.

    A reduction writes its results even when its rows have no elements.
    """
    is_reduction = operands.has("len") and operands.has("dst") and not operands.has("dst_step")
    names = ("rows",) if is_reduction else ("rows", "len", "cols", "outs", "count")
    return [name for name in names if operands.has(name)]


def _vector(operands: Operands) -> Iterator[Access]:
    for name in ("dst", "a", "b", "src"):
        if operands.has(name):
            yield _words(operands, name)


def _words(operands: Operands, name: str) -> Access:
    """rows x len words; results of reductions and scalar accesses have one word a row."""
    rows = operands.value("rows") if operands.has("rows") else _ONE
    single = not operands.has(f"{name}_step")
    length = _ONE if single else operands.value("len")
    row = operands.number(f"{name}_row") if operands.has(f"{name}_row") else 0
    step = 0 if single else operands.number(f"{name}_step")
    size = (rows - 1) * row + (length - 1) * step + 1
    one_row = rows == _ONE or row == 0 or length == Linear((), row)
    solid = (single and (rows == _ONE or row <= 1)) or (not single and step <= 1 and one_row)
    writes = name == "dst"
    reads = not writes or operands.built.mnemonic in ("vmac", "vsel")
    return Access(name, "sb", operands.value(name), size, solid, reads, writes)


def _transfer(operands: Operands, name: str, items: Linear, width: Linear, writes: bool) -> Access:
    """Words that a transfer between the shared buffer and channels covers."""
    item_stride = operands.number("sn") if operands.has("sn") else 0
    low, high = _channel_extent(operands)
    size = (items - 1) * item_stride + width + (high - low)
    solid = low == high and (items == _ONE or (width.is_constant and item_stride <= width.constant))
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


def _lanes(operands: Operands) -> Linear:
    narrow = operands.built.mnemonic in ("ldb", "stb") and operands.word("form") == "word"
    return Linear((), operands.device.lanes // 2 if narrow else operands.device.lanes)


def _bank(operands: Operands, columns: Linear, writes: bool) -> Access:
    return Access("addr", "bank", operands.value("addr"), columns, True, not writes, writes)


def _buffer(operands: Operands, columns: Linear, writes: bool, solid: bool = True) -> Access:
    return Access("gb", "gb", operands.value("gb"), columns, solid, not writes, writes)


def _accumulator(operands: Operands, count: Linear, reads: bool, writes: bool, solid: bool = True) -> Access:
    return Access("acc", "acc", operands.value("acc"), count, solid, reads, writes)


def _wrgb(operands: Operands) -> Iterator[Access]:
    yield _transfer(operands, "src", operands.value("cols"), _lanes(operands), False)
    yield _buffer(operands, operands.value("cols"), True)


def _wracc(operands: Operands) -> Iterator[Access]:
    if operands.word("source") == "buffer":
        yield _transfer(operands, "src", operands.value("count"), Linear((), operands.device.banks), False)
    yield _accumulator(operands, operands.value("count"), False, True)


def _mac(operands: Operands) -> Iterator[Access]:
    last, columns = operands.value("outs") - 1, operands.value("cols")
    strides = [operands.number(name) for name in ("bstride", "gstride", "astride")]
    yield _bank(operands, last * strides[0] + columns, False)
    yield _buffer(operands, last * strides[1] + columns, False, strides[1] == 0)
    yield _accumulator(operands, last * strides[2] + 1, True, True, strides[2] <= 1)


def _rdacc(operands: Operands) -> Iterator[Access]:
    yield _accumulator(operands, operands.value("count"), True, False)
    yield _transfer(operands, "dst", operands.value("count"), Linear((), operands.device.banks), True)


def _open(operands: Operands) -> Iterator[Access]:
    yield _bank(operands, _ONE, False)


def _ldb(operands: Operands) -> Iterator[Access]:
    yield _bank(operands, operands.value("cols"), False)
    yield _transfer(operands, "dst", operands.value("cols"), _lanes(operands), True)


def _stb(operands: Operands) -> Iterator[Access]:
    yield _transfer(operands, "src", operands.value("cols"), _lanes(operands), False)
    yield _bank(operands, operands.value("cols"), True)


def _stlane(operands: Operands) -> Iterator[Access]:
    count = operands.value("count")
    stripes = max(operands.largest(count) - 1, 0) // operands.device.banks
    yield _transfer(operands, "src", _ONE, count, False)
    yield _bank(operands, Linear((), stripes * operands.number("cstride") + 1), True)


def _ewmul(operands: Operands) -> Iterator[Access]:
    yield _bank(operands, operands.value("cols"), True)


def _af(operands: Operands) -> Iterator[Access]:
    yield _accumulator(operands, _ONE, True, False)


def _rdaf(operands: Operands) -> Iterator[Access]:
    yield _transfer(operands, "dst", _ONE, Linear((), operands.device.banks), True)


def _cpbg(operands: Operands) -> Iterator[Access]:
    yield _bank(operands, operands.value("cols"), False)
    yield _buffer(operands, operands.value("cols"), True)


def _cpgb(operands: Operands) -> Iterator[Access]:
    yield _buffer(operands, operands.value("cols"), False)
    yield _bank(operands, operands.value("cols"), True)


_CHANNEL_RULES: dict[str, Callable[[Operands], Iterator[Access]]] = {
    "wrgb": _wrgb,
    "wracc": _wracc,
    "mac": _mac,
    "rdacc": _rdacc,
    "open": _open,
    "ldb": _ldb,
    "stb": _stb,
    "stlane": _stlane,
    "wrab": _stb,
    "ewmul": _ewmul,
    "af": _af,
    "rdaf": _rdaf,
    "cpbg": _cpbg,
    "cpgb": _cpgb,
}
