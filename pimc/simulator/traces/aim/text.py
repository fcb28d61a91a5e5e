"""What a line of an AiM simulator trace means.

A line is `AiM OPCODE fields`, or `R|W GPR|CFR|MEM fields`; what follows `#` is a comment. Numbers are decimal, or
hexadecimal after 0x. Bit i of a mask is channel channels - 1 - i, as the reference decodes it; MEM lines name the
channel.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from isa import InputError, Place
from pimc.simulator.dram.tables import COMMAND_INDEX

if TYPE_CHECKING:
    from isa import NearBank

AIM_OPCODES: Mapping[str, tuple[str | None, tuple[str, ...]]] = {
    "WR_SBK": ("WR", ("register", "mask", "bank", "row")),
    "WR_ABK": ("WRA16", ("register", "mask", "row")),
    "WR_GB": ("WRGB", ("count", "register", "mask")),
    "WR_BIAS": ("WRMAC16", ("register", "mask")),
    "RD_MAC": ("RDMAC16", ("register", "mask")),
    "RD_AF": ("RDAF16", ("register", "mask")),
    "RD_SBK": ("RD", ("register", "mask", "bank", "row")),
    "COPY_BKGB": ("RDCP", ("count", "mask", "bank", "row")),
    "COPY_GBBK": ("WRCP", ("count", "mask", "bank", "row")),
    "MAC_SBK": ("MAC", ("count", "mask", "bank", "row")),
    "MAC_ABK": ("MAC16", ("count", "mask", "row")),
    "AF": ("AF16", ("mask",)),
    "EWMUL": ("EWMUL16", ("count", "mask", "row")),
    "EWADD": (None, ("count", "register", "register")),
    "SYNC": ("SYNC", ()),
    "EOC": ("EOC", ()),
}
"""Command of each opcode (`None`: only a front-end cycle), and its fields."""

MEMORY_FIELDS: Mapping[str, tuple[str, ...]] = {
    "GPR": ("register",),
    "CFR": ("address", "value"),
    "MEM": ("channel", "bank", "row"),
}
"""Fields of the lines that begin with R or W."""

ACTIVATION_FUNCTION_REGISTER = 2
"""Configuration register that selects the activation function."""

ACTIVATION_ROW = 1 << 29
"""Row that stands for the table of activation function 0."""

NO_COMMAND = -1
"""Command of a line that only takes a front-end cycle."""

MOST_REQUESTS = 1 << 20
"""Largest count of a line."""

Line = tuple[int, int, int, int, int]
"""Command, requests a channel, channel mask (bit i is channel i), bank, row."""

COMMAND, COUNT, MASK, LINE_BANK, LINE_ROW = range(5)
"""Places of these in a line."""


def field_limits(near_bank: NearBank) -> dict[str, int]:
    """For each bounded field the first number that is too large."""
    return {
        "channel": near_bank.channels,
        "bank": near_bank.banks,
        "row": near_bank.rows,
        "mask": near_bank.all_channels + 1,
        "count": MOST_REQUESTS + 1,
    }


class LineParser:
    """Reads lines one by one.

    Attributes:
        activation_function: What configuration register 2 selects.
    """

    def __init__(self, near_bank: NearBank, file: str | None) -> None:
        self._near_bank = near_bank
        self._limits = field_limits(near_bank)
        self._file = file
        self.activation_function = 0

    def line(self, number: int, text: str) -> Line | None:
        """The decoded line `number`, or `None` for a blank line or a comment.

        Raises:
            InputError: it is no instruction.
        """
        tokens = text.partition("#")[0].replace(",", " ").split()
        if not tokens:
            return None
        place = Place(self._file, number, text=text.rstrip())
        if tokens[0] == "AiM" and len(tokens) > 1:
            return self._aim(tokens[1].removeprefix("ISR_"), tokens[2:], place)
        if tokens[0] in ("R", "W") and len(tokens) > 1:
            return self._memory(tokens[0], tokens[1], tokens[2:], place)
        raise InputError("a trace line starts with 'AiM', 'R' or 'W' and what it does", place)

    def _aim(self, opcode: str, tokens: Sequence[str], place: Place) -> Line:
        if opcode not in AIM_OPCODES:
            raise InputError(f"unknown opcode '{opcode}'", place, notes=[f"opcodes: {', '.join(AIM_OPCODES)}"])
        command, names = AIM_OPCODES[opcode]
        fields = self._fields(f"AiM {opcode}", names, tokens, place)
        if command is None:
            return (NO_COMMAND, 0, 0, 0, 0)
        every = self._near_bank.all_channels
        mask = self._reversed(fields["mask"]) if "mask" in fields else every
        row = ACTIVATION_ROW + self.activation_function if opcode == "AF" else fields.get("row", 0)
        return (COMMAND_INDEX[command], fields.get("count", 1), mask, fields.get("bank", 0), row)

    def _memory(self, kind: str, region: str, tokens: Sequence[str], place: Place) -> Line:
        if region not in MEMORY_FIELDS:
            raise InputError(f"unknown region '{region}'", place, notes=[f"regions: {', '.join(MEMORY_FIELDS)}"])
        fields = self._fields(f"{kind} {region}", MEMORY_FIELDS[region], tokens, place)
        if region == "MEM":
            command = COMMAND_INDEX["RD" if kind == "R" else "WR"]
            return (command, 1, 1 << fields["channel"], fields["bank"], fields["row"])
        if (kind, region) == ("W", "CFR") and fields["address"] == ACTIVATION_FUNCTION_REGISTER:
            self.activation_function = fields["value"]
        return (NO_COMMAND, 0, 0, 0, 0)

    def _fields(self, what: str, names: Sequence[str], tokens: Sequence[str], place: Place) -> dict[str, int]:
        if len(tokens) != len(names):
            raise InputError(f"'{what}' takes {len(names)} fields ({' '.join(names)}), not {len(tokens)}", place)
        fields = {name: _number(token, place) for name, token in zip(names, tokens, strict=True)}
        for name, limit in self._limits.items():
            if name in fields and fields[name] >= limit:
                raise InputError(f"{name} {fields[name]} is not below {limit}", place)
        if fields.get("mask") == 0:
            raise InputError("the channel mask names no channel", place)
        return fields

    def _reversed(self, mask: int) -> int:
        width = self._near_bank.channels
        return int(f"{mask:0{width}b}"[::-1], 2)


_DECIMAL_DIGITS, _HEXADECIMAL_DIGITS = frozenset(string.digits), frozenset(string.hexdigits)
_MOST_DIGITS = 64  # of a number, with leading zeros


def _number(token: str, place: Place) -> int:
    hexadecimal = token[:2] in ("0x", "0X")
    digits = token[2:] if hexadecimal else token
    allowed = _HEXADECIMAL_DIGITS if hexadecimal else _DECIMAL_DIGITS
    is_number = 0 < len(digits) <= _MOST_DIGITS and set(digits) <= allowed
    value = int(digits, 16 if hexadecimal else 10) if is_number else -1
    if not 0 <= value < 1 << 32:
        raise InputError(f"'{token}' is not a decimal or 0x number of 32 bits", place)
    return value
