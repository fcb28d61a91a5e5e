"""What the compiled engine of runs without data keeps: position, counts, and the arrays that its kernels share."""

from __future__ import annotations

from typing import Any, NamedTuple

# Position in time and program: cycle of the next hand-over (`CLOCK`), instruction, cycle at which the vector unit is
# free, loops under way, registers that a unit has yet to return, end of the last channel instruction, entries of the
# undo log.
COUNTER, VECTOR_FREE, DEPTH, PENDING, FINISH, UNDONE = range(1, 7)
POSITION = 7

MOST_LOOPS = 64
LOOP_WIDTH = 4
"""Values of a running loop: first instruction of the body, register, count, iteration."""

MOST_UNDONE = 4096
LARGEST = 1 << 61
LARGEST_FACTOR = 1 << 30

# Counts of an instruction: times executed, busy cycles, elements, words read and written; commands follow.
EXECUTED, BUSY, ELEMENTS, WORDS_READ, WORDS_WRITTEN, FIRST_COMMAND = range(6)

EXTENT = 7
"""Mask, divisor and strides of a transfer; smallest and largest offset of a channel, number of different ones."""


class TimingLimits(NamedTuple):
    """Sizes of a machine.

    Attributes:
        period: Cycles from one hand-over to the next.
        queue_depth: Instructions that wait for a unit.
        channels: Channels.
        lanes: Lanes of the vector unit.
    """

    period: int
    queue_depth: int
    channels: int
    lanes: int


class TimingState(NamedTuple):
    """What changes while a program runs.

    Attributes:
        position: `CLOCK` to `UNDONE`.
        registers: Scalar registers and the zero register.
        pending: For each register the cycle at which a unit returns it, -1 when none will.
        loops: [MOST_LOOPS, LOOP_WIDTH], the innermost last.
        records: [units, RECORDS] accesses under way.
        waiting: [units, WAITING] starts in the queues.
        extents: [instructions, EXTENT] of the channels, of the latest execution.
        counts: [instructions, FIRST_COMMAND + commands].
        unit_cycles: [units] cycles in which each worked on anything.
        unit_ends: [units] cycle up to which they are counted.
        shared: The shared buffer as int32 words.
        undone: [MOST_UNDONE, 2] words that were overwritten, and what they held.
        channels: State of the channels.
        channel_tables: Their tables.
        channel_counters: Their counters.
        channel_memory: Their memory of rows.
    """

    position: Any
    registers: Any
    pending: Any
    loops: Any
    records: Any
    waiting: Any
    extents: Any
    counts: Any
    unit_cycles: Any
    unit_ends: Any
    shared: Any
    undone: Any
    channels: Any
    channel_tables: Any
    channel_counters: Any
    channel_memory: Any
