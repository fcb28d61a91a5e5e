"""What an instruction of extension K reads and writes, and what its operands must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isa.verification.access_ranges import Access, Operands, accumulators, buffer_columns, transfer, words
from isa.verification.linear import Linear
from isa.verification.scalar_rules import RULES

_WORD_BITS = 32
_MOST_CODE_BITS = 16


def _quotient(operands: Operands, value: Linear, divisor: int) -> Linear:
    return RULES["divu"](operands.unknowns, operands.state.facts, value, Linear((), divisor))


def _consecutive(operands: Operands, name: str, length: Linear, writes: bool) -> Access:
    """Rows of `length` consecutive words."""
    rows, row = operands.value("rows"), operands.number(f"{name}_row")
    one_row = rows == Linear((), 1) or row == 0 or length == Linear((), row)
    return Access(name, "sb", operands.value(name), (rows - 1) * row + length, one_row, not writes, writes)


def _elementwise(*names: str) -> Callable[[Operands], Iterator[Access]]:
    def rule(operands: Operands) -> Iterator[Access]:
        for name in ("dst", *names):
            yield words(operands, name)

    return rule


def _packed(operands: Operands) -> Linear:
    return _quotient(operands, operands.value("len") * operands.number("bits") + (_WORD_BITS - 1), _WORD_BITS)


def _kpack(operands: Operands) -> Iterator[Access]:
    yield _consecutive(operands, "dst", _packed(operands), True)
    yield words(operands, "a")


def _kunpack(operands: Operands) -> Iterator[Access]:
    yield words(operands, "dst")
    yield _consecutive(operands, "a", _packed(operands), False)


def _kselect(operands: Operands) -> Iterator[Access]:
    yield _consecutive(operands, "dst", operands.value("count" if operands.word("form") == "list" else "len"), True)
    yield words(operands, "a")
    yield words(operands, "mask")


def _beats(operands: Operands, last: Linear, writes: bool) -> Access:
    """Columns from that of the first beat to that of the beat `last` behind it."""
    per_column = operands.device.element_bits // operands.number("bits")
    first = operands.value("beat")
    begin, end = (_quotient(operands, each, per_column) for each in (first, first + last))
    return Access("addr", "bank", operands.value("addr") + begin, end - begin + 1, True, not writes, writes)


def _kstore(operands: Operands) -> Iterator[Access]:
    count = operands.value("count")
    stripes = _quotient(operands, count - 1, operands.device.banks)
    yield transfer(operands, "src", count, Linear((), operands.number("bits") // 2), False)
    yield _beats(operands, stripes * operands.number("bstride"), True)


def _kmac(operands: Operands) -> Iterator[Access]:
    last, beats = operands.value("outs") - 1, operands.value("beats")
    bstride, gstride, astride = (operands.number(name) for name in ("bstride", "gstride", "astride"))
    yield _beats(operands, last * bstride + beats - 1, False)
    yield buffer_columns(operands, last * gstride + beats, False, gstride == 0)
    yield accumulators(operands, last * astride + 1, True, True, astride <= 1)


CODEC_RULES: Mapping[str, Callable[[Operands], Iterator[Access]]] = {
    "kscale": _elementwise("lo", "hi"),
    "kunscale": _elementwise("a"),
    "kquant": _elementwise("a", "meta"),
    "kdequant": _elementwise("a", "meta"),
    "kpack": _kpack,
    "kunpack": _kunpack,
    "kselect": _kselect,
    "kstore": _kstore,
    "kmac": _kmac,
}
"""What each instruction of extension K touches when none of its counts is zero."""


def codec_errors(operands: Operands) -> Iterator[str]:
    """What is wrong with widths and steps of an instruction of extension K."""
    if operands.has("steps") and operands.number("steps") == 0:
        yield "'steps' is 0; allowed: 1 to 255"
    if not operands.has("bits"):
        return
    bits = operands.number("bits")
    if operands.built.spec.unit == "codec" and not 1 <= bits <= _MOST_CODE_BITS:
        yield f"'bits' is {bits}; allowed: 1 to {_MOST_CODE_BITS}"
    widths = operands.kv_codec.bank_decode if operands.kv_codec is not None else ()
    if operands.built.spec.unit == "channel" and bits not in widths:
        yield f"'bits' is {bits}; the banks of this machine hold codes of {', '.join(map(str, widths)) or 'no'} bits"
