"""Compiled controller of one channel of the published HBM-PIM simulator: queues, barriers, early precharges, modes.

Each cycle one transaction moves to the command queue and at most one command issues: what a refresh needs, else the
first ready column command of those up to the first barrier (a barrier alone at the head), else the first activation
that one of these waits for, else a precharge of a row that none of them wants. In all-bank mode the first banks stand
for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, TABLE, compiled, compiled_with_arrays
from pimc.simulator.dram.command_kernels import earliest, issue
from pimc.simulator.dram.layout import COMPLETION, FACT_COUNT, FACTS, OPEN_ROWS

# Columns of the table of transactions.
COMMAND, BANK, ROW, COLUMN, BARRIER = range(5)
# Parameters of the controller.
TRANSACTION_DEPTH, QUEUE_DEPTH, REFRESH_INTERVAL, RANKS, BANKS_PER_RANK, ALL_BANK_BANKS = range(6)
ENTER_COMMAND, ENTER_ROW, ENTER_BANKS, LEAVE_COMMAND, LEAVE_ROW, LEAVE_BANKS = range(6, 12)
ACTIVATE, PRECHARGE, REFRESH = range(12, 15)
PARAMETERS = 15
# Ledger of a channel: cycle, transactions accepted, transactions moved to the command queue, size of that queue, place
# where the search for a row to close goes on, whether a refresh waits, its rank, refreshes that fell due, all-bank
# mode, banks in which the row of a mode switch was addressed, cycle in which the last transaction ends, commands
# logged.
CLOCK, ACCEPTED, MOVED, QUEUED, NEXT_CLOSE, REFRESH_WAITS, REFRESH_RANK, REFRESHES, ALL_BANK, ADDRESSED = range(10)
END, LOGGED = 10, 11
LEDGER = 12
LOG_WIDTH = 6
"""Columns of the log: cycle, command, bank, row, transaction (-1 for none), all-bank mode after the command."""


@compiled(NOTHING, CYCLES, CYCLES, *[INTEGER] * 3)
def _switch_mode(ledger: Any, parameters: Any, command: int, bank: int, row: int) -> None:
    """Change between single-bank and all-bank mode when the row of the switch was addressed in all of its banks."""
    switch = LEAVE_COMMAND if ledger[ALL_BANK] else ENTER_COMMAND
    if command != parameters[switch] or row != parameters[switch + 1]:
        return
    ledger[ADDRESSED] |= parameters[switch + 2] & (1 << bank)
    if ledger[ADDRESSED] == parameters[switch + 2]:
        ledger[ADDRESSED] = 0
        ledger[ALL_BANK] = 1 - ledger[ALL_BANK]


@compiled(FLAG, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, TABLE, *[INTEGER] * 4)
def _try(
    state: Any,
    tables: Any,
    counters: Any,
    ledger: Any,
    parameters: Any,
    log: Any,
    command: int,
    bank: int,
    row: int,
    transaction: int,
) -> bool:
    """Issue `command` if it is legal in this cycle."""
    cycle = ledger[CLOCK]
    if earliest(state, tables, command, bank) > cycle:
        return False
    issue(state, tables, counters, command, bank, row, cycle, 1)
    _switch_mode(ledger, parameters, command, bank, row)
    place = ledger[LOGGED]
    log[place, 0], log[place, 1], log[place, 2], log[place, 3] = cycle, command, bank, row
    log[place, 4], log[place, 5] = transaction, ledger[ALL_BANK]
    ledger[LOGGED] += 1
    return True


@compiled(FLAG, CYCLES, CYCLES, CYCLES, CYCLES, CYCLES, TABLE)
def _serve_refresh(state: Any, tables: Any, counters: Any, ledger: Any, parameters: Any, log: Any) -> bool:
    """Close a row of the rank that waits for a refresh, or refresh it."""
    if not ledger[REFRESH_WAITS]:
        return False
    first = ledger[REFRESH_RANK] * parameters[BANKS_PER_RANK]
    closed = True
    for bank in range(first, first + parameters[BANKS_PER_RANK]):
        row = state[OPEN_ROWS + bank]
        if row >= 0:
            closed = False
            if _try(state, tables, counters, ledger, parameters, log, parameters[PRECHARGE], bank, row, -1):
                return True
    if closed and _try(state, tables, counters, ledger, parameters, log, parameters[REFRESH], first, -1, -1):
        ledger[REFRESH_WAITS] = 0
        return True
    return False


@compiled(FLAG, TABLE, CYCLES, INTEGER)
def _repeats_earlier(transactions: Any, queue: Any, place: int) -> bool:
    """Whether an earlier command of the queue goes to the same column."""
    own = queue[place]
    found = False
    for earlier in range(place):
        other = queue[earlier]
        found |= (
            transactions[own, BANK] == transactions[other, BANK]
            and transactions[own, ROW] == transactions[other, ROW]
            and transactions[own, COLUMN] == transactions[other, COLUMN]
        )
    return found


@compiled(FLAG, TABLE, *[CYCLES] * 6, TABLE)
def _serve_column(
    transactions: Any, queue: Any, state: Any, tables: Any, counters: Any, ledger: Any, parameters: Any, log: Any
) -> bool:
    """Issue the first column command that is ready, and take it out of the queue."""
    for place in range(ledger[QUEUED]):
        own = queue[place]
        barrier = transactions[own, BARRIER]
        if place > 0 and barrier:
            return False
        command, bank, row = transactions[own, COMMAND], transactions[own, BANK], transactions[own, ROW]
        may = state[OPEN_ROWS + bank] == row and not _repeats_earlier(transactions, queue, place)
        if may and _try(state, tables, counters, ledger, parameters, log, command, bank, row, own):
            done = ledger[CLOCK] + tables[FACTS + FACT_COUNT * command + COMPLETION]
            ledger[END] = max(ledger[END], done)
            for later in range(place, ledger[QUEUED] - 1):
                queue[later] = queue[later + 1]
            ledger[QUEUED] -= 1
            return True
        if barrier:
            return False
    return False


@compiled(FLAG, TABLE, *[CYCLES] * 6, TABLE)
def _serve_activation(
    transactions: Any, queue: Any, state: Any, tables: Any, counters: Any, ledger: Any, parameters: Any, log: Any
) -> bool:
    """Open the row of the first command whose bank is closed and may be opened."""
    for place in range(ledger[QUEUED]):
        own = queue[place]
        if place > 0 and transactions[own, BARRIER]:
            return False
        bank = transactions[own, BANK]
        stands_for_none = ledger[ALL_BANK] and bank % parameters[BANKS_PER_RANK] >= parameters[ALL_BANK_BANKS]
        if state[OPEN_ROWS + bank] >= 0 or stands_for_none:
            continue
        row = transactions[own, ROW]
        if _try(state, tables, counters, ledger, parameters, log, parameters[ACTIVATE], bank, row, own):
            return True
    return False


@compiled(FLAG, TABLE, *[CYCLES] * 3, INTEGER)
def _is_wanted(transactions: Any, queue: Any, state: Any, ledger: Any, bank: int) -> bool:
    """Whether a command up to the first barrier goes to the open row of `bank`."""
    for place in range(ledger[QUEUED]):
        own = queue[place]
        if transactions[own, BANK] == bank and transactions[own, ROW] == state[OPEN_ROWS + bank]:
            return True
        if transactions[own, BARRIER]:
            return False
    return False


@compiled(FLAG, TABLE, *[CYCLES] * 6, TABLE)
def _serve_precharge(
    transactions: Any, queue: Any, state: Any, tables: Any, counters: Any, ledger: Any, parameters: Any, log: Any
) -> bool:
    """Close a row that is not wanted, searching round the banks, the ranks of each in turn."""
    ranks, banks = parameters[RANKS], parameters[BANKS_PER_RANK]
    for step in range(ranks * banks):
        place = (ledger[NEXT_CLOSE] + step) % (ranks * banks)
        bank = place % ranks * banks + place // ranks
        row = state[OPEN_ROWS + bank]
        if row < 0 or _is_wanted(transactions, queue, state, ledger, bank):
            continue
        if _try(state, tables, counters, ledger, parameters, log, parameters[PRECHARGE], bank, row, -1):
            ledger[NEXT_CLOSE] = place
            return True
    return False


@compiled(NOTHING, CYCLES, CYCLES)
def _begin_refresh(ledger: Any, parameters: Any) -> None:
    """Let the refresh of the next rank wait when it falls due; the ranks are due one after the other."""
    ranks, interval = parameters[RANKS], parameters[REFRESH_INTERVAL]
    rank = ledger[REFRESHES] % ranks
    if ledger[CLOCK] == interval // ranks * (rank + 1) + interval * (ledger[REFRESHES] // ranks):
        ledger[REFRESH_WAITS] = 1
        ledger[REFRESH_RANK] = rank
        ledger[REFRESHES] += 1


@compiled(FLAG, TABLE, *[CYCLES] * 6, TABLE)
def _tick(
    transactions: Any, queue: Any, state: Any, tables: Any, counters: Any, ledger: Any, parameters: Any, log: Any
) -> bool:
    """One cycle; whether a command issued."""
    waiting = ledger[ACCEPTED] - ledger[MOVED]
    if ledger[ACCEPTED] < transactions.shape[0] and waiting < parameters[TRANSACTION_DEPTH]:
        ledger[ACCEPTED] += 1
    _begin_refresh(ledger, parameters)
    served = (
        _serve_refresh(state, tables, counters, ledger, parameters, log)
        or _serve_column(transactions, queue, state, tables, counters, ledger, parameters, log)
        or _serve_activation(transactions, queue, state, tables, counters, ledger, parameters, log)
        or _serve_precharge(transactions, queue, state, tables, counters, ledger, parameters, log)
    )
    if ledger[MOVED] < ledger[ACCEPTED] and ledger[QUEUED] < parameters[QUEUE_DEPTH]:
        queue[ledger[QUEUED]] = ledger[MOVED]
        ledger[QUEUED] += 1
        ledger[MOVED] += 1
    ledger[CLOCK] += 1
    return bool(served)


@compiled_with_arrays(TABLE, TABLE, *[CYCLES] * 5)
def run_transactions(transactions: Any, state: Any, tables: Any, counters: Any, ledger: Any, parameters: Any) -> Any:
    """Run transactions until all have ended, from the cycle of the ledger on.

    Args:
        transactions: [transactions, 5]: column command, bank, row, column, whether it is a barrier.
        state: State of the channel.
        tables: Values of the command tables.
        counters: Commands, then cycles with an open row; incremented.
        ledger: Ledger of the channel, zeros at first; its clock is the first cycle after the last transaction ended.
        parameters: Parameters of the controller.

    Returns:
        The log [commands, 6].
    """
    queue = np.zeros(parameters[QUEUE_DEPTH], dtype=np.int64)
    log = np.zeros((1024, LOG_WIDTH), dtype=np.int64)
    ledger[ACCEPTED] = min(transactions.shape[0], parameters[TRANSACTION_DEPTH])
    ledger[MOVED] = ledger[QUEUED] = ledger[LOGGED] = 0
    ledger[END] = ledger[CLOCK] - 1
    count = transactions.shape[0]
    while ledger[MOVED] < count or ledger[QUEUED] > 0 or ledger[CLOCK] <= ledger[END]:
        if ledger[LOGGED] == log.shape[0]:
            larger = np.zeros((2 * log.shape[0], LOG_WIDTH), dtype=np.int64)
            larger[: log.shape[0]] = log
            log = larger
        _tick(transactions, queue, state, tables, counters, ledger, parameters, log)
    return log[: ledger[LOGGED]].copy()
