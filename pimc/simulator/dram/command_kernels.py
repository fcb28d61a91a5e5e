"""Compiled rules of one DRAM channel: when a command may issue, what must precede it, what it changes.

The layout of `state` (one channel) and `tables` is that of `dram_layout`; `counters` counts the commands, then the
cycles with an open row; a log may follow. A bank is numbered inside the channel; commands of wider reach ignore what
they do not address.
"""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, compiled, inlined
from pimc.simulator.dram.layout import (
    ALL_CLOSED,
    ANY_ROW,
    BANKS,
    CLOCK,
    CLOSER,
    CLOSES,
    COMMAND_TOTAL,
    FACT_COUNT,
    FACTS,
    FIRST_GROUP,
    GROUP_WIDTH,
    INNER,
    LAST_GROUP,
    LEVEL_FIRST,
    LEVEL_SPAN,
    LOG_WIDTH,
    MEMBERS,
    NEED_INNER,
    NEED_OUTER,
    NEEDS_REGISTER_MODE,
    OPEN_BANKS,
    OPEN_ROWS,
    OPEN_SINCE,
    OPENER,
    OPENS,
    OUTER,
    PERIOD,
    REFRESH_DUE,
    REFRESH_INTERVAL,
    REFRESHES,
    REGISTER_MODE,
    ROW_EFFECT,
    ROW_NEED,
    RULE_WIDTH,
    SCOPE,
    SWITCHES_MODE,
    WEIGHT,
)


@inlined
def _node(bank: int, span: int) -> int:
    """Number of the node of `span` banks that holds a bank; most are asked for a bank itself, without a division."""
    return bank if span == 1 else bank // span


@compiled(INTEGER, CYCLES, CYCLES, INTEGER, INTEGER)
def earliest(state: Any, tables: Any, command: int, bank: int) -> int:
    """First cycle at which no spacing rule forbids `command`."""
    cycle: int = state[tables[LEVEL_FIRST] + command]
    for level in range(1, tables[FACTS + FACT_COUNT * command + SCOPE] + 1):
        node = _node(bank, tables[LEVEL_SPAN + level])
        cycle = max(cycle, state[tables[LEVEL_FIRST + level] + tables[COMMAND_TOTAL] * node + command])
    return cycle


@compiled(INTEGER, CYCLES, CYCLES, *[INTEGER] * 3)
def prerequisite(state: Any, tables: Any, command: int, bank: int, row: int) -> int:
    """`command` itself when the rows that it needs are open (or closed), else the command that must come first."""
    fact = FACTS + FACT_COUNT * command
    need = tables[fact + ROW_NEED]
    if need == ANY_ROW:
        return command
    outer, inner = tables[fact + NEED_OUTER], tables[fact + NEED_INNER]
    block = OPEN_ROWS + _node(bank, outer) * outer
    closed = False
    for index in range(block + (0 if inner == 1 else bank % inner), block + outer, inner):
        if state[index] < 0:
            closed = True
        elif need == ALL_CLOSED or state[index] != row:
            closer: int = tables[fact + CLOSER]
            return closer
    if closed and need != ALL_CLOSED:
        opener: int = tables[fact + OPENER]
        return opener
    return command


