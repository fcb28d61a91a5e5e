"""One instruction as a line of assembly text."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from isa.program import Indexed, Instruction, OperandValue, Symbol
from isa.spec import SPACE_OF_KIND, InstructionSpec, Kind, Operand
from isa.structure import NAME

_BINARY32 = struct.Struct("<f")
_POSITIONAL = (Kind.REGISTER, Kind.SIGNED, Kind.LABEL)


class _SymbolIndex:
    """Finds the symbol of one memory space that covers an address."""

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        usable = [symbol for symbol in symbols if symbol.size > 0 and NAME.match(symbol.name)]
        self._symbols = sorted(usable, key=lambda symbol: (symbol.address, -symbol.size, symbol.name))
        self._starts = [symbol.address for symbol in self._symbols]
        self._furthest = list(accumulate((symbol.address + symbol.size for symbol in self._symbols), max))

    def covering(self, address: int) -> Symbol | None:
        """Of the symbols that cover the address the one that starts last, then the smallest."""
        index = bisect_right(self._starts, address) - 1
        while index >= 0 and self._furthest[index] > address:
            symbol = self._symbols[index]
            if symbol.address + symbol.size > address:
                return symbol
            index -= 1
        return None


@dataclass(frozen=True)
class InstructionFormat:
    """What names the text may use.

    Attributes:
        symbols: Address symbols.
        labels: Label of each target of a `skipz`.
        channels: Number of channels that `all` stands for, or `None`.
    """

    symbols: Sequence[Symbol] = ()
    labels: dict[int, str] = field(default_factory=dict[int, str])
    channels: int | None = None
    _index: dict[str, _SymbolIndex] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        spaces = set(SPACE_OF_KIND.values())
        index = {space: _SymbolIndex(each for each in self.symbols if each.space == space) for space in spaces}
        object.__setattr__(self, "_index", index)

    def covering(self, space: str, address: int) -> Symbol | None:
        """The symbol of `space` that an address is shown with."""
        return self._index[space].covering(address)


def labels_of(code: Sequence[Instruction]) -> dict[int, str]:
    """A label for every instruction, and for the end of the code, that a `skipz` goes to."""
    targets = {
        int(value)
        for built in code
        for operand, value in zip(built.spec.operands, built.values, strict=True)
        if operand.kind is Kind.LABEL and isinstance(value, int) and value <= len(code)
    }
    return {target: f"L{target}" for target in sorted(targets)}


def format_instruction(built: Instruction, style: InstructionFormat) -> str:
    """The instruction without indentation; operands that have their default are left out."""
    positional = positional_count(built.spec)
    parts: list[str] = []
    for index, (operand, value) in enumerate(zip(built.spec.operands, built.values, strict=True)):
        if index < positional:
            parts.append(_value_text(operand, value, style))
        elif not _is_default(operand, value):
            parts.append(f"{operand.name}={_value_text(operand, value, style)}")
    return f"{built.mnemonic} {', '.join(parts)}".rstrip()


def positional_count(spec: InstructionSpec) -> int:
    """Number of operands that are written without a name: the leading ones, when the first is a register."""
    if not spec.operands or spec.operands[0].kind is not Kind.REGISTER:
        return 0
    kinds = [operand.kind in _POSITIONAL for operand in spec.operands]
    return kinds.index(False) if False in kinds else len(kinds)


def _is_default(operand: Operand, value: OperandValue) -> bool:
    if operand.default is None or isinstance(value, Indexed):
        return False
    if operand.kind is Kind.FLOAT:
        return _BINARY32.pack(value) == _BINARY32.pack(operand.default)
    return value == operand.default


def _value_text(operand: Operand, value: OperandValue, style: InstructionFormat) -> str:
    if operand.kind is Kind.REGISTER:
        return f"r{value}"
    if operand.kind is Kind.CHOICE:
        return str(value)
    if operand.kind is Kind.FLOAT:
        return _float_text(float(value)) if isinstance(value, int | float) else str(value)
    register = f"r{value.register}" if isinstance(value, Indexed) else ""
    immediate = value.immediate if isinstance(value, Indexed) else int(value)
    if operand.kind is Kind.LABEL:
        return style.labels.get(immediate, str(immediate))
    if operand.kind in SPACE_OF_KIND:
        return _address_text(operand.kind, immediate, register, style)
    if operand.kind is Kind.CHANNELS:
        return _channels_text(immediate, register, style.channels)
    if register and immediate == 0:
        return register
    return f"{immediate}+{register}" if register else str(immediate)


def _address_text(kind: Kind, immediate: int, register: str, style: InstructionFormat) -> str:
    symbol = style.covering(SPACE_OF_KIND[kind], immediate)
    parts = [symbol.name] if symbol else []
    offset = immediate - symbol.address if symbol else immediate
    if offset or not (parts or register):
        parts.append(str(offset))
    if register:
        parts.append(register)
    return f"[{'+'.join(parts)}]"


def _channels_text(mask: int, register: str, channels: int | None) -> str:
    if register:
        return register if mask == 0 else f"{mask:#x}+{register}"
    if mask == 0:
        return "0x0"
    if channels is not None and mask == (1 << channels) - 1:
        return "all"
    members = [channel for channel in range(mask.bit_length()) if mask >> channel & 1]
    starts = [each for each in members if each - 1 not in members]
    ends = [each for each in members if each + 1 not in members]
    pairs = zip(starts, ends, strict=True)
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in pairs)


def _float_text(value: float) -> str:
    """The shortest text that gives the same binary32."""
    packed = _BINARY32.pack(value)
    if value != value:
        return "nan" if packed == _BINARY32.pack(float("nan")) else f"nan:0x{int.from_bytes(packed, 'little'):08x}"
    text = str(np.float32(value))
    if _BINARY32.pack(float(text)) != packed:
        text = repr(float(_BINARY32.unpack(packed)[0]))
    return text
