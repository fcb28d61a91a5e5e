"""What instructions of the resistive half of extension X read and write, and what they must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from isa.verification.access_ranges import ONE, Access, Operands
from isa.verification.linear import Linear

if TYPE_CHECKING:
    from isa.crossbar import Crossbar


def _columns(operands: Operands, first: Linear, count: Linear, writes: bool) -> Access:
    start = first + operands.number("group") * operands.arrays.columns
    return Access("group", "xb", start, count, True, not writes, writes)


def _xprog(operands: Operands) -> Iterator[Access]:
    step = operands.number("src_step")
    size = (operands.value("len") - 1) * step + 1
    yield Access("src", "sb", operands.value("src"), size, step <= 1, True, False)
    yield _columns(operands, operands.value("column"), ONE, True)


def _xmvm(operands: Operands) -> Iterator[Access]:
    inputs, length, step = operands.value("inputs"), operands.value("len"), operands.number("dst_step")
    yield Access("a", "sb", operands.value("a"), inputs, True, True, False)
    if operands.word("add") == "begin":
        yield Access("begin", "sb", operands.value("begin"), length, True, True, False)
    yield _columns(operands, Linear(), length if operands.word("side") == "normal" else inputs, False)
    yield Access("dst", "sb", operands.value("dst"), (length - 1) * step + 1, step <= 1, False, True)


CROSSBAR_RULES: Mapping[str, Callable[[Operands], Iterator[Access]]] = {"xprog": _xprog, "xmvm": _xmvm}
"""What each of these instructions touches when none of its counts is zero."""

CROSSBAR_COUNTS = ("len", "inputs")
"""Operands that say how much they do."""


def crossbar_errors(operands: Operands) -> Iterator[str]:
    """What is wrong with group, sizes and side."""
    part = operands.arrays
    if operands.number("group") >= part.groups:
        yield f"'group' is {operands.number('group')}; allowed: 0 to {part.groups - 1}"
    if operands.built.mnemonic == "xprog":
        yield from _limit(operands, "column", operands.value("column"), part.columns - 1)
        yield from _limit(operands, "len", operands.value("len"), part.rows)
    else:
        yield from _product_errors(operands, part)


def _product_errors(operands: Operands, part: Crossbar) -> Iterator[str]:
    is_normal = operands.word("side") == "normal"
    if not is_normal and not part.dual_access:
        yield "'side' is transposed; the arrays of this machine have no dual access"
    yield from _limit(operands, "inputs", operands.value("inputs"), part.rows if is_normal else part.columns)
    yield from _limit(operands, "len", operands.value("len"), part.columns if is_normal else part.rows)
    uncovered = operands.value("inputs") - operands.value("rows") * part.array_rows
    if not operands.unknowns.at_most(uncovered, 0, operands.state.facts):
        yield f"'rows' of {part.array_rows} lines may not cover 'inputs'"


def _limit(operands: Operands, name: str, value: Linear, high: int) -> Iterator[str]:
    if not operands.unknowns.at_most(value, high, operands.state.facts):
        yield f"'{name}' can be {operands.largest(value)}; allowed: at most {high}"
