"""The work that a trace gives to the channels, which its logged commands follow from."""

from __future__ import annotations

import numpy as np

from pimc.simulator.recording.command_log import ChannelWork, Integers
from pimc.simulator.traces.aim.text import COMMAND, COUNT, MASK, NO_COMMAND


def trace_work(lines: Integers) -> ChannelWork:
    """Work of a decoded trace; nodes are the numbers of the instructions, from 1.

    Args:
        lines: As `AimTrace.lines`.
    """
    given = np.flatnonzero(lines[:, COMMAND] != NO_COMMAND)
    zeros, ones = np.zeros(given.size, np.int64), np.ones(given.size, np.int64)
    return ChannelWork(
        command=lines[given, COMMAND],
        mask=lines[given, MASK],
        first=zeros,
        columns=lines[given, COUNT],
        ranges=ones,
        stride=zeros,
        step=ones,
        beats=ones,
        node=given,
        nodes=tuple(f"instruction {number}" for number in range(1, lines.shape[0] + 1)),
    )
