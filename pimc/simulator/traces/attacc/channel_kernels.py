"""Compiled controller of one channel of the published AttAcc simulator: choice of requests, two commands a cycle.

Processing requests wait in order behind barriers; of those before the first barrier the oldest whose next command is
ready goes first, and requests behind it may already open and close rows. Conventional reads and writes follow,
refreshes precede all. A command of the row bus and one of the column bus may issue in the same cycle.
"""

from __future__ import annotations

from typing import Any

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, TABLE, compiled
from pimc.simulator.dram.command_kernels import earliest, issue, prerequisite
from pimc.simulator.dram.layout import (
    BANKS,
    BUS,
    CLOSES,
    COMPLETION,
    FACT_COUNT,
    FACTS,
    LEVEL_SPAN,
    NEVER,
    NO_BUS,
    OPENS,
    ROW_EFFECT,
    ROW_NEED,
    ROW_OPEN,
)

# Columns of the table of requests.
COMMAND, CHANNEL, BANK, ROW, COLUMN, ADDRESS, ARRIVAL = range(7)
# Parameters of the controller: queue depth, writes from which on and down to which they go first, refresh interval,
# numbers of the commands that the controller knows by name.
DEPTH, WRITE_HIGH, WRITE_LOW, REFRESH_INTERVAL, READ, WRITE, REFRESH, BARRIER = range(8)
# Ledger of a channel: sizes of the queues, refreshes that wait, pseudo channel of the first of them, cycle of the next
# refresh, first of the reads under way, their number, write mode, cycle of the next look.
ACTIVE, PROCESSING, READS, WRITES, REFRESHES_DUE, REFRESHED = range(6)
NEXT_REFRESH, ANSWER_HEAD, ANSWERS, WRITE_MODE, WAKE = range(6, 11)
LEDGER = 11
# The choice of a command: queue (-1 for none), place in the queue, command, bank.
QUEUE, PLACE, CHOSEN, AT = range(4)
CHOICE = 4
NO_QUEUE, REFRESH_QUEUE = -1, -2
ANY_BUS = -1
READS_UNDER_WAY = 128  # a read ends nCL + nBL cycles after it issues, one a cycle at most


@compiled(INTEGER, CYCLES, INTEGER, INTEGER)
def fact(tables: Any, command: int, which: int) -> int:
    """A fact of a command."""
    value: int = tables[FACTS + FACT_COUNT * command + which]
    return value


@compiled(FLAG, CYCLES, INTEGER, INTEGER)
def _fits(tables: Any, command: int, first_bus: int) -> bool:
    """Whether `command` can join, in the same cycle, a command of bus `first_bus`."""
    bus = fact(tables, command, BUS)
    return first_bus == ANY_BUS or (first_bus != NO_BUS and bus != NO_BUS and bus != first_bus)


@compiled(NOTHING, CYCLES, CYCLES, INTEGER, INTEGER)
def remove(queue: Any, ledger: Any, which: int, place: int) -> None:
    """Take a request out of a queue."""
    for later in range(place, ledger[which] - 1):
        queue[later] = queue[later + 1]
    ledger[which] -= 1


@compiled(FLAG, TABLE, CYCLES, INTEGER)
def _resembles_previous(requests: Any, queue: Any, place: int) -> bool:
    """Whether a queued request needs the same command as the one before it."""
    if place == 0:
        return False
    own, previous = queue[place], queue[place - 1]
    return bool(
        requests[own, COMMAND] == requests[previous, COMMAND]
        and requests[own, BANK] == requests[previous, BANK]
        and requests[own, ROW] == requests[previous, ROW]
    )


@compiled(FLAG, TABLE, CYCLES, CYCLES, CYCLES, *[INTEGER] * 3)
def _hits_row(requests: Any, state: Any, tables: Any, queue: Any, size: int, bank: int, row_free: int) -> bool:
    """Whether a queued request addressed to `bank` finds its row open, when the asking one does not (`row_free`)."""
    if not row_free:
        return False
    for place in range(size):
        request = queue[place]
        command = requests[request, COMMAND]
        if requests[request, BANK] != bank or fact(tables, command, ROW_NEED) != ROW_OPEN:
            continue
        if _resembles_previous(requests, queue, place):
            continue
        if prerequisite(state, tables, command, bank, requests[request, ROW]) == command:
            return True
    return False


