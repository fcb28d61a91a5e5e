"""Compiled engine of runs without data: sequencer, hazards, vector unit and channels of one entry.

It does what `engine.Engine` and `scoreboard.Scoreboard` do, on the tables of `timing_tables`. At anything out of the
ordinary (an address outside its memory, a number of more than 62 bits) it stops; the plain engine then says what it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pimc.simulator.channel_kernels import execute
from pimc.simulator.compiled import (
    CYCLES,
    FLAG,
    INTEGER,
    NOTHING,
    TABLE,
    borrowed,
    compiled,
    compiled_when_called,
    inlined,
)
from pimc.simulator.decoding import CHANNEL, VECTOR
from pimc.simulator.timing_board_kernels import CLOCK, earliest_start, remember, wait_for_queue
from pimc.simulator.timing_tables import (
    ACCESS_KIND,
    ACCESS_WIDTH,
    ADD,
    AND,
    BANK_RANGE,
    BANKS,
    BASE,
    BY_CHANNEL,
    CHECK_WIDTH,
    DIVU,
    END,
    HALT,
    LDS,
    LENGTH,
    LI,
    LOOP,
    MIN,
    MOST_ACCESSES,
    MOST_CHECKS,
    MOST_OPERANDS,
    MOST_WAITS,
    MUL,
    NO_ACCESS,
    NO_CHECK,
    ON_CHANNELS,
    OR,
    READ,
    REMU,
    ROW_STRIDE,
    ROWS,
    SHL,
    SHR,
    SKIPZ,
    STEP,
    STRIPES,
    STS,
    SUB,
    WRITE,
    TimingTables,
)

# Position in time and program: cycle of the next hand-over (`CLOCK`), instruction, cycle at which the vector unit is
# free, loops under way, registers that a unit has yet to return, end of the last channel instruction, entries of the
# undo log.
COUNTER, VECTOR_FREE, DEPTH, PENDING, FINISH, UNDONE = range(1, 7)
POSITION = 7

MOST_LOOPS = 64
LOOP_WIDTH = 4
"""Values of a running loop: first instruction of the body, register, count, iteration."""

MOST_UNDONE = 4096
_LARGEST = 1 << 61
_LARGEST_FACTOR = 1 << 30

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


@compiled(FLAG, INTEGER, CYCLES, CYCLES)
def _compute(opcode: int, values: Any, registers: Any) -> bool:
    """Integer arithmetic; false when the numbers are too large or not allowed."""
    target, b = values[0], values[2]
    if opcode == LI:
        registers[target] = values[1]
        return bool(-_LARGEST < values[1] < _LARGEST)
    a = registers[values[1]]
    if max(abs(a), abs(b)) >= _LARGEST or (opcode == MUL and max(abs(a), abs(b)) >= _LARGEST_FACTOR):
        return False
    if opcode in (DIVU, REMU) and b < 1:
        return False
    if opcode in (SHL, SHR) and (not 0 <= b < 61 or (opcode == SHL and abs(a) >= _LARGEST >> b)):
        return False
    if opcode == ADD:
        result = a + b
    elif opcode == SUB:
        result = a - b
    elif opcode == MUL:
        result = a * b
    elif opcode == DIVU:
        result = a // b
    elif opcode == REMU:
        result = a % b
    elif opcode == AND:
        result = a & b
    elif opcode == OR:
        result = a | b
    elif opcode == SHL:
        result = a << b
    elif opcode == SHR:
        result = a >> b
    elif opcode == MIN:
        result = min(a, b)
    else:
        result = max(a, b)
    registers[target] = result
    return True


@compiled(FLAG, CYCLES, CYCLES, TABLE, CYCLES, INTEGER)
def _begin_loop(values: Any, registers: Any, loops: Any, position: Any, loop_end: int) -> bool:
    count = values[1]
    if count < 0 or position[DEPTH] == MOST_LOOPS:
        return False
    if count == 0:
        position[COUNTER] = loop_end + 1
        return True
    registers[values[0]] = 0
    loop = loops[position[DEPTH]]
    loop[0], loop[1], loop[2], loop[3] = position[COUNTER], values[0], count, 0
    position[DEPTH] += 1
    return True


@compiled(NOTHING, CYCLES, TABLE, CYCLES)
def _end_loop(registers: Any, loops: Any, position: Any) -> None:
    loop = loops[position[DEPTH] - 1]
    loop[3] += 1
    if loop[3] < loop[2]:
        registers[loop[1]] = loop[3]
        position[COUNTER] = loop[0]
    else:
        position[DEPTH] -= 1


@compiled(NOTHING, CYCLES, CYCLES, INTEGER, CYCLES)
def _extent(values: Any, coordinates: Any, channels: int, extent: Any) -> None:
    """Smallest and largest offset of the channels of a transfer, and how many different ones there are.

    `extent` keeps the latest coordinates and their result.
    """
    mask, divisor = values[coordinates[0]], values[coordinates[1]]
    by_quotient, by_remainder = values[coordinates[2]], values[coordinates[3]]
    if extent[0] == mask and extent[1] == divisor and extent[2] == by_quotient and extent[3] == by_remainder:
        return
    extent[0], extent[1], extent[2], extent[3] = mask, divisor, by_quotient, by_remainder
    extent[4], extent[5], extent[6] = 1 << 62, 0, 0
    for channel in range(channels):
        if not mask >> channel & 1:
            continue
        offset = channel // divisor * by_quotient + channel % divisor * by_remainder
        is_new = True
        for earlier in range(channel):
            if mask >> earlier & 1:
                is_new &= earlier // divisor * by_quotient + earlier % divisor * by_remainder != offset
        extent[4] = min(extent[4], offset)
        extent[5] = max(extent[5], offset)
        extent[6] += is_new


@compiled(FLAG, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, INTEGER)
def _spans(values: Any, accesses: Any, extent: Any, spans: Any, counts: Any, words: int) -> bool:
    """Words of the shared buffer that an instruction accesses; false when they lie outside.

    Args:
        values: Row of values.
        accesses: As `TimingTables.accesses`.
        extent: Of the channels, as `_extent` leaves it.
        spans: [3 * MOST_ACCESSES] kind, first word, word after the last of each.
        counts: Words read and written, filled.
        words: Size of the shared buffer.
    """
    counts[0], counts[1] = 0, 0
    for number in range(MOST_ACCESSES):
        at = ACCESS_WIDTH * number
        kind = accesses[at + ACCESS_KIND]
        spans[3 * number] = kind
        if kind == NO_ACCESS:
            continue
        rows, length = values[accesses[at + ROWS]], values[accesses[at + LENGTH]]
        if rows == 0 or length == 0:
            spans[3 * number] = NO_ACCESS
            continue
        reach = (rows - 1) * values[accesses[at + ROW_STRIDE]] + (length - 1) * values[accesses[at + STEP]]
        low = values[accesses[at + BASE]]
        high = low + reach + 1
        moved = rows * length
        if accesses[at + BY_CHANNEL]:
            low += extent[4]
            high += extent[5]
            moved *= extent[6]
        if low < 0 or high > words:
            return False
        spans[3 * number + 1], spans[3 * number + 2] = low, high
        counts[0] += moved if kind != WRITE else 0
        counts[1] += moved if kind != READ else 0
    return True


@compiled(FLAG, CYCLES, INTEGER, INTEGER, TABLE, FLAG)
def _in_one_region(values: Any, first: int, columns: int, regions: Any, writes: bool) -> bool:
    for index in range(regions.shape[0]):
        if regions[index, 0] <= first < regions[index, 1]:
            return bool(first + columns <= regions[index, 1] and (regions[index, 2] or not writes))
    return False


@compiled(FLAG, CYCLES, CYCLES, TABLE, INTEGER)
def _is_allowed(values: Any, checks: Any, regions: Any, all_channels: int) -> bool:
    """Whether an instruction of the channels stays inside their memories."""
    if not 0 < values[0] <= all_channels:
        return False
    for number in range(MOST_CHECKS):
        at = CHECK_WIDTH * number
        if checks[at] == NO_CHECK:
            break
        first, ranges = values[checks[at + 1]], values[checks[at + 2]]
        columns = (ranges - 1) * values[checks[at + 3]] + values[checks[at + 4]]
        if checks[at] == BANK_RANGE:
            if not _in_one_region(values, first, columns, regions, checks[at + 5] != 0):
                return False
        elif first < 0 or columns < 0 or first + columns > checks[at + 5]:
            return False
    return True


@inlined
def _count(now: Any, counts: Any, words: Any, unit: int, start: int, end: int) -> None:
    counts[BUSY] += end - start
    counts[WORDS_READ] += words[0]
    counts[WORDS_WRITTEN] += words[1]
    if end > now.unit_ends[unit]:
        now.unit_cycles[unit] += end - max(start, now.unit_ends[unit])
        now.unit_ends[unit] = end


@inlined
def _on_channels(now: Any, values: Any, recipe: Any, counts: Any, ready: int) -> tuple[int, int]:
    start, end = execute(
        now.channels,
        now.channel_tables,
        now.channel_counters,
        recipe[0],
        recipe[1],
        values[recipe[2]],
        values[recipe[3]],
        values[recipe[4]],
        values[recipe[5]],
        values[recipe[6]],
        values[recipe[7]],
        ready,
    )
    now.position[FINISH] = max(now.position[FINISH], end)
    for command in range(counts.size - FIRST_COMMAND):
        counts[FIRST_COMMAND + command] += now.channel_counters[1, command]
    return start, end


@inlined
def _on_vector_unit(now: Any, values: Any, places: Any, cycles: Any, counts: Any, lanes: int, ready: int) -> Any:
    elements = values[places[0]] * values[places[1]]
    counts[ELEMENTS] += elements
    start = max(ready, now.position[VECTOR_FREE])
    end = start + cycles[0] + cycles[1] * -(-elements // lanes)
    now.position[VECTOR_FREE] = end
    return start, end


@inlined
def _access_scalar(now: Any, opcode: int, values: Any, end: int) -> bool:
    """Let `lds` and `sts` access the shared buffer; false when the number does not fit."""
    position = now.position
    if opcode == LDS:
        now.registers[values[0]] = now.shared[values[1]]
        position[PENDING] += now.pending[values[0]] < 0
        now.pending[values[0]] = end
        return True
    value = now.registers[values[1]]
    if not -(1 << 31) <= value < 1 << 31 or position[UNDONE] == MOST_UNDONE:
        return False
    now.undone[position[UNDONE], 0] = values[0]
    now.undone[position[UNDONE], 1] = now.shared[values[0]]
    position[UNDONE] += 1
    now.shared[values[0]] = value
    return True


@compiled_when_called
def _hand_over(program: Any, now: Any, machine: Any, index: int, values: Any, spans: Any, words: Any) -> bool:
    """Give an instruction to its unit; false at anything out of the ordinary."""
    opcode = program.opcode[index]
    unit, other = (CHANNEL, VECTOR) if opcode == ON_CHANNELS else (VECTOR, CHANNEL)
    first, second = values[program.needed[index, 0]], values[program.needed[index, 1]]
    if first <= 0 or second <= 0:
        return bool(first >= 0 and second >= 0)
    extent, counts = now.extents[index], now.counts[index]
    if opcode == ON_CHANNELS:
        if values[program.coordinates[index, 1]] > 0:
            _extent(values, program.coordinates[index], machine.channels, extent)
        elif program.accesses[index, ACCESS_KIND] != NO_ACCESS:
            return False
        if not _is_allowed(values, program.checks[index], program.regions, (1 << machine.channels) - 1):
            return False
    if not _spans(values, program.accesses[index], extent, spans, words, now.shared.size):
        return False
    waiting, records = now.waiting[unit], now.records[unit]
    wait_for_queue(waiting, now.position, machine.queue_depth)
    ready = earliest_start(spans, now.position, now.records[other], records, unit)
    if opcode == ON_CHANNELS:
        start, end = _on_channels(now, values, program.recipes[index], counts, ready)
    else:
        cycles, places = program.cycles[index], program.elements[index]
        start, end = _on_vector_unit(now, values, places, cycles, counts, machine.lanes, ready)
    if not remember(spans, now.position, records, waiting, start, end):
        return False
    _count(now, counts, words, unit, start, end)
    return opcode not in (LDS, STS) or _access_scalar(now, opcode, values, end)


@inlined
def _resolve(program: Any, now: Any, index: int, values: Any) -> None:
    for place in range(MOST_OPERANDS):
        values[place] = program.immediates[index, place] + now.registers[program.registers[index, place]]
    values[STRIPES] = -(-values[3] // values[BANKS])


@inlined
def _wait_for_registers(program: Any, now: Any, index: int) -> None:
    """Stall until every register of the instruction has been returned."""
    for place in range(MOST_WAITS):
        register = program.waits[index, place]
        if register < 0:
            break
        if now.pending[register] >= 0:
            now.position[CLOCK] = max(now.position[CLOCK], now.pending[register])
            now.pending[register] = -1
            now.position[PENDING] -= 1


@inlined
def _control(program: Any, now: Any, opcode: int, index: int, values: Any) -> bool:
    """An instruction of the sequencer; false at anything out of the ordinary."""
    position = now.position
    if opcode == LOOP:
        return _begin_loop(values, now.registers, now.loops, position, program.loop_ends[index])
    if opcode == END:
        _end_loop(now.registers, now.loops, position)
        return True
    if opcode == SKIPZ:
        if now.registers[values[0]] == 0:
            position[COUNTER] = values[1]
        return True
    return _compute(opcode, values, now.registers)


@inlined
def _borrowed_program(program: Any) -> Any:
    return TimingTables(
        borrowed(program.opcode),
        borrowed(program.immediates),
        borrowed(program.registers),
        borrowed(program.waits),
        borrowed(program.accesses),
        borrowed(program.needed),
        borrowed(program.coordinates),
        borrowed(program.elements),
        borrowed(program.cycles),
        borrowed(program.recipes),
        borrowed(program.checks),
        borrowed(program.loop_ends),
        borrowed(program.regions),
        borrowed(program.constants),
    )


@inlined
def _borrowed_state(now: Any) -> Any:
    return TimingState(
        borrowed(now.position),
        borrowed(now.registers),
        borrowed(now.pending),
        borrowed(now.loops),
        borrowed(now.records),
        borrowed(now.waiting),
        borrowed(now.extents),
        borrowed(now.counts),
        borrowed(now.unit_cycles),
        borrowed(now.unit_ends),
        borrowed(now.shared),
        borrowed(now.undone),
        borrowed(now.channels),
        borrowed(now.channel_tables),
        borrowed(now.channel_counters),
    )


@compiled_when_called
def run_program(program: Any, now: Any, machine: Any) -> bool:
    """Run from `position[COUNTER]` to `halt`.

    Args:
        program: `TimingTables`.
        now: `TimingState`.
        machine: `TimingLimits`.

    Returns:
        Whether it got there; otherwise `now` is of no use.
    """
    program, now = _borrowed_program(program), _borrowed_state(now)
    position = now.position
    values = program.constants.copy()
    spans = np.zeros(3 * MOST_ACCESSES, dtype=np.int64)
    words = np.zeros(2, dtype=np.int64)
    while 0 <= position[COUNTER] < program.opcode.size:
        index = position[COUNTER]
        opcode = program.opcode[index]
        position[COUNTER] = index + 1
        _resolve(program, now, index, values)
        now.counts[index, EXECUTED] += 1
        if position[PENDING] > 0:
            _wait_for_registers(program, now, index)
        if opcode == HALT:
            position[CLOCK] += machine.period
            return True
        if opcode >= LDS:
            if not _hand_over(program, now, machine, index, values, spans, words):
                return False
        elif not _control(program, now, opcode, index, values):
            return False
        position[CLOCK] += machine.period
    return False