@inlined
def due_bank(state: Any, tables: Any) -> int:
    """The bank whose refresh is due next, where the banks are refreshed one after the other."""
    bank: int = (state[REFRESH_DUE] // tables[REFRESH_INTERVAL] - 1) % tables[BANKS]
    return bank


@compiled(FLAG, CYCLES, CYCLES, INTEGER)
def needs_mode_switch(state: Any, tables: Any, command: int) -> bool:
    """Whether a request that ends in `command` finds the channel in the other mode."""
    needed: int = tables[FACTS + FACT_COUNT * command + NEEDS_REGISTER_MODE]
    return bool(needed != state[REGISTER_MODE])


@compiled(NOTHING, CYCLES, CYCLES, CYCLES, *[INTEGER] * 4)
def _change_rows(state: Any, tables: Any, counters: Any, command: int, bank: int, row: int, cycle: int) -> None:
    fact = FACTS + FACT_COUNT * command
    opens = tables[fact + ROW_EFFECT] == OPENS
    outer, inner = tables[fact + OUTER], tables[fact + INNER]
    block = OPEN_ROWS + bank // outer * outer
    was_open = state[OPEN_BANKS]
    for index in range(block + bank % inner, block + outer, inner):
        is_open = state[index] >= 0
        if opens and not is_open:
            state[OPEN_BANKS] += 1
        elif is_open and not opens:
            state[OPEN_BANKS] -= 1
        state[index] = row if opens else -1
    if was_open == 0 and state[OPEN_BANKS] > 0:
        state[OPEN_SINCE] = cycle
    elif was_open > 0 and state[OPEN_BANKS] == 0:
        counters[tables[COMMAND_TOTAL]] += (cycle - state[OPEN_SINCE]) * state[WEIGHT]


@compiled(INTEGER, CYCLES, *[INTEGER] * 3)
def _remember(state: Any, place: int, count: int, cycle: int) -> int:
    """Note that a command issues at `cycle`; return when the one `count` - 1 before it did."""
    for index in range(place + count - 1, place, -1):
        state[index] = state[index - 1]
    state[place] = cycle
    past: int = state[place + count - 1]
    return past


@inlined
def _delay_node(state: Any, tables: Any, group: int, node: int, cycle: int) -> None:
    """Apply the rules of a command at one level to one node."""
    total = tables[COMMAND_TOTAL]
    place = tables[LEVEL_FIRST + tables[group]] + total * node
    row = tables[group + 1]
    if row > 0:
        times, latencies = state[place : place + total], tables[row : row + total]
        for following in range(total):
            times[following] = max(times[following], cycle + latencies[following])
    for rule in range(tables[group + 2], tables[group + 3], RULE_WIDTH):
        past = cycle
        count = tables[rule + 2]
        if count > 1:
            past = _remember(state, tables[rule + 3] + count * node, count, cycle)
        index = place + tables[rule]
        state[index] = max(state[index], past + tables[rule + 1])


@compiled(NOTHING, CYCLES, CYCLES, *[INTEGER] * 3)
def _delay(state: Any, tables: Any, command: int, bank: int, cycle: int) -> None:
    """Apply the spacing rules of `command`, issued at `cycle`, to every node that it reaches."""
    fact = FACTS + FACT_COUNT * command
    outer, inner = tables[fact + OUTER], tables[fact + INNER]
    for group in range(tables[fact + FIRST_GROUP], tables[fact + LAST_GROUP], GROUP_WIDTH):
        level = tables[group]
        span = tables[LEVEL_SPAN + level]
        if outer <= span:
            first = _node(bank, span)
            last, step = first + 1, 1
        else:
            block = _node(bank, outer) * outer
            first, last = (block + bank % inner) // span, (block + outer) // span
            step = max(1, inner // span)
        for node in range(first, last, step):
            _delay_node(state, tables, group, node, cycle)


@compiled(NOTHING, CYCLES, CYCLES, CYCLES, *[INTEGER] * 5)
def _log(state: Any, tables: Any, counters: Any, command: int, bank: int, row: int, cycle: int, repeat: int) -> None:
    """Note a run of commands behind the counters; what finds no room is only counted."""
    place = tables[COMMAND_TOTAL] + 1
    first = place + 1 + LOG_WIDTH * counters[place]
    counters[place] += 1
    if first + LOG_WIDTH <= counters.size:
        counters[first] = cycle
        counters[first + 1] = command
        counters[first + 2] = bank
        counters[first + 3] = row
        counters[first + 4] = repeat
        counters[first + 5] = tables[FACTS + FACT_COUNT * command + PERIOD]
        counters[first + 6] = state[MEMBERS]


@compiled(NOTHING, CYCLES, CYCLES, CYCLES, *[INTEGER] * 5)
def issue(state: Any, tables: Any, counters: Any, command: int, bank: int, row: int, cycle: int, repeat: int) -> None:
    """Issue `command` for the `repeat`-th time in a regular run, at `cycle`; the caller knows that it is legal."""
    counters[command] += repeat * state[WEIGHT]
    state[CLOCK] = cycle + 1
    _delay(state, tables, command, bank, cycle)
    effect = tables[FACTS + FACT_COUNT * command + ROW_EFFECT]
    if effect in (OPENS, CLOSES):
        _change_rows(state, tables, counters, command, bank, row, cycle)
    elif effect == SWITCHES_MODE:
        state[REGISTER_MODE] = 1 - state[REGISTER_MODE]
    elif effect == REFRESHES:
        state[REFRESH_DUE] += tables[REFRESH_INTERVAL]
    if counters.size > tables[COMMAND_TOTAL] + 1:
        _log(state, tables, counters, command, bank, row, cycle, repeat)
