"""A recorded run as tracks of slices: the units, the channels, their banks, each below the graph nodes it works for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa import UNITS, Machine, Program
from pimc.simulator.dram.tables import BANK, COMMANDS, command_scope
from pimc.simulator.recording.near_bank_log import near_bank_log_format
from pimc.simulator.recording.recorder import NONE, Recording

Integers = NDArray[np.int64]

CONTROLLER = "controller"
"""Process of the tracks that belong to no channel."""
_COMMANDS_TRACK = "commands"


@dataclass(frozen=True)
class Track:
    """A line of a timeline.

    Attributes:
        process: What it is a part of: the controller or a channel.
        name: The unit, or the bank.
    """

    process: str
    name: str


@dataclass(frozen=True, eq=False)
class Slices:
    """Parts of the time; arrays with one value for each.

    Attributes:
        track: Place in `Timeline.tracks`.
        begin: First cycle.
        end: Cycle behind the last.
        name: Place in `Timeline.names`.
        row: Row of the commands, or `NONE`.
        commands: Commands of a run, 0 for what is no run of commands.
        depth: 0 for graph nodes, 1 for what lies inside them.
    """

    track: Integers
    begin: Integers
    end: Integers
    name: Integers
    row: Integers
    commands: Integers
    depth: Integers


@dataclass(frozen=True, eq=False)
class Timeline:
    """Slices on tracks.

    Attributes:
        tracks: All tracks.
        names: Names of slices.
        slices: The slices; on a track they are inside one another or apart.
    """

    tracks: tuple[Track, ...]
    names: tuple[str, ...]
    slices: Slices


def timeline(recording: Recording, program: Program, machine: Machine) -> Timeline:
    """The tracks of a recorded run of a machine with near-bank units."""
    mnemonics = list(dict.fromkeys(each.mnemonic for each in program.code))
    nodes = [source.node for source in program.sources]
    names = (*COMMANDS, *mnemonics, *nodes)
    kinds = np.array([len(COMMANDS) + mnemonics.index(each.mnemonic) for each in program.code])
    debug = np.array(program.debug if program.debug else [NONE] * len(program.code))
    node_names = np.where(debug == NONE, NONE, len(COMMANDS) + len(mnemonics) + debug)
    present = [not unit.component or unit.component_of(machine) is not None for unit in UNITS]
    units = tuple(Track(CONTROLLER, unit.title) for unit, is_there in zip(UNITS, present, strict=True) if is_there)
    places = np.cumsum(present) - 1
    tracks, numbers = _channel_tracks(machine, len(units))
    executed = np.append(node_names[recording.index], NONE)  # -1, the execution of no instruction, finds the last
    runs, execution = _merged(recording.runs, recording.run_execution)
    commands = _channel_slices(runs, executed[execution], machine, numbers)
    return _timeline(units + tracks, names, [_unit_slices(recording, places, kinds, node_names), commands])


def channel_timeline(runs: Integers, machine: Machine) -> Timeline:
    """The tracks of the channels alone, from logged runs of commands that no program was run for."""
    tracks, numbers = _channel_tracks(machine, 0)
    merged, node = _merged(runs, np.full(runs.shape[0], NONE))
    return _timeline(tracks, tuple(COMMANDS), [_channel_slices(merged, node, machine, numbers)])


def _timeline(tracks: tuple[Track, ...], names: tuple[str, ...], parts: Sequence[Integers]) -> Timeline:
    table = np.concatenate(parts, axis=1)
    table = table[:, np.lexsort((table[1], table[0]))]
    return Timeline(tracks, names, Slices(*_with_nodes(_apart(table))))


def _channel_tracks(machine: Machine, first: int) -> tuple[tuple[Track, ...], Integers]:
    """Tracks of the channels, and their numbers [channels, 1 + banks] when `first` others come before them."""
    near_bank = machine.near_bank
    channels, banks = (near_bank.channels, near_bank.banks) if near_bank is not None else (0, 0)
    parts = [_COMMANDS_TRACK, *(f"bank {bank}" for bank in range(banks))]
    tracks = tuple(Track(f"channel {channel}", part) for channel in range(channels) for part in parts)
    return tracks, np.arange(first, first + len(tracks)).reshape(channels, len(parts))


def _rows(track: Integers, begin: Integers, end: Integers, name: Integers, node: Integers) -> Integers:
    """Slices [7, n]: track, begin, end, name, row, commands, then the name of the node."""
    none, zeros = np.full_like(begin, NONE), np.zeros_like(begin)
    return np.stack([track, begin, end, name, none, zeros, node])


def _unit_slices(recording: Recording, places: Integers, kinds: Integers, node_names: Integers) -> Integers:
    """What the sequencer hands over and what the units, whose tracks are at `places`, execute."""
    index, clock = recording.dispatched.T
    begun = np.concatenate([[recording.begin], clock[:-1]])[: clock.size]
    sequencer = _rows(np.zeros_like(index), begun, clock, kinds[index], node_names[index])
    own = recording.index
    units = _rows(places[recording.unit], recording.start, recording.finish, kinds[own], node_names[own])
    return np.concatenate([sequencer, units], axis=1)


def _channel_slices(runs: Integers, node: Integers, machine: Machine, numbers: Integers) -> Integers:
    """Runs of commands on the track of each channel that they address, or of its bank, each for a graph node."""
    if machine.near_bank is None:
        return np.zeros((7, 0), np.int64)
    member = (runs[:, 6][:, np.newaxis] >> np.arange(numbers.shape[0])) & 1
    which, channel = np.nonzero(member)
    last, command, bank, row, repeat, period, _ = runs[which].T
    by_bank = np.array([command_scope(name) == BANK for name in COMMANDS])
    with_row = np.isin(np.arange(len(COMMANDS)), sorted(near_bank_log_format(machine.near_bank).row_commands))
    track = numbers[channel, np.where(by_bank[command], 1 + bank, 0)]
    return np.stack(
        [
            track,
            last - (repeat - 1) * period,
            last + period,
            command,
            np.where(with_row[command], row, NONE),
            repeat,
            node[which],
        ]
    )


def _merged(runs: Integers, execution: Integers) -> tuple[Integers, Integers]:
    """Runs of which one goes on where the one before it ended, as one."""
    if runs.shape[0] == 0:
        return runs, execution
    first = runs[:, 0] - (runs[:, 4] - 1) * runs[:, 5]
    same = (runs[1:, [1, 2, 3, 5, 6]] == runs[:-1, [1, 2, 3, 5, 6]]).all(axis=1) & (execution[1:] == execution[:-1])
    goes_on = same & (first[1:] - runs[:-1, 0] == runs[1:, 5])
    starts = np.flatnonzero(np.concatenate([[True], ~goes_on]))
    merged = runs[np.append(starts[1:], runs.shape[0]) - 1].copy()
    merged[:, 4] = np.add.reduceat(runs[:, 4], starts)
    return merged, execution[starts]


def _apart(table: Integers) -> Integers:
    """Slices that end where the next one of their track begins; those that then have no length are left out."""
    follows = table[0, 1:] == table[0, :-1]
    end = table[2].copy()
    end[:-1] = np.where(follows, np.minimum(end[:-1], table[1, 1:]), end[:-1])
    table = np.concatenate([table[:2], end[np.newaxis], table[3:]])
    return table[:, table[2] > table[1]]


def _with_nodes(table: Integers) -> Sequence[Integers]:
    """Columns of `Slices`: these slices, and around neighbours of one graph node a slice of its name."""
    track, begin, end, name, row, commands, node = table
    starts = np.flatnonzero(np.concatenate([[True], (track[1:] != track[:-1]) | (node[1:] != node[:-1])]))
    starts = starts[: table.shape[1]]
    ends = np.append(starts[1:], table.shape[1]) - 1
    named = node[starts] != NONE
    starts, ends = starts[named], ends[named]
    none, zeros = np.full_like(starts, NONE), np.zeros_like(starts)
    outer = (track[starts], begin[starts], end[ends], node[starts], none, zeros, zeros)
    inner = (track, begin, end, name, row, commands, np.ones_like(track))
    return [np.concatenate(columns) for columns in zip(outer, inner, strict=True)]
