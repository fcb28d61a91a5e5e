"""What instructions of the digital half of extension X and of extension L read and write, and what they must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isa.costs import record_bytes
from isa.verification.access_ranges import ONE, Access, Operands
from isa.verification.linear import Linear

_MOST_RECORD_BITS = 8
_TILE_UNITS = ("drelu", "dprune")


def _words(name: str, operands: Operands, size: Linear, writes: bool, solid: bool = True) -> Access:
    return Access(name, "sb", operands.value(name), size, solid, not writes, writes)


def _constant(operands: Operands, name: str) -> Linear:
    return Linear((), operands.number(name))


def _elementwise(*reads: str) -> Callable[[Operands], Iterator[Access]]:
    def rule(operands: Operands) -> Iterator[Access]:
        for name in reads:
            yield _words(name, operands, operands.value("count"), False)
        if operands.has("dst"):
            yield _words("dst", operands, operands.value("count"), True)

    return rule


def _dmvm(operands: Operands) -> Iterator[Access]:
    yield _words("a", operands, operands.value("inputs"), False)
    if operands.word("add") == "begin":
        yield _words("begin", operands, operands.value("outputs"), False)
    yield _words("dst", operands, operands.value("outputs"), True)


def _of_heads(name: str, operands: Operands, extent: Linear, writes: bool) -> Access:
    heads, distance = operands.number("heads"), operands.number(f"{name}_head")
    return _words(name, operands, extent + (heads - 1) * distance, writes, heads == 1)


def _ddot(operands: Operands) -> Iterator[Access]:
    width = operands.value("width")
    yield _of_heads("a", operands, width, False)
    yield _of_heads("b", operands, (width - 1) * operands.number("b_step") + 1, False)
    yield _of_heads("dst", operands, ONE, True)


def _dsoftmax(operands: Operands) -> Iterator[Access]:
    yield _of_heads("a", operands, operands.value("width"), False)
    yield _of_heads("dst", operands, operands.value("width"), True)


def _dnorm(operands: Operands) -> Iterator[Access]:
    width = operands.number("width")
    yield _words("a", operands, Linear((), width), False)
    yield _words("gain", operands, Linear((), 2 * width), False)
    start = operands.value("dst") + operands.value("first")
    yield Access("dst", "sb", start, _constant(operands, "count"), True, False, True)


def _transfer(name: str, writes_words: bool, records: bool) -> Callable[[Operands], Iterator[Access]]:
    def rule(operands: Operands) -> Iterator[Access]:
        if records:
            rows = operands.value("rows")
            size, octets = rows * operands.number("channels"), rows * operands.number("slot")
        else:
            size = octets = operands.value("bytes")
        yield _words(name, operands, size, writes_words)
        yield Access("addr", "off", operands.value("addr"), octets, True, writes_words, not writes_words)

    return rule


ARRAY_RULES: Mapping[str, Callable[[Operands], Iterator[Access]]] = {
    "dprog": _elementwise("src"),
    "dmvm": _dmvm,
    "ddot": _ddot,
    "dsoftmax": _dsoftmax,
    "dnorm": _dnorm,
    "drelu": _elementwise("a"),
    "dprune": _elementwise("a"),
    "dquant": _elementwise("a", "meta"),
    "ddequant": _elementwise("a", "meta"),
    "ldoff": _transfer("dst", True, False),
    "stoff": _transfer("src", False, False),
    "ldnz": _transfer("dst", True, True),
    "stnz": _transfer("src", False, True),
}
"""What each of these instructions touches when none of its counts is zero."""

ARRAY_COUNTS = ("count", "inputs", "outputs", "width", "heads", "rows", "bytes", "channels")
"""Operands that say how much they do."""


def array_errors(operands: Operands) -> Iterator[str]:
    """What is wrong with sizes of one of these instructions."""
    mnemonic = operands.built.mnemonic
    if mnemonic in ("dprog", "dmvm"):
        yield from _matrix_errors(operands)
    elif mnemonic in ("ddot", "dsoftmax"):
        yield from _head_errors(operands)
        yield from _set_errors(operands)
    elif mnemonic in ("dnorm", *_TILE_UNITS):
        yield from _tile_errors(operands)
        yield from _set_errors(operands)
    elif mnemonic == "dquant" and operands.number("steps") == 0:
        yield "'steps' is 0; allowed: 1 to 255"
    elif mnemonic in ("ldnz", "stnz"):
        yield from _record_errors(operands)


def _limit(operands: Operands, name: str, value: Linear, high: int) -> Iterator[str]:
    if not operands.unknowns.at_most(value, high, operands.state.facts):
        yield f"'{name}' can be {operands.largest(value)}; allowed: at most {high}"


def _matrix_errors(operands: Operands) -> Iterator[str]:
    inputs, outputs = operands.core.matrices[operands.word("engine")]
    if operands.has("input"):
        yield from _limit(operands, "input", operands.value("input"), inputs - 1)
        yield from _limit(operands, "count", operands.value("count"), outputs)
    else:
        yield from _limit(operands, "inputs", operands.value("inputs"), inputs)
        yield from _limit(operands, "outputs", operands.value("outputs"), outputs)


def _head_errors(operands: Operands) -> Iterator[str]:
    unit = operands.core.unit(operands.built.mnemonic)
    yield from _limit(operands, "heads", operands.value("heads"), unit.count)
    uncovered = operands.value("width") - operands.value("tiles") * unit.lanes
    if not operands.unknowns.at_most(uncovered, 0, operands.state.facts):
        yield f"'tiles' of {unit.lanes} elements may not cover 'width'"


def _tile_errors(operands: Operands) -> Iterator[str]:
    unit = operands.core.unit(operands.built.mnemonic)
    yield from _limit(operands, "count", operands.value("count"), unit.count * unit.lanes)
    if operands.has("first"):
        end = operands.value("first") + operands.value("count")
        yield from _limit(operands, "first + count", end, operands.number("width"))


def _set_errors(operands: Operands) -> Iterator[str]:
    sets = operands.core.unit(operands.built.mnemonic).sets
    if operands.has("group") and operands.number("group") >= sets:
        yield f"'group' is {operands.number('group')}; allowed: at most {sets - 1}"


def _record_errors(operands: Operands) -> Iterator[str]:
    for name in ("bits", "bits2"):
        if not 1 <= operands.number(name) <= _MOST_RECORD_BITS:
            yield f"'{name}' is {operands.number(name)}; allowed: 1 to {_MOST_RECORD_BITS}"
        elif operands.word("content") == "values" and operands.number(name) < _MOST_RECORD_BITS:
            yield f"'{name}' is {operands.number(name)}; values have {_MOST_RECORD_BITS} bits"
    channels, split = operands.number("channels"), operands.number("split")
    if split > channels:
        yield f"'split' is {split}; allowed: 0 to {channels}"
        return
    most = record_bytes(channels, split, operands.number("bits"), operands.number("bits2"))[1]
    if operands.number("slot") < most:
        yield f"'slot' is {operands.number('slot')}; a record may have {most} bytes"