@compiled(INTEGER, TABLE, CYCLES, CYCLES, CYCLES, *[INTEGER] * 4)
def _best(requests: Any, state: Any, tables: Any, queue: Any, size: int, ordered: int, barrier: int, cycle: int) -> int:
    """Place of the request that goes first, -1 in an empty queue; `ordered` tells a queue in order of arrival.

    A ready request goes before an older one that is not, unless it wants to disturb a row that another one uses.
    """
    best = -1
    command = 0
    ready = best_ready = behind = False
    for place in range(size):
        request = queue[place]
        final, bank = requests[request, COMMAND], requests[request, BANK]
        if not _resembles_previous(requests, queue, place):
            command = prerequisite(state, tables, final, bank, requests[request, ROW])
            ready = earliest(state, tables, command, bank) <= cycle
        if place > 0 and final == barrier:
            behind = True
        if best < 0:
            best, best_ready = place, ready
        elif behind and fact(tables, command, ROW_EFFECT) not in (OPENS, CLOSES):
            continue
        elif ready == best_ready:
            if requests[request, ARRIVAL] < requests[queue[best], ARRIVAL]:
                best = place
        elif ready:
            misses = command != final or fact(tables, final, ROW_NEED) != ROW_OPEN
            if not _hits_row(requests, state, tables, queue, size, bank, misses):
                best, best_ready = place, True
        if best_ready and ordered:
            break
    return best


@compiled(FLAG, *[TABLE] * 2, *[CYCLES] * 5, *[INTEGER] * 3)
def _choose_from(
    requests: Any,
    queues: Any,
    state: Any,
    tables: Any,
    ledger: Any,
    parameters: Any,
    choice: Any,
    which: int,
    first_bus: int,
    cycle: int,
) -> bool:
    """Look for a request in one queue; true when its next command can issue now."""
    queue = queues[which]
    barrier = parameters[BARRIER]
    if which == PROCESSING and ledger[which] > 0 and requests[queue[0], COMMAND] == barrier:
        remove(queue, ledger, which, 0)
    place = _best(requests, state, tables, queue, ledger[which], which != ACTIVE, barrier, cycle)
    if place < 0:
        choice[QUEUE] = NO_QUEUE
        return False
    request = queue[place]
    bank = requests[request, BANK]
    command = prerequisite(state, tables, requests[request, COMMAND], bank, requests[request, ROW])
    choice[QUEUE], choice[PLACE], choice[CHOSEN], choice[AT] = which, place, command, bank
    return _fits(tables, command, first_bus) and bool(earliest(state, tables, command, bank) <= cycle)


@compiled(FLAG, TABLE, TABLE, *[CYCLES] * 3)
def _disturbs(requests: Any, queues: Any, tables: Any, ledger: Any, choice: Any) -> bool:
    """Whether the chosen command closes a row that was opened for a request which still waits for it."""
    if choice[QUEUE] == REFRESH_QUEUE or fact(tables, choice[CHOSEN], ROW_EFFECT) != CLOSES:
        return False
    found = False
    for place in range(ledger[ACTIVE]):
        found |= requests[queues[ACTIVE, place], BANK] == choice[AT]
    return found


@compiled(NOTHING, CYCLES, CYCLES)
def _set_write_mode(ledger: Any, parameters: Any) -> None:
    if ledger[WRITE_MODE] == 0:
        if ledger[WRITES] >= parameters[WRITE_HIGH] or ledger[READS] == 0:
            ledger[WRITE_MODE] = 1
    elif ledger[WRITES] <= parameters[WRITE_LOW] and ledger[READS] > 0:
        ledger[WRITE_MODE] = 0


@compiled(FLAG, *[TABLE] * 2, *[CYCLES] * 5, INTEGER, INTEGER)
def choose(
    requests: Any,
    queues: Any,
    state: Any,
    tables: Any,
    ledger: Any,
    parameters: Any,
    choice: Any,
    first_bus: int,
    cycle: int,
) -> bool:
    """Choose a command for `cycle`; true when it can issue. The choice also tells what it was that could not.

    Args:
        requests: [requests, 7].
        queues: [4, depth], requests of each queue of the channel.
        state: State of the channel.
        tables: Command tables.
        ledger: Ledger of the channel.
        parameters: Parameters of the controller.
        choice: The result.
        first_bus: Bus of the command that already issues in this cycle, or `ANY_BUS`.
        cycle: Cycle.
    """
    found = _choose_from(requests, queues, state, tables, ledger, parameters, choice, ACTIVE, first_bus, cycle)
    if not found and ledger[REFRESHES_DUE] > 0:
        bank = ledger[REFRESHED] * tables[LEVEL_SPAN + 1]
        command = prerequisite(state, tables, parameters[REFRESH], bank, 0)
        choice[QUEUE], choice[PLACE], choice[CHOSEN], choice[AT] = REFRESH_QUEUE, 0, command, bank
        if _fits(tables, command, first_bus):
            found = earliest(state, tables, command, bank) <= cycle
            if not found:
                return False
    if not found:
        found = _choose_from(requests, queues, state, tables, ledger, parameters, choice, PROCESSING, first_bus, cycle)
    if not found:
        _set_write_mode(ledger, parameters)
        which = WRITES if ledger[WRITE_MODE] else READS
        found = _choose_from(requests, queues, state, tables, ledger, parameters, choice, which, first_bus, cycle)
    return found and not _disturbs(requests, queues, tables, ledger, choice)


