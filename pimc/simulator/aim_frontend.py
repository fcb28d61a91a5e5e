"""Traces of the published AiM simulator: reads their text, runs them with that simulator's controller.

A line is `AiM OPCODE fields`, or `R|W GPR|CFR|MEM fields`; `#` starts a comment line. Numbers are decimal, or
hexadecimal after 0x. Bit i of a mask is channel channels - 1 - i, as the reference decodes it; MEM lines name the
channel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isa import InputError, MachineError, Place, UnsupportedError
from pimc.simulator.dram_layout import CLASSES, MEMBERS, OPEN_BANKS, OPEN_SINCE, WEIGHT, initial_state
from pimc.simulator.dram_tables import COMMAND_INDEX, COMMANDS, COUNTERS, OPEN_CYCLES, command_tables

if TYPE_CHECKING:
    from isa import Machine, NearBank

_AIM_OPCODES: Mapping[str, tuple[str | None, tuple[str, ...]]] = {
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
_MEMORY_FIELDS = {"GPR": ("register",), "CFR": ("address", "value"), "MEM": ("channel", "bank", "row")}
_ACTIVATION_FUNCTION_REGISTER = 2
_ACTIVATION_ROW = 1 << 29
_NO_COMMAND = -1
_MOST_REQUESTS = 1 << 20


@dataclass(frozen=True, eq=False)
class AimTrace:
    """A trace, decoded.

    Attributes:
        lines: [lines, 5], dtype int64: command (-1: only a front-end cycle), requests a channel, channel mask (bit i is
            channel i), bank, row. The last line is EOC.
    """

    lines: NDArray[np.int64]


@dataclass(frozen=True)
class AimRun:
    """What a trace did.

    Attributes:
        cycles: Memory cycles until the end of EOC.
        command_counts: Commands summed over the channels, in the order of `dram_tables.COMMANDS`.
        row_open_cycles: Cycles, summed over the channels, in which a row was open.
    """

    cycles: int
    command_counts: Mapping[str, int]
    row_open_cycles: int


class _Parser:
    """Reads lines one by one; remembers the activation function that CFR 2 selects."""

    def __init__(self, near_bank: NearBank, file: str | None) -> None:
        self._near_bank = near_bank
        self._file = file
        self._activation_function = 0

    def line(self, number: int, text: str) -> tuple[int, int, int, int, int] | None:
        """The decoded line, or `None` for a blank line or a comment."""
        tokens = text.replace(",", " ").split()
        if not tokens or tokens[0].startswith("#"):
            return None
        place = Place(self._file, number, text=text.rstrip())
        if tokens[0] == "AiM" and len(tokens) > 1:
            return self._aim(tokens[1].removeprefix("ISR_"), tokens[2:], place)
        if tokens[0] in ("R", "W") and len(tokens) > 1:
            return self._memory(tokens[0], tokens[1], tokens[2:], place)
        raise InputError("a trace line starts with 'AiM', 'R' or 'W' and what it does", place)

    def _aim(self, opcode: str, tokens: Sequence[str], place: Place) -> tuple[int, int, int, int, int]:
        if opcode not in _AIM_OPCODES:
            raise InputError(f"unknown opcode '{opcode}'", place, notes=[f"opcodes: {', '.join(_AIM_OPCODES)}"])
        command, names = _AIM_OPCODES[opcode]
        fields = self._fields(f"AiM {opcode}", names, tokens, place)
        if command is None:
            return (_NO_COMMAND, 0, 0, 0, 0)
        every = self._near_bank.all_channels
        mask = self._reversed(fields["mask"]) if "mask" in fields else every
        row = _ACTIVATION_ROW + self._activation_function if opcode == "AF" else fields.get("row", 0)
        return (COMMAND_INDEX[command], fields.get("count", 1), mask, fields.get("bank", 0), row)

    def _memory(self, kind: str, region: str, tokens: Sequence[str], place: Place) -> tuple[int, int, int, int, int]:
        if region not in _MEMORY_FIELDS:
            raise InputError(f"unknown region '{region}'", place, notes=[f"regions: {', '.join(_MEMORY_FIELDS)}"])
        names = _MEMORY_FIELDS[region] if (kind, region) != ("R", "CFR") else ("address", "value")
        fields = self._fields(f"{kind} {region}", names, tokens, place)
        if region == "MEM":
            command = COMMAND_INDEX["RD" if kind == "R" else "WR"]
            return (command, 1, 1 << fields["channel"], fields["bank"], fields["row"])
        if (kind, region) == ("W", "CFR") and fields["address"] == _ACTIVATION_FUNCTION_REGISTER:
            self._activation_function = fields["value"]
        return (_NO_COMMAND, 0, 0, 0, 0)

    def _fields(self, what: str, names: Sequence[str], tokens: Sequence[str], place: Place) -> dict[str, int]:
        if len(tokens) != len(names):
            raise InputError(f"'{what}' takes {len(names)} fields ({' '.join(names)}), not {len(tokens)}", place)
        fields = {name: self._number(token, place) for name, token in zip(names, tokens, strict=True)}
        limits = {"channel": self._near_bank.channels, "bank": self._near_bank.banks, "row": self._near_bank.rows}
        limits |= {"mask": self._near_bank.all_channels + 1, "count": _MOST_REQUESTS + 1}
        for name, limit in limits.items():
            if name in fields and fields[name] >= limit:
                raise InputError(f"{name} {fields[name]} is not below {limit}", place)
        if fields.get("mask") == 0:
            raise InputError("the channel mask names no channel", place)
        return fields

    def _number(self, token: str, place: Place) -> int:
        hexadecimal = token[:2] in ("0x", "0X")
        digits = token[2:] if hexadecimal else token
        try:
            value = int(digits, 16 if hexadecimal else 10)
        except ValueError:
            value = -1
        if not 0 <= value < 1 << 32:
            raise InputError(f"'{token}' is not a decimal or 0x number of 32 bits", place)
        return value

    def _reversed(self, mask: int) -> int:
        width = self._near_bank.channels
        return int(f"{mask:0{width}b}"[::-1], 2)


def parse_aim_trace(text: str, machine: Machine, file: str | None = None) -> AimTrace:
    """Read a trace.

    Args:
        text: The trace; what follows the line `AiM EOC` is not read.
        machine: The machine that bounds channels, banks and rows.
        file: Name for errors.

    Raises:
        InputError: a line is not an instruction, or there is no EOC.
        MachineError: the machine has no near-bank units.
    """
    parser = _Parser(_near_bank(machine), file)
    lines: list[tuple[int, int, int, int, int]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        decoded = parser.line(number, line)
        if decoded is not None:
            lines.append(decoded)
            if decoded[0] == COMMAND_INDEX["EOC"]:
                return AimTrace(np.array(lines, dtype=np.int64))
    raise InputError("the trace does not end with 'AiM EOC'", Place(file))


def run_aim_trace(trace: AimTrace, machine: Machine) -> AimRun:
    """Run a trace as the published simulator does: its front end, its controllers, its rules, no refresh.

    Raises:
        UnsupportedError: the reference would never finish this trace.
        MachineError: the machine has no near-bank units.
    """
    from pimc.simulator.aim_kernels import run_trace

    near_bank = _near_bank(machine)
    tables = command_tables(near_bank, near_bank.resolve(near_bank.spacing_rules), refresh=False)
    state = initial_state(tables, near_bank.channels)
    state[0, [CLASSES, MEMBERS, WEIGHT]] = 1, near_bank.all_channels, near_bank.channels
    counters = np.zeros(COUNTERS, dtype=np.int64)
    cycles = int(run_trace(trace.lines, state, tables.values, counters, False, True))
    if cycles < 0:
        raise UnsupportedError("the reference simulator never finishes this trace")
    rows = state[: int(state[0, CLASSES])]
    rows = rows[rows[:, OPEN_BANKS] > 0]
    open_cycles = int(counters[OPEN_CYCLES] + ((cycles + 1 - rows[:, OPEN_SINCE]) * rows[:, WEIGHT]).sum())
    return AimRun(cycles, {name: int(counters[i]) for i, name in enumerate(COMMANDS)}, open_cycles)


def _near_bank(machine: Machine) -> NearBank:
    if machine.near_bank is None:
        raise MachineError(f"the machine '{machine.name}' has no near-bank units (extension B)")
    return machine.near_bank
