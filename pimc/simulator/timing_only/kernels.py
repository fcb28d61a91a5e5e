"""Compiled engine of runs without data: sequencer, hazards, vector unit and channels of one entry.

It does what `engine.Engine` and `scoreboard.Scoreboard` do, on the tables of `timing_tables`. At anything out of the
ordinary (an address outside its memory, a number of more than 62 bits) it stops; the plain engine then says what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

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
from pimc.simulator.dram.channel_kernels import execute
from pimc.simulator.engine.decoding import CHANNEL, VECTOR
from pimc.simulator.timing_only.access_kernels import find_extent, find_spans, is_allowed
from pimc.simulator.timing_only.board_kernels import CLOCK, earliest_start, remember, wait_for_queue
from pimc.simulator.timing_only.state import (
    BUSY,
    COUNTER,
    DEPTH,
    ELEMENTS,
    EXECUTED,
    FINISH,
    FIRST_COMMAND,
    LARGEST,
    LARGEST_FACTOR,
    MOST_LOOPS,
    MOST_UNDONE,
    PENDING,
    UNDONE,
    VECTOR_FREE,
    WORDS_READ,
    WORDS_WRITTEN,
    TimingState,
)
from pimc.simulator.timing_only.tables import (
    ACCESS_KIND,
    ADD,
    AND,
    BANKS,
    DIVU,
    END,
    HALT,
    LDS,
    LI,
    LOOP,
    MIN,
    MOST_ACCESSES,
    MOST_OPERANDS,
    MOST_WAITS,
    MUL,
    NO_ACCESS,
    ON_CHANNELS,
    OR,
    REMU,
    SHL,
    SHR,
    SKIPZ,
    STRIPES,
    STS,
    SUB,
    TimingTables,
)


@inlined
def _is_computable(opcode: int, a: int, b: int) -> bool:
    """Whether the operands are allowed and the result keeps below the largest number."""
    if max(abs(a), abs(b)) >= LARGEST or (opcode == MUL and max(abs(a), abs(b)) >= LARGEST_FACTOR):
        return False
    if opcode in (DIVU, REMU) and b < 1:
        return False
    return not (opcode in (SHL, SHR) and (not 0 <= b < 61 or (opcode == SHL and abs(a) >= LARGEST >> b)))


@inlined
def _arithmetic(opcode: int, a: int, b: int) -> Any:
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
    return result


@compiled(FLAG, INTEGER, CYCLES, CYCLES)
def _compute(opcode: int, values: Any, registers: Any) -> bool:
    """Integer arithmetic; false when the numbers are too large or not allowed."""
    target, b = values[0], values[2]
    if opcode == LI:
        registers[target] = values[1]
        return bool(-LARGEST < values[1] < LARGEST)
    a = registers[values[1]]
    if not _is_computable(opcode, a, b):
        return False
    registers[target] = _arithmetic(opcode, a, b)
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
        now.channel_memory,
        recipe[0],
        recipe[1],
        values[recipe[2]],
        values[recipe[3]],
        values[recipe[4]],
        values[recipe[5]],
        values[recipe[6]],
        values[recipe[7]],
        1,
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


@inlined
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
            find_extent(values, program.coordinates[index], machine.channels, extent)
        elif program.accesses[index, ACCESS_KIND] != NO_ACCESS:
            return False
        if not is_allowed(values, program.checks[index], program.regions, (1 << machine.channels) - 1):
            return False
    if not find_spans(values, program.accesses[index], extent, spans, words, now.shared.size):
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
        borrowed(now.channel_memory),
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