@compiled(NOTHING, *[TABLE] * 2, *[CYCLES] * 5, TABLE, INTEGER)
def _carry_out(
    requests: Any,
    queues: Any,
    state: Any,
    tables: Any,
    ledger: Any,
    parameters: Any,
    choice: Any,
    answers: Any,
    cycle: int,
) -> None:
    """Move the request whose command issued on: out, to the reads under way, or to those that wait for their row."""
    which, place = choice[QUEUE], choice[PLACE]
    if which == REFRESH_QUEUE:
        if choice[CHOSEN] == parameters[REFRESH]:
            ledger[REFRESHES_DUE] -= 1
            ledger[REFRESHED] = (ledger[REFRESHED] + 1) % (tables[BANKS] // tables[LEVEL_SPAN + 1])
        return
    request = queues[which, place]
    command = requests[request, COMMAND]
    if choice[CHOSEN] == command:
        if command == parameters[READ]:
            end = (ledger[ANSWER_HEAD] + ledger[ANSWERS]) % READS_UNDER_WAY
            answers[0, end] = cycle + fact(tables, command, COMPLETION)
            ledger[ANSWERS] += 1
        remove(queues[which], ledger, which, place)
    elif which != PROCESSING and fact(tables, choice[CHOSEN], ROW_EFFECT) == OPENS:
        remove(queues[which], ledger, which, place)
        queues[ACTIVE, ledger[ACTIVE]] = request
        ledger[ACTIVE] += 1


@compiled(FLAG, *[TABLE] * 2, *[CYCLES] * 6, TABLE, TABLE, *[INTEGER] * 3)
def act(
    requests: Any,
    queues: Any,
    state: Any,
    tables: Any,
    ledger: Any,
    parameters: Any,
    choice: Any,
    counters: Any,
    answers: Any,
    log: Any,
    logged: int,
    first_bus: int,
    cycle: int,
) -> bool:
    """Choose and issue one command at `cycle`, noted in row `logged` of the log; false when none can issue."""
    if not choose(requests, queues, state, tables, ledger, parameters, choice, first_bus, cycle):
        return False
    which, command, bank = choice[QUEUE], choice[CHOSEN], choice[AT]
    row = column = -1
    if which != REFRESH_QUEUE:
        request = queues[which, choice[PLACE]]
        row, column = requests[request, ROW], requests[request, COLUMN]
    issue(state, tables, counters, command, bank, row, cycle, 1)
    log[logged, 0], log[logged, 2], log[logged, 3], log[logged, 4], log[logged, 5] = cycle, command, bank, row, column
    _carry_out(requests, queues, state, tables, ledger, parameters, choice, answers, cycle)
    return True


@compiled(INTEGER, *[TABLE] * 2, *[CYCLES] * 4, TABLE, INTEGER)
def next_look(
    requests: Any, queues: Any, state: Any, tables: Any, ledger: Any, parameters: Any, answers: Any, cycle: int
) -> int:
    """First cycle after `cycle` in which a channel that issued nothing can do anything if no request arrives."""
    look: int = ledger[NEXT_REFRESH]
    if ledger[ANSWERS] > 0:
        look = min(look, max(cycle + 1, answers[0, ledger[ANSWER_HEAD] % READS_UNDER_WAY]))
    if ledger[REFRESHES_DUE] > 0:
        bank = ledger[REFRESHED] * tables[LEVEL_SPAN + 1]
        ready = earliest(state, tables, prerequisite(state, tables, parameters[REFRESH], bank, 0), bank)
        look = min(look, ready if ready > cycle else NEVER)
    for which in range(4):
        for place in range(ledger[which]):
            if _resembles_previous(requests, queues[which], place):
                continue
            request = queues[which, place]
            bank = requests[request, BANK]
            command = prerequisite(state, tables, requests[request, COMMAND], bank, requests[request, ROW])
            ready = earliest(state, tables, command, bank)
            look = min(look, ready if ready > cycle else NEVER)
    return look
