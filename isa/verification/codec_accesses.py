"""What an instruction of extension K reads and writes, and what its operands must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from isa.costs import record_bytes
from isa.verification.access_ranges import Access, Operands, accumulators, buffer_columns, transfer, words
from isa.verification.linear import Linear
from isa.verification.scalar_rules import RULES

_WORD_BITS = 32
_WORD_BYTES = 4
_MOST_CODE_BITS = 16
_MOST_RECORD_BITS = 8
_STATE_VECTORS = 4


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


def _channel_words(operands: Operands, name: str, rows: Linear, row: int, reads: bool, writes: bool) -> Access:
    """`rows` rows of a word a channel."""
    length = operands.number("len")
    solid = rows == Linear((), 1) or row == length
    return Access(name, "sb", operands.value(name), (rows - 1) * row + length, solid, reads, writes)


def _kprune(operands: Operands) -> Iterator[Access]:
    yield words(operands, "dst")
    yield words(operands, "a")


def _klevel(operands: Operands) -> Iterator[Access]:
    rows, row = operands.value("rows"), operands.number("row")
    yield _channel_words(operands, "a", rows, row, True, False)
    yield _channel_words(operands, "mask", rows, row, True, False)
    is_first = operands.word("mode") == "range"
    if not is_first:
        yield _channel_words(operands, "dst", rows, row, False, True)
    length = operands.number("len")
    yield _channel_words(operands, "state", Linear((), _STATE_VECTORS), length, not is_first, True)
    levels = 1 if is_first else operands.number("levels")
    yield _channel_words(operands, "table", Linear((), levels), operands.number("table_row"), False, True)


def _stream(operands: Operands, name: str, writes: bool) -> Access:
    """Words that records may cover, if they are as long as they can be."""
    begin = _quotient(operands, operands.value("at"), _WORD_BYTES)
    most = operands.value("at") + operands.value("rows") * record_sizes(operands)[1]
    end = _quotient(operands, most + (_WORD_BYTES - 1), _WORD_BYTES)
    return Access(name, "sb", operands.value(name) + begin, end - begin, False, not writes, writes)


def record_sizes(operands: Operands) -> tuple[int, int]:
    """Fewest and most bytes of a record of an instruction."""
    return record_bytes(*(operands.number(name) for name in ("len", "split", "bits", "bits2")))


def _kappend(operands: Operands) -> Iterator[Access]:
    rows, row = operands.value("rows"), operands.number("row")
    yield _channel_words(operands, "a", rows, row, True, False)
    yield _channel_words(operands, "flags", rows, row, True, False)
    yield _stream(operands, "dst", True)


def _kfetch(operands: Operands) -> Iterator[Access]:
    rows, row = operands.value("rows"), operands.number("row")
    yield _stream(operands, "src", False)
    yield _channel_words(operands, "dst", rows, row, False, True)
    yield _channel_words(operands, "flags", rows, row, False, True)


def _kexpand(operands: Operands) -> Iterator[Access]:
    rows, row = operands.value("rows"), operands.number("row")
    yield _channel_words(operands, "a", rows, row, True, False)
    yield _channel_words(operands, "flags", rows, row, True, False)
    yield _channel_words(operands, "state", Linear((), 1), 0, True, True)
    levels = Linear((), operands.number("levels"))
    table = _channel_words(operands, "table", levels, operands.number("table_row"), True, False)
    yield replace(table, solid=False)
    yield _channel_words(operands, "dst", rows, row, False, True)


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
    "kprune": _kprune,
    "klevel": _klevel,
    "kappend": _kappend,
    "kfetch": _kfetch,
    "kexpand": _kexpand,
}
"""What each instruction of extension K touches when none of its counts is zero."""


def codec_errors(operands: Operands) -> Iterator[str]:
    """What is wrong with widths and steps of an instruction of extension K."""
    for name in ("steps", "levels"):
        if operands.has(name) and operands.number(name) == 0:
            yield f"'{name}' is 0; allowed: 1 to 255"
    if operands.has("split"):
        yield from _record_errors(operands)
    elif operands.has("bits"):
        yield from _width_errors(operands)


def _record_errors(operands: Operands) -> Iterator[str]:
    for name in ("bits", "bits2"):
        if not 1 <= operands.number(name) <= _MOST_RECORD_BITS:
            yield f"'{name}' is {operands.number(name)}; allowed: 1 to {_MOST_RECORD_BITS}"
    if operands.number("split") > operands.number("len"):
        yield f"'split' is {operands.number('split')}; allowed: 0 to {operands.number('len')}"
        return
    least, most = record_sizes(operands)
    if not least <= operands.number("expected") <= most:
        yield f"'expected' is {operands.number('expected')}; a record has {least} to {most} bytes"


def _width_errors(operands: Operands) -> Iterator[str]:
    bits = operands.number("bits")
    if operands.built.spec.unit == "codec" and not 1 <= bits <= _MOST_CODE_BITS:
        yield f"'bits' is {bits}; allowed: 1 to {_MOST_CODE_BITS}"
    widths = operands.kv_codec.bank_decode if operands.kv_codec is not None else ()
    if operands.built.spec.unit == "channel" and bits not in widths:
        yield f"'bits' is {bits}; the banks of this machine hold codes of {', '.join(map(str, widths)) or 'no'} bits"
