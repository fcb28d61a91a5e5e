"""A recorded run as a trace for ui.perfetto.dev: a nanosecond of the trace is a cycle of the machine.

Packets and fields are those of perfetto.dev's trace.proto. Events come in the order of time; at one time what ends
comes before what begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from isa import Machine
from pimc.report.protobuf import (
    Bytes,
    constant,
    doubles,
    joined,
    message,
    nested,
    varint_width,
    varints,
)
from pimc.simulator import Curves, Timeline, Track

# Fields of messages.
_PACKET = 1
_TIMESTAMP, _SEQUENCE, _TRACK_EVENT, _INTERNED, _FLAGS, _TRACK_DESCRIPTOR = 8, 10, 11, 12, 13, 60
_ANNOTATION, _EVENT_TYPE, _NAME_NUMBER, _TRACK, _COUNTER_VALUE = 4, 9, 10, 11, 44
_UUID, _NAME, _PROCESS, _PARENT, _COUNTER = 1, 2, 3, 5, 8
_PROCESS_NUMBER, _PROCESS_NAME = 1, 6
_COUNTER_UNIT = 6
_EVENT_NAMES, _ANNOTATION_NAMES = 2, 3
_ANNOTATION_NUMBER, _ANNOTATION_VALUE = 1, 4
_BEGIN, _END, _COUNT = 1, 2, 4  # types of events
_CLEARED, _NEEDED = 1, 2  # flags: names begin anew, names are needed
_ROW, _COMMANDS = 1, 2  # numbers of the names of annotations

_CHUNK = 1 << 18
_DEEPEST = 2

Integers = NDArray[np.int64]


def write_perfetto(file: BinaryIO, timeline: Timeline, curves: Curves, machine: Machine) -> None:
    """Write tracks, slices and counters.

    Args:
        file: Open for writing.
        timeline: The slices.
        curves: Energy and occupancy, for the counters.
        machine: Names the trace and gives the length of a cycle.
    """
    file.write(_first_packet(timeline.names))
    for packet in _track_packets(timeline.tracks, machine):
        file.write(packet)
    for packets in _slice_packets(timeline):
        file.write(packets)
    first = len(timeline.tracks) + 1
    for number, (name, unit, values) in enumerate(_counters(curves, machine), start=first):
        file.write(_counter_packets(number, name, unit, curves.begin, values))


def _packet(*fields: tuple[int, int | bytes]) -> bytes:
    return message((_PACKET, message(*fields, (_SEQUENCE, 1))))


def _first_packet(names: Sequence[str]) -> bytes:
    """The names that events refer to, numbered from 1."""
    events = [(_EVENT_NAMES, message((1, number), (2, name))) for number, name in enumerate(names, start=1)]
    annotations = [
        (_ANNOTATION_NAMES, message((1, number), (2, name)))
        for number, name in ((_ROW, "row"), (_COMMANDS, "commands"))
    ]
    return _packet((_INTERNED, message(*events, *annotations)), (_FLAGS, _CLEARED))


def _track_packets(tracks: Sequence[Track], machine: Machine) -> Iterator[bytes]:
    """Tracks, numbered from 1, under the processes that they belong to."""
    processes = list(dict.fromkeys(track.process for track in tracks))
    parents = {name: len(tracks) + 1000 + number for number, name in enumerate(processes)}
    for number, (name, parent) in enumerate(parents.items(), start=1):
        title = f"{machine.name}, 1 ns stands for a cycle of {machine.clock_ns:g} ns: {name}" if number == 1 else name
        process = message((_PROCESS_NUMBER, number), (_PROCESS_NAME, title))
        yield _packet((_TRACK_DESCRIPTOR, message((_UUID, parent), (_PROCESS, process))))
    for number, track in enumerate(tracks, start=1):
        fields = ((_UUID, number), (_PARENT, parents[track.process]), (_NAME, track.name))
        yield _packet((_TRACK_DESCRIPTOR, message(*fields)))


def _slice_packets(timeline: Timeline) -> Iterator[bytes]:
    """The beginnings and ends of all slices in order, in parts."""
    slices = timeline.slices
    count = slices.begin.size
    ends = _DEEPEST * 2 * slices.end + (_DEEPEST - 1 - slices.depth)
    begins = _DEEPEST * 2 * slices.begin + _DEEPEST + slices.depth
    order = np.argsort(np.concatenate([begins, ends]), kind="stable")
    widths = [varint_width(int(values.max(initial=0)) + 1) for values in (slices.end, slices.track, slices.name)]
    for start in range(0, 2 * count, _CHUNK):
        part = order[start : start + _CHUNK]
        yield _events(timeline, part % max(count, 1), part < count, widths)


def _events(timeline: Timeline, which: Integers, begins: NDArray[np.bool_], widths: Sequence[int]) -> bytes:
    """Packets of beginnings and ends of slices; those of four forms, each of one length."""
    slices = timeline.slices
    row, commands = slices.row[which], slices.commands[which]
    forms = np.where(begins, 1 + (commands > 0) + (row >= 0), 0)
    packets = [_form(timeline, which[forms == form], form, widths) for form in range(4)]
    lengths = np.array([packet.shape[1] for packet in packets])
    places = np.concatenate([[0], np.cumsum(lengths[forms])])
    out = np.empty(int(places[-1]), np.uint8)
    for form, packet in enumerate(packets):
        first = places[:-1][forms == form]
        out[first[:, np.newaxis] + np.arange(packet.shape[1])] = packet
    return out.tobytes()


def _form(timeline: Timeline, which: Integers, form: int, widths: Sequence[int]) -> Bytes:
    """Packets of ends (0), or of beginnings: bare (1), with the number of commands (2), with their row too (3)."""
    slices = timeline.slices
    time_width, track_width, name_width = widths
    times = slices.begin[which] if form else slices.end[which]
    kind = constant(message((_EVENT_TYPE, _BEGIN if form else _END)), which.size)
    fields = [kind, varints(_TRACK, slices.track[which] + 1, track_width)]
    if form:
        fields.append(varints(_NAME_NUMBER, slices.name[which] + 1, name_width))
    if form > 1:
        fields.append(_annotations(_COMMANDS, slices.commands[which]))
    if form > 2:
        fields.append(_annotations(_ROW, slices.row[which]))
    return _packets(times, time_width, joined(fields))


def _annotations(name: int, values: Integers) -> Bytes:
    number = constant(message((_ANNOTATION_NUMBER, name)), values.size)
    return nested(_ANNOTATION, joined([number, varints(_ANNOTATION_VALUE, values, 5)]))


def _packets(times: Integers, width: int, events: Bytes) -> Bytes:
    tail = constant(message((_SEQUENCE, 1), (_FLAGS, _NEEDED)), times.size)
    return nested(_PACKET, joined([varints(_TIMESTAMP, times, width), nested(_TRACK_EVENT, events), tail]))


def _counters(curves: Curves, machine: Machine) -> Iterator[tuple[str, str, NDArray[np.float64]]]:
    """Name, unit and values of each counter."""
    seconds = curves.window_cycles * machine.clock_ns * 1e-9
    for name, share in curves.occupancy.items():
        yield f"occupancy: {name}", "%", 100 * share
    for name, joules in curves.energy_j.items():
        yield f"power: {name}", "mW", 1e3 * joules / seconds
    total = np.sum(list(curves.energy_j.values()), axis=0)
    yield "energy of actions", "uJ", 1e6 * np.cumsum(total)


def _counter_packets(number: int, name: str, unit: str, times: Integers, values: NDArray[np.float64]) -> bytes:
    """A counter's track and values; a counter that never moves has none."""
    if not values.any():
        return b""
    counter = message((_COUNTER_UNIT, unit))
    track = _packet((_TRACK_DESCRIPTOR, message((_UUID, number), (_NAME, name), (_COUNTER, counter))))
    kind = constant(message((_EVENT_TYPE, _COUNT)), times.size)
    fields = joined([kind, varints(_TRACK, np.full(times.size, number), 4), doubles(_COUNTER_VALUE, values)])
    return track + _packets(times, varint_width(int(times.max(initial=0))), fields).tobytes()
