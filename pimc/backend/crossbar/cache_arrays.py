"""Where keys and values of a KV cache lie in groups of arrays: a token is a column of a group for each key/value head.

A head has as many groups, one behind the other, as its longest context has columns; token t is column t mod columns of
the group t div columns, so that linear columns of all groups count tokens. Keys are used from the rows, values from the
columns. Where keys and values are the same value, both are the same groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isa import Crossbar, Machine, ResourceLimitError, Symbol, UnsupportedError
from passes import Cache, Node, columns_problem

ARRAY_SPACE = "xb"
"""Space of symbols and regions whose addresses are linear columns of groups."""


@dataclass(frozen=True)
class ArrayRooms:
    """The groups of a cache.

    Attributes:
        machine: The machine, which has crossbars.
        first_key: Group of the first keys of head 0.
        first_value: Group of its first values; the same where one value is both.
        heads: Key/value heads.
        key_rows: Elements of a key.
        value_rows: Elements of a value.
        tokens: Tokens of the longest context.
    """

    crossbar: Crossbar
    first_key: int
    first_value: int
    heads: int
    key_rows: int
    value_rows: int
    tokens: int

    @property
    def is_shared(self) -> bool:
        """Whether keys and values are the same columns."""
        return self.first_key == self.first_value

    @property
    def chain(self) -> int:
        """Groups of a head's keys."""
        return chain_length(self.crossbar, self.tokens)

    @property
    def groups(self) -> int:
        """Groups of all heads, keys and values."""
        return self.heads * self.chain * (1 if self.is_shared else 2)

    def key_groups(self, head: int) -> range:
        """Groups of a head's keys in the order of tokens."""
        return self._groups(self.first_key, head)

    def value_groups(self, head: int) -> range:
        """Groups of a head's values in the order of tokens."""
        return self._groups(self.first_value, head)

    def _groups(self, first: int, head: int) -> range:
        return range(first + head * self.chain, first + (head + 1) * self.chain)

    def symbols(self, name: str) -> tuple[Symbol, Symbol]:
        """Keys and values for the host, which finds the columns of token 0 of a head a chain behind those before."""
        parts = (("key", self.first_key, self.key_rows), ("value", self.first_value, self.value_rows))
        key, value = (self._symbol(name, *part) for part in parts)
        return key, value

    def _symbol(self, name: str, part: str, first_group: int, rows: int) -> Symbol:
        columns = self.chain * self.crossbar.columns
        numbers = {"kv_heads": self.heads, "head_dim": rows, "head_columns": columns, "max_tokens": self.tokens}
        layout: dict[str, Any] = {"kind": f"{part}_columns", **numbers, "sequences": 1}
        address = first_group * self.crossbar.columns
        return Symbol(f"{name}.{part}", ARRAY_SPACE, address, self.heads * columns, layout)


def chain_length(crossbar: Crossbar, tokens: int) -> int:
    """Groups whose columns hold so many tokens."""
    return -(-tokens // crossbar.columns)


def array_rooms(node: Node, cache: Cache, machine: Machine, first_group: int, tokens: int) -> ArrayRooms:
    """Groups for the cache of one attention from `first_group` on.

    Args:
        node: The `cached_attention`.
        cache: Its cache.
        machine: The machine, which has crossbars.
        first_group: First group that nothing else uses.
        tokens: Tokens of the longest context.

    Raises:
        UnsupportedError: columns of arrays cannot hold this cache.
        ResourceLimitError: a key or a value has more elements than a group has rows, or there are too few groups.
    """
    crossbar = machine.crossbar
    assert crossbar is not None
    problem = columns_problem(crossbar, node, cache)
    if problem is not None:
        raise UnsupportedError(f"attention '{node.name}' cannot run in crossbars: {problem}")
    levers = "leave attention or products in the banks, " if machine.computes_in_banks else ""
    _check_rows(node, cache, crossbar, levers)
    is_shared = node.operand(1) is node.operand(2)
    keys = cache.kv_heads * chain_length(crossbar, tokens)
    first_value = first_group if is_shared else first_group + keys
    if first_value + keys > crossbar.groups:
        raise ResourceLimitError(
            f"keys and values of attention '{node.name}' do not fit the crossbars",
            notes=[
                f"demand: {first_value + keys - first_group} groups for {tokens} tokens of {cache.kv_heads} heads",
                f"bound: {crossbar.groups - first_group} of {crossbar.groups} groups are free",
            ],
            help=f"lower --max-context, {levers}or take a machine with more groups",
        )
    return ArrayRooms(crossbar, first_group, first_value, cache.kv_heads, cache.head_dim, cache.value_dim, tokens)


def _check_rows(node: Node, cache: Cache, crossbar: Crossbar, levers: str) -> None:
    widest = max(cache.head_dim, cache.value_dim)
    if widest > crossbar.rows:
        raise ResourceLimitError(
            f"keys and values of attention '{node.name}' do not fit a group of arrays",
            notes=[f"demand: {widest} rows", f"bound: {crossbar.rows} rows"],
            help=f"{levers}leave attention undecomposed, or take a machine with larger groups",
        )
