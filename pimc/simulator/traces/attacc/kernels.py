"""Compiled cycle loop of the published AttAcc simulator: one front end that feeds all channels in trace order."""

from __future__ import annotations

from typing import Any

import numpy as np

from pimc.simulator.compiled import CYCLES, FLAG, INTEGER, NOTHING, TABLE, TABLES, compiled, compiled_with_arrays
from pimc.simulator.dram.layout import BANKS, BUS, LEVEL_SPAN, NEVER, NO_BUS
from pimc.simulator.traces.attacc.channel_kernels import (
    ACTIVE,
    ADDRESS,
    ANSWER_HEAD,
    ANSWERS,
    ANY_BUS,
    ARRIVAL,
    CHANNEL,
    CHOICE,
    CHOSEN,
    COMMAND,
    DEPTH,
    LEDGER,
    NEXT_REFRESH,
    NO_QUEUE,
    PROCESSING,
    QUEUE,
    READ,
    READS,
    READS_UNDER_WAY,
    REFRESH_INTERVAL,
    REFRESHES_DUE,
    WAKE,
    WRITE,
    WRITE_MODE,
    WRITES,
    act,
    fact,
    next_look,
)

LOG_WIDTH = 6
"""Columns of the log: cycle, channel, command, bank, row, column."""
# Counts of the loop: cycle, requests sent, commands logged.
CYCLE, SENT, LOGGED = range(3)
LOOP = 3


@compiled(FLAG, TABLE, TABLE, TABLE, *[CYCLES] * 2, INTEGER, INTEGER)
def _send(requests: Any, queues: Any, answers: Any, ledger: Any, parameters: Any, request: int, cycle: int) -> bool:
    """Offer a channel a request; a read whose address waits to be written is answered in the next cycle."""
    command = requests[request, COMMAND]
    requests[request, ARRIVAL] = cycle
    which = PROCESSING
    if command == parameters[READ]:
        which = READS
        for place in range(ledger[WRITES]):
            if requests[queues[WRITES, place], ADDRESS] == requests[request, ADDRESS]:
                answers[0, (ledger[ANSWER_HEAD] + ledger[ANSWERS]) % READS_UNDER_WAY] = cycle
                ledger[ANSWERS] += 1
                return True
    elif command == parameters[WRITE]:
        which = WRITES
    if ledger[which] == parameters[DEPTH]:
        return False
    queues[which, ledger[which]] = request
    ledger[which] += 1
    return True


@compiled(NOTHING, TABLE, *[CYCLES] * 2, INTEGER)
def _begin_cycle(answers: Any, ledger: Any, parameters: Any, pseudo_channels: int) -> None:
    """Let the first read under way arrive and a refresh fall due."""
    cycle = ledger[WAKE]
    if ledger[ANSWERS] > 0 and answers[0, ledger[ANSWER_HEAD] % READS_UNDER_WAY] <= cycle:
        ledger[ANSWER_HEAD] += 1
        ledger[ANSWERS] -= 1
    if cycle == ledger[NEXT_REFRESH]:
        ledger[NEXT_REFRESH] += parameters[REFRESH_INTERVAL]
        ledger[REFRESHES_DUE] += pseudo_channels


