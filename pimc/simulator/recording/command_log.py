"""Issued DRAM commands one by one, from the runs that the timing kernels log and the work that caused them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pimc.simulator.dram.layout import LOG_WIDTH

Integers = NDArray[np.int64]

LOG_RUNS = 1 << 20
"""Runs of commands that a log holds; 56 MiB."""

MOST_COMMANDS = 1 << 23
"""Commands that a log is spelled out for; about 1 GiB of memory."""

NONE = -1
"""Place of a command that has none: the bank of an all-bank command, the row of a precharge."""


@dataclass(frozen=True, eq=False)
class ChannelWork:
    """What was given to the channels, in order; arrays with one value for each instruction or trace line.

    Attributes:
        command: The column command that it repeats.
        mask: Channels.
        first: First column, accumulator or global buffer column.
        columns: Commands of one range.
        ranges: Number of ranges.
        stride: Columns from one range to the next.
        step: Columns from one command of a range to the next, 0 or 1.
        beats: Beats of a column, in which first, stride and step count; 1 for whole columns.
        node: Index in `nodes`.
        nodes: Where work comes from: graph nodes, or lines of a trace.
    """

    command: Integers
    mask: Integers
    first: Integers
    columns: Integers
    ranges: Integers
    stride: Integers
    step: Integers
    beats: Integers
    node: Integers
    nodes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CommandEvents:
    """Issued commands in ascending order of cycle and channel; arrays with one value for each.

    Attributes:
        cycle: When it was issued.
        channel: Its channel.
        command: Index in `dram_tables.COMMANDS`.
        bank: Bank inside the channel, or `NONE`.
        row: Row that it opens or works on, or `NONE`.
        column: Column of the row, global buffer column or accumulator, or `NONE`.
        node: Index in `nodes` of the work that it was issued for, or `NONE`.
        nodes: Names.
    """

    cycle: Integers
    channel: Integers
    command: Integers
    bank: Integers
    row: Integers
    column: Integers
    node: Integers
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class LogFormat:
    """How commands fill the fields of a log.

    Attributes:
        channels: Channels of the device.
        columns_per_row: Columns of a row.
        bank_commands: Commands that address one bank.
        row_commands: Commands that open or work on a row.
        column_commands: Commands that follow from the work, one for each of its columns.
        anonymous_commands: Commands of which no one can say what work they belong to.
    """

    channels: int
    columns_per_row: int
    bank_commands: frozenset[int]
    row_commands: frozenset[int]
    column_commands: frozenset[int]
    anonymous_commands: frozenset[int]


def logged_runs(log: Integers) -> Integers:
    """Runs [n, LOG_WIDTH] of a log as the kernels leave it."""
    return log[1 : 1 + LOG_WIDTH * int(log[0])].reshape(-1, LOG_WIDTH)


def channels_of(runs: Integers) -> Integers:
    """How many channels each run stands for."""
    return np.bitwise_count(runs[:, 6]).astype(np.int64)


def issued_commands(runs: Integers) -> int:
    """Commands of all channels in the runs."""
    return int((runs[:, 4] * channels_of(runs)).sum())


def expand(runs: Integers, work: ChannelWork, form: LogFormat) -> CommandEvents:
    """Every command of every channel.

    Args:
        runs: Logged runs, for each channel in the order of issue.
        work: What caused them. The column commands of one kind follow it in order in every channel.
        form: How commands fill the fields.
    """
    parts: list[Integers] = []
    for alike in _alike_channels(runs, work, form.channels):
        table = _channel(runs, work, form, alike[0])
        channels = np.tile(np.array(alike, dtype=np.int64), table.shape[1])
        parts.append(np.concatenate([np.repeat(table, len(alike), axis=1), channels[np.newaxis]]))
    table = parts[0]
    if len(parts) > 1:
        table = np.concatenate(parts, axis=1)
        table = table[:, np.argsort(table[0] * form.channels + table[6], kind="stable")]
    cycle, command, bank, row, column, node, channel = table
    return CommandEvents(cycle, channel, command, bank, row, column, node, work.nodes)


def _alike_channels(runs: Integers, work: ChannelWork, channels: int) -> list[list[int]]:
    """Channels in lists of those that have the same runs and the same work."""
    alike: dict[bytes, list[int]] = {}
    for channel in range(channels):
        own = np.concatenate([runs[:, 6] >> channel & 1, work.mask >> channel & 1]).astype(np.bool_)
        alike.setdefault(np.packbits(own).tobytes(), []).append(channel)
    return list(alike.values())


def _channel(runs: Integers, work: ChannelWork, form: LogFormat, channel: int) -> Integers:
    """[6, commands] of one channel: cycle, command, bank, row, column, node."""
    own = runs[runs[:, 6] >> channel & 1 == 1]
    last, command, bank, row, _, period, _ = (np.repeat(values, own[:, 4]) for values in own.T)
    behind = np.repeat(np.cumsum(own[:, 4]), own[:, 4]) - 1 - np.arange(last.size)
    column, node = _columns(command, work, form, channel)
    return np.stack(
        [
            last - behind * period,
            command,
            np.where(_is_one_of(command, form.bank_commands), bank, NONE),
            np.where(_is_one_of(command, form.row_commands), row, NONE),
            column,
            np.where(_is_one_of(command, form.anonymous_commands), NONE, _next_known(node)),
        ]
    )


def _columns(command: Integers, work: ChannelWork, form: LogFormat, channel: int) -> tuple[Integers, Integers]:
    """Column and node of the column commands of a channel, `NONE` for the others."""
    column, node = np.full(command.size, NONE), np.full(command.size, NONE)
    has_work = work.mask >> channel & 1 == 1
    for kind in form.column_commands:
        places = np.flatnonzero(command == kind)
        given = np.flatnonzero(has_work & (work.command == kind))
        if not places.size:
            continue
        counts = work.columns[given] * work.ranges[given]
        source = np.repeat(given, counts)
        rank = np.arange(source.size) - np.repeat(np.cumsum(counts) - counts, counts)
        within, number = rank % work.columns[source], rank // work.columns[source]
        linear = work.first[source] + number * work.stride[source] + within * work.step[source]
        column[places] = (linear // work.beats[source])[: places.size] % form.columns_per_row
        node[places] = work.node[source[: places.size]]
    return column, node


def _is_one_of(command: Integers, kinds: frozenset[int]) -> NDArray[np.bool_]:
    return np.isin(command, np.array(sorted(kinds), dtype=np.int64))


def _next_known(node: Integers) -> Integers:
    """Commands without work of their own (activation, mode switch) are issued for what comes next, or came last."""
    known = np.flatnonzero(node != NONE)
    if not known.size:
        return node
    following = np.searchsorted(known, np.arange(node.size))
    return node[known[np.minimum(following, known.size - 1)]]
