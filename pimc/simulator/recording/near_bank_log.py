"""How commands of near-bank channels are logged, and the work of programs that they follow from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from isa import INSTRUCTIONS
from pimc.simulator.dram.channel_kernels import OPEN, STORE_LANE
from pimc.simulator.dram.channel_timing import recipe
from pimc.simulator.dram.tables import BANK, COMMAND_INDEX, COMMANDS, command_scope
from pimc.simulator.recording.command_log import ChannelWork, Integers, LogFormat

if TYPE_CHECKING:
    from isa import NearBank

_REGISTER_COMMANDS = ("WRGB", "WRMAC16", "RDMAC16", "RDAF16")
_IN_ORDER = (*_REGISTER_COMMANDS, "MAC", "MAC16", "AF16", "EWMUL16", "RDCP", "WRCP", "WRA16")
_CONVENTIONAL = ("RD", "WR")
_BY_BANK = ("ACT", "PRE", *_CONVENTIONAL)
_OPENING = ("ACT", "ACT4", "ACT16")


def near_bank_log_format(near_bank: NearBank, in_order: bool = True) -> LogFormat:
    """The format of logs of a near-bank unit.

    Args:
        near_bank: Its organisation.
        in_order: Whether conventional reads and writes go in the order of the work too; else they cannot be told apart.
    """
    columns = (*_IN_ORDER, *_CONVENTIONAL) if in_order else _IN_ORDER
    rows = (*_OPENING, *(name for name in (*_IN_ORDER, *_CONVENTIONAL) if name not in _REGISTER_COMMANDS))
    return LogFormat(
        channels=near_bank.channels,
        columns_per_row=near_bank.columns_per_row,
        bank_commands=frozenset(index for index, name in enumerate(COMMANDS) if command_scope(name) == BANK),
        row_commands=frozenset(COMMAND_INDEX[name] for name in rows),
        column_commands=frozenset(COMMAND_INDEX[name] for name in columns),
        anonymous_commands=frozenset(COMMAND_INDEX[name] for name in _BY_BANK if not in_order),
    )


def program_work(
    near_bank: NearBank,
    mnemonics: Sequence[str],
    operands: Sequence[Sequence[int]],
    node: Integers,
    nodes: Sequence[str],
) -> ChannelWork:
    """Work of executed near-bank instructions.

    Args:
        near_bank: The unit.
        mnemonics: Of each instruction.
        operands: Resolved operands of each.
        node: Index in `nodes` of each, or `command_log.NONE`.
        nodes: Names of graph nodes.
    """
    tables: list[Integers] = []
    for mnemonic in sorted(set(mnemonics)):
        places = [place for place, name in enumerate(mnemonics) if name == mnemonic]
        values = np.array([operands[place] for place in places], dtype=np.int64).reshape(len(places), -1)
        tables += [np.column_stack([places, table]) for table in _work(near_bank, mnemonic, values)]
    table = np.concatenate([np.zeros((0, 9), np.int64), *tables])
    place, command, mask, first, columns, ranges, stride, step, beats = table[np.argsort(table[:, 0], kind="stable")].T
    return ChannelWork(command, mask, first, columns, ranges, stride, step, beats, node[place], tuple(nodes))


def _work(near_bank: NearBank, mnemonic: str, values: Integers) -> list[Integers]:
    """Tables [instructions, 8] of what instructions of one kind do: command to beats of `ChannelWork`."""
    kind, command, (mask, _, address, columns, outputs, stride) = recipe(mnemonic)
    if kind == OPEN:
        return []
    names = [operand.name for operand in INSTRUCTIONS[mnemonic].operands]
    constants = {"zero": 0, "one": 1, "reads": near_bank.acc_read_bits // 16}
    ones = np.ones(values.shape[0], np.int64)
    given = {
        source: constants[source] * ones if source in constants else values[:, names.index(source)]
        for source in (mask, address, columns, outputs, stride)
    }
    beats = ones
    if "beat" in names:
        beats = near_bank.element_bits // values[:, names.index("bits")]
        given[address] = given[address] * beats + values[:, names.index("beat")]
    if kind == STORE_LANE:
        return _lane_work(near_bank, command, given[mask], given[address], given[columns], given[stride], beats)
    registers = [name for name in ("gb", "acc") if name in names and COMMANDS[command] in _REGISTER_COMMANDS]
    first = values[:, names.index(registers[0])] if registers else given[address]
    shape = (given[mask], first, given[columns], given[outputs], given[stride], ones, beats)
    return [np.column_stack([command * ones, *shape])]


def _lane_work(
    near_bank: NearBank,
    command: int,
    mask: Integers,
    address: Integers,
    count: Integers,
    stride: Integers,
    beats: Integers,
) -> list[Integers]:
    """Full stripes of all banks, then the rest; each is read before it is written where writes have no mask."""
    full, rest = np.divmod(count, near_bank.banks)
    zeros, ones = np.zeros_like(mask), np.ones_like(mask)
    commands = [command] if near_bank.write_mask == "lane" else [COMMAND_INDEX["RD"], command]
    parts = [(address, near_bank.banks * ones, full), (address + full * stride, rest, ones)]
    return [
        np.column_stack([each * ones, mask, first, columns, ranges, stride, zeros, beats])
        for first, columns, ranges in parts
        for each in commands
    ]
