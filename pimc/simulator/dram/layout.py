"""Integer tables that describe a kind of DRAM channel to the compiled timing kernels, and the state of a channel.

A channel is a tree of levels: the channel itself, then for instance pseudo channels, ranks, bank groups, and last the
banks. Banks are numbered through the whole channel. `CommandTables.values` holds what never changes: a head (sizes,
refresh, the levels), a block of facts a command, the spacing rules. The state of a channel is one row of 64-bit
integers: a header (`CLOCK` to `CLASSES`), the open row of every bank (`OPEN_ROWS`, -1 for none), the earliest next
cycle of every command for each node of each level, and the latest cycles of the commands whose rules count several.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Head of the tables, then `FACTS`: a block of `FACT_COUNT` values for each command.
BANKS_PER_GROUP, BANKS, COLUMNS_PER_ROW, REFRESH_INTERVAL, REFRESH_SLACK, IDLE_CLOSE, MASKED_WRITE, SHORTCUT = range(8)
BY_BANK = 8  # whether the banks are refreshed one after the other
COMMAND_TOTAL, LEVEL_SPAN, LEVEL_FIRST = 9, 10, 16  # the levels have up to 6 places each
MOST_LEVELS = LEVEL_FIRST - LEVEL_SPAN
FACTS = LEVEL_FIRST + MOST_LEVELS
SCOPE, ROW_NEED, NEEDS_REGISTER_MODE, ROW_EFFECT, PERIOD, COMPLETION, FIRST_GROUP, LAST_GROUP = range(8)
OUTER, INNER, NEED_OUTER, NEED_INNER, OPENER, CLOSER, BUS = range(8, 15)
FACT_COUNT = 15
GROUP_WIDTH = 4
"""Values of the rules of a command at one level: level, place of the row of latencies (0: none), first rule, end of
the rules. A row of latencies has a value for every following command, `-NEVER` where there is no rule."""
RULE_WIDTH = 4
"""Values of a rule: following command, cycles, how many preceding commands back it counts, their place."""
_FEWEST_FOR_A_ROW = 6
"""Rules of a level from which on a row of latencies, which processors add at once, is faster than single rules."""

ANY_ROW, ROW_OPEN, ALL_CLOSED = 0, 1, 2  # what a command needs of the banks that it works on
CLOSES, NO_EFFECT, OPENS, SWITCHES_MODE, REFRESHES = -1, 0, 1, -2, -3  # effects of a command
ROW_BUS, COLUMN_BUS, NO_BUS = 0, 1, 2  # command buses

# Header of a state row: next free command cycle; register mode or not; cycle at which the next refresh is due; banks
# with an open row; cycle since which a row is open; mask and number of channels that the row stands for; rows in use
# (first row only).
CLOCK, REGISTER_MODE, REFRESH_DUE, OPEN_BANKS, OPEN_SINCE, MEMBERS, WEIGHT, CLASSES = range(8)
OPEN_ROWS = 8

LOG_WIDTH = 7
"""Values of a logged run of commands: cycle of the last one, command, bank, row, commands, cycles from one to the next,
mask of the channels. A log stands behind the counters when there is room: its size, then the runs."""

NEVER = 1 << 60
"""A cycle that is never reached."""

Rule = tuple[int, str, str, int, int]
"""A spacing rule: level, preceding, following, cycles, how many preceding commands back it counts."""


@dataclass(frozen=True)
class Reach:
    """Banks of a command: those at the same place of every `inner` banks, in the `outer` banks around its address.

    Attributes:
        outer: Size of the block of banks, 1 for the addressed bank alone.
        inner: Distance of the banks in the block.
    """

    outer: int = 1
    inner: int = 1


@dataclass(frozen=True)
class CommandFacts:
    """A command besides its spacing rules.

    Attributes:
        scope: Deepest level whose earliest cycle binds the command.
        reach: Banks that it works on: whose rows it changes, whose following commands it delays.
        effect: `OPENS`, `CLOSES`, `SWITCHES_MODE`, `REFRESHES` or `NO_EFFECT`.
        need: `ANY_ROW`, or that its row is open, or that no row is open, in all banks of `need_reach`.
        need_reach: Banks of the need.
        opener: Command that opens the row in these banks.
        closer: Command that closes them.
        register_mode: Whether it needs the channel in register mode.
        completion: Cycles until its data have arrived.
        bus: Command bus that it occupies.
    """

    scope: int
    reach: Reach = Reach()
    effect: int = NO_EFFECT
    need: int = ANY_ROW
    need_reach: Reach = Reach()
    opener: str | None = None
    closer: str | None = None
    register_mode: bool = False
    completion: int = 1
    bus: int = ROW_BUS


@dataclass(frozen=True, eq=False)
class CommandTables:
    """What the kernels know about a kind of channel.

    Attributes:
        names: Commands in the order of their numbers.
        values: The table, dtype int64.
        state_width: Values of one state row.
        history: Place of the latest cycles of commands in a state row, up to its end.
    """

    names: tuple[str, ...]
    values: NDArray[np.int64]
    state_width: int
    history: int


def _longest(rules: Iterable[Rule], index: Mapping[str, int]) -> dict[str, dict[tuple[int, int, int], int]]:
    """For each preceding command the largest latency of each (level, following command, count)."""
    longest: dict[str, dict[tuple[int, int, int], int]] = {name: {} for name in index}
    for level, preceding, following, cycles, count in rules:
        key = (level, index[following], count)
        longest[preceding][key] = max(longest[preceding].get(key, 0), cycles)
    return longest


def _fact_block(fact: CommandFacts, index: Mapping[str, int], period: int, first: int, last: int) -> list[int]:
    opener = -1 if fact.opener is None else index[fact.opener]
    closer = -1 if fact.closer is None else index[fact.closer]
    block = [fact.scope, fact.need, int(fact.register_mode), fact.effect, period, fact.completion, first, last]
    block += [fact.reach.outer, fact.reach.inner, fact.need_reach.outer, fact.need_reach.inner]
    return [*block, opener, closer, fact.bus]


def _by_level(longest: Mapping[tuple[int, int, int], int]) -> dict[int, list[tuple[int, int, int]]]:
    """Rules (following command, count, cycles) of a command by level."""
    groups: dict[int, list[tuple[int, int, int]]] = {}
    for (level, following, count), cycles in sorted(longest.items()):
        groups.setdefault(level, []).append((following, count, cycles))
    return groups


def _rule_block(
    groups: Mapping[int, Sequence[tuple[int, int, int]]], start: int, total: int, nodes: Sequence[int], width: int
) -> tuple[list[int], int]:
    """The rules of a command.

    Args:
        groups: Rules by level, as `_by_level`.
        start: Place in the tables where they will stand.
        total: Commands.
        nodes: Nodes of each level.
        width: Values of a state row so far.

    Returns:
        Their values, and the width of a state row with what they remember.
    """
    heads: list[int] = []
    body: list[int] = []
    behind = start + GROUP_WIDTH * len(groups)
    for level, rules in groups.items():
        plain = {following: cycles for following, count, cycles in rules if count == 1}
        single = rules if len(plain) < _FEWEST_FOR_A_ROW else [rule for rule in rules if rule[1] > 1]
        row = 0 if single is rules else behind + len(body)
        if row:
            body += [plain.get(following, -NEVER) for following in range(total)]
        first = behind + len(body)
        for following, count, cycles in single:
            body += [following, cycles, count, width]
            width += count * nodes[level] if count > 1 else 0
        heads += [level, row, first, behind + len(body)]
    return heads + body, width


def build_tables(
    commands: Mapping[str, CommandFacts], nodes: Sequence[int], rules: Iterable[Rule], head: Sequence[int]
) -> CommandTables:
    """The tables of a kind of channel.

    Args:
        commands: Facts of every command; its order numbers the commands.
        nodes: Nodes of each level in a channel: 1, then for instance 2 pseudo channels, ..., last all banks.
        rules: Spacing rules.
        head: The first values of the head, `BANKS_PER_GROUP` to `BY_BANK`.
    """
    index = {name: number for number, name in enumerate(commands)}
    banks, total = nodes[-1], len(index)
    firsts = [OPEN_ROWS + banks + total * sum(nodes[:level]) for level in range(len(nodes) + 1)]
    history = width = firsts.pop()
    padding = [0] * (MOST_LEVELS - len(nodes))
    values = [*head, total, *(banks // count for count in nodes), *padding, *firsts, *padding]
    longest = _longest(rules, index)
    facts: list[int] = []
    table: list[int] = []
    for name, fact in commands.items():
        start = FACTS + FACT_COUNT * total + len(table)
        period = max(
            [1, *(cycles for (_, to, count), cycles in longest[name].items() if (to, count) == (index[name], 1))]
        )
        block, width = _rule_block(_by_level(longest[name]), start, total, nodes, width)
        table += block
        groups = len({level for level, _, _ in longest[name]})
        facts += _fact_block(fact, index, period, start, start + GROUP_WIDTH * groups)
    return CommandTables(tuple(index), np.array(values + facts + table, dtype=np.int64), width, history)


def initial_state(tables: CommandTables, rows: int) -> NDArray[np.int64]:
    """State [rows, state_width] at cycle 0: every bank closed, bank mode, each row stands for one channel."""
    state = np.zeros((rows, tables.state_width), dtype=np.int64)
    state[:, REFRESH_DUE] = tables.values[REFRESH_INTERVAL]
    state[:, OPEN_ROWS : OPEN_ROWS + int(tables.values[BANKS])] = -1
    state[:, WEIGHT] = 1
    state[:, tables.history :] = -NEVER
    return state
