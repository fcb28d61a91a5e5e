"""What instructions of the hybrid softmax of extension X read and write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isa.verification.access_ranges import ONE, Access, Operands
from isa.verification.linear import Linear


def _solid(operands: Operands, name: str, size: Linear, writes: bool) -> Access:
    return Access(name, "sb", operands.value(name), size, True, not writes, writes)


def _rows(operands: Operands, name: str, writes: bool) -> Access:
    rows, length, row = operands.value("rows"), operands.value("len"), operands.number(f"{name}_row")
    is_solid = rows == ONE or length == Linear((), row)
    return Access(name, "sb", operands.value(name), (rows - 1) * row + length, is_solid, not writes, writes)


def _xmax(operands: Operands) -> Iterator[Access]:
    yield _rows(operands, "a", False)
    yield _solid(operands, "dst", operands.value("rows"), True)


def _xexp(operands: Operands) -> Iterator[Access]:
    yield _rows(operands, "a", False)
    yield _solid(operands, "b", operands.value("rows"), False)
    yield _rows(operands, "dst", True)


def _xlog(operands: Operands) -> Iterator[Access]:
    for name in ("a", "b", "dst"):
        yield _solid(operands, name, operands.value("len"), name == "dst")


SOFTMAX_RULES: Mapping[str, Callable[[Operands], Iterator[Access]]] = {"xmax": _xmax, "xexp": _xexp, "xlog": _xlog}
"""What each of these instructions touches when none of its counts is zero."""