@compiled(INTEGER, TABLE, TABLE, *[CYCLES] * 6, TABLE, TABLE, INTEGER)
def _tick(
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
) -> int:
    """One cycle of a channel; return how many commands issued, noted in the log from row `logged` on."""
    cycle = ledger[WAKE]
    _begin_cycle(answers, ledger, parameters, tables[BANKS] // tables[LEVEL_SPAN + 1])
    waiting, mode = ledger[PROCESSING], ledger[WRITE_MODE]
    issued = 0
    bus = ANY_BUS
    for _ in range(2):
        row = logged + issued
        if act(requests, queues, state, tables, ledger, parameters, choice, counters, answers, log, row, bus, cycle):
            issued += 1
        if bus == ANY_BUS:
            bus = NO_BUS if choice[QUEUE] == NO_QUEUE else fact(tables, choice[CHOSEN], BUS)
    if issued > 0 or waiting != ledger[PROCESSING] or mode != ledger[WRITE_MODE]:
        ledger[WAKE] = cycle + 1
    else:
        ledger[WAKE] = next_look(requests, queues, state, tables, ledger, parameters, answers, cycle)
    return issued


@compiled(FLAG, TABLE)
def _is_idle(ledgers: Any) -> bool:
    for channel in range(ledgers.shape[0]):
        ledger = ledgers[channel]
        if ledger[ACTIVE] + ledger[PROCESSING] + ledger[READS] + ledger[WRITES] + ledger[REFRESHES_DUE] > 0:
            return False
        if ledger[ANSWERS] > 0:
            return False
    return True


@compiled_with_arrays(TABLE, TABLE, INTEGER)
def _with_room(log: Any, logged: int) -> Any:
    """The log with room for the commands of one more cycle of a channel."""
    if logged + 2 <= log.shape[0]:
        return log
    larger = np.zeros((2 * log.shape[0], LOG_WIDTH), dtype=np.int64)
    larger[:logged] = log[:logged]
    return larger


@compiled(INTEGER, TABLE, TABLES, TABLES, TABLE, CYCLES, INTEGER, INTEGER)
def _feed(requests: Any, queues: Any, answers: Any, ledgers: Any, parameters: Any, sent: int, cycle: int) -> int:
    """Send requests in trace order until a channel refuses one; return how many are sent."""
    while sent < requests.shape[0]:
        channel = requests[sent, CHANNEL]
        if not _send(requests, queues[channel], answers[channel], ledgers[channel], parameters, sent, cycle):
            break
        ledgers[channel, WAKE] = cycle
        sent += 1
    return sent


@compiled(INTEGER, TABLE)
def _next_cycle(ledgers: Any) -> int:
    """First cycle in which a channel can do something."""
    cycle = NEVER
    for channel in range(ledgers.shape[0]):
        cycle = min(cycle, ledgers[channel, WAKE])
    return cycle


@compiled_with_arrays(TABLE, TABLE, TABLE, *[CYCLES] * 4)
def run_requests(requests: Any, state: Any, tables: Any, parameters: Any, counters: Any, loop: Any) -> Any:
    """Run a trace.

    Args:
        requests: [requests, 7]: command, channel, bank, row, column, address; the last, the arrival, is filled in.
        state: [channels, state width].
        tables: Values of the command tables.
        parameters: Parameters of the controllers.
        counters: Commands, then cycles with an open row; incremented.
        loop: [3]: the cycle in which the last request ends (`NEVER` when some never does), requests sent, commands
            logged.

    Returns:
        The log [at least the commands logged, 6].
    """
    channels = state.shape[0]
    ledgers = np.zeros((channels, LEDGER), dtype=np.int64)
    queues = np.zeros((channels, 4, parameters[DEPTH]), dtype=np.int64)
    answers = np.zeros((channels, 1, READS_UNDER_WAY), dtype=np.int64)
    choice = np.zeros(CHOICE, dtype=np.int64)
    log = np.zeros((1024, LOG_WIDTH), dtype=np.int64)
    ledgers[:, NEXT_REFRESH] = ledgers[:, WAKE] = parameters[REFRESH_INTERVAL]
    sent = logged = cycle = 0
    while cycle < NEVER and (sent < requests.shape[0] or not _is_idle(ledgers)):
        sent = _feed(requests, queues, answers, ledgers, parameters, sent, cycle + 1)
        cycle = _next_cycle(ledgers)
        for channel in range(channels if cycle < NEVER else 0):
            ledger, own, replies = ledgers[channel], queues[channel], answers[channel]
            if ledger[WAKE] == cycle:
                log = _with_room(log, logged)
                issued = _tick(
                    requests, own, state[channel], tables, ledger, parameters, choice, counters, replies, log, logged
                )
                log[logged : logged + issued, 1] = channel
                logged += issued
    loop[CYCLE], loop[SENT], loop[LOGGED] = cycle, sent, logged
    return log
