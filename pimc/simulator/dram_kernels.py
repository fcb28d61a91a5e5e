"""Compiled rules of one DRAM channel: when a command may issue, what must precede it, what it changes.

The layout of `state` (one channel), `tables` and `counters` is that of `dram_tables`. A bank is numbered inside the
channel, group * banks_per_group + bank; commands of wider scope ignore what they do not address.
"""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, compiled
from pimc.simulator.dram_tables import (
    ACT,
    ACT16,
    BANK,
    BANKS,
    BANKS_PER_GROUP,
    CHANNEL,
    CLOCK,
    COMMAND_COUNT,
    FACT_COUNT,
    FACTS,
    FIRST_RULE,
    GROUP,
    LAST_RULE,
    NEEDS_REGISTER_MODE,
    OPEN_BANKS,
    OPEN_CYCLES,
    OPEN_IN_ALL_BANKS,
    OPEN_ROWS,
    OPEN_SINCE,
    PRE,
    PREA,
    REFRESH_DUE,
    REFRESH_INTERVAL,
    REGISTER_MODE,
    ROW_EFFECT,
    ROW_NEED,
    SCOPE,
    TMOD,
    WEIGHT,
    REFab,
)


@compiled(INTEGER, CYCLES, CYCLES, INTEGER, INTEGER)
def earliest(state: Any, tables: Any, command: int, bank: int) -> int:
    """First cycle at which no spacing rule forbids `command`."""
    level = OPEN_ROWS + tables[BANKS]
    cycle: int = state[level + command]
    scope = tables[FACTS + FACT_COUNT * command + SCOPE]
    if scope >= GROUP:
        groups = tables[BANKS] // tables[BANKS_PER_GROUP]
        group = bank // tables[BANKS_PER_GROUP]
        cycle = max(cycle, state[level + COMMAND_COUNT * (1 + group) + command])
        if scope == BANK:
            cycle = max(cycle, state[level + COMMAND_COUNT * (1 + groups + bank) + command])
    return cycle


@compiled(INTEGER, CYCLES, CYCLES, *[INTEGER] * 3)
def prerequisite(state: Any, tables: Any, command: int, bank: int, row: int) -> int:
    """`command` itself when the rows that it needs are open, else the command that must come first."""
    need = tables[FACTS + FACT_COUNT * command + ROW_NEED]
    if need == OPEN_IN_ALL_BANKS:
        closed = False
        for index in range(OPEN_ROWS, OPEN_ROWS + tables[BANKS]):
            if state[index] < 0:
                closed = True
            elif state[index] != row:
                return PREA
        return ACT16 if closed else command
    if need == 0 or state[OPEN_ROWS + bank] == row:
        return command
    return ACT if state[OPEN_ROWS + bank] < 0 else PRE


@compiled(FLAG, CYCLES, CYCLES, INTEGER)
def needs_mode_switch(state: Any, tables: Any, command: int) -> bool:
    """Whether a request that ends in `command` finds the channel in the other mode."""
    needed: int = tables[FACTS + FACT_COUNT * command + NEEDS_REGISTER_MODE]
    return bool(needed != state[REGISTER_MODE])


@compiled(NOTHING, CYCLES, CYCLES, CYCLES, *[INTEGER] * 4)
def _change_rows(state: Any, tables: Any, counters: Any, command: int, bank: int, row: int, cycle: int) -> None:
    effect = tables[FACTS + FACT_COUNT * command + ROW_EFFECT]
    scope = tables[FACTS + FACT_COUNT * command + SCOPE]
    first, count = bank, 1
    if scope == CHANNEL:
        first, count = 0, tables[BANKS]
    elif scope == GROUP:
        count = tables[BANKS_PER_GROUP]
        first = bank // count * count
    was_open = state[OPEN_BANKS]
    for index in range(OPEN_ROWS + first, OPEN_ROWS + first + count):
        is_open = state[index] >= 0
        if effect > 0 and not is_open:
            state[OPEN_BANKS] += 1
        elif effect < 0 and is_open:
            state[OPEN_BANKS] -= 1
        state[index] = row if effect > 0 else -1
    if was_open == 0 and state[OPEN_BANKS] > 0:
        state[OPEN_SINCE] = cycle
    elif was_open > 0 and state[OPEN_BANKS] == 0:
        counters[OPEN_CYCLES] += (cycle - state[OPEN_SINCE]) * state[WEIGHT]


@compiled(NOTHING, CYCLES, CYCLES, CYCLES, *[INTEGER] * 5)
def issue(
    state: Any, tables: Any, counters: Any, command: int, bank: int, row: int, cycle: int, repeat: int
) -> None:
    """Issue `command` for the `repeat`-th time in a regular run, at `cycle`; the caller knows that it is legal."""
    fact = FACTS + FACT_COUNT * command
    counters[command] += repeat * state[WEIGHT]
    state[CLOCK] = cycle + 1
    channel_level = OPEN_ROWS + tables[BANKS]
    group_level = bank_level = channel_level
    scope = tables[fact + SCOPE]
    if scope != CHANNEL:
        group_level += COMMAND_COUNT * (1 + bank // tables[BANKS_PER_GROUP])
        bank_level += COMMAND_COUNT * (1 + tables[BANKS] // tables[BANKS_PER_GROUP] + bank)
    for rule in range(tables[fact + FIRST_RULE], tables[fact + LAST_RULE], 3):
        rule_scope = tables[rule]
        if rule_scope > scope:
            continue
        level = channel_level
        if rule_scope == GROUP:
            level = group_level
        elif rule_scope == BANK:
            level = bank_level
        index = level + tables[rule + 1]
        state[index] = max(state[index], cycle + tables[rule + 2])
    if tables[fact + ROW_EFFECT] != 0:
        _change_rows(state, tables, counters, command, bank, row, cycle)
    elif command == TMOD:
        state[REGISTER_MODE] = 1 - state[REGISTER_MODE]
    elif command == REFab:
        state[REFRESH_DUE] += tables[REFRESH_INTERVAL]
