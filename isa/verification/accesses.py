"""What an instruction reads and writes in each memory space, with register operands as expressions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from isa.verification.access_ranges import (
    ONE,
    Access,
    Operands,
    accumulators,
    bank_columns,
    buffer_columns,
    lanes,
    transfer,
    words,
)
from isa.verification.array_accesses import ARRAY_COUNTS, ARRAY_RULES
from isa.verification.cam_accesses import CAM_RULES
from isa.verification.codec_accesses import CODEC_RULES
from isa.verification.crossbar_accesses import CROSSBAR_COUNTS, CROSSBAR_RULES
from isa.verification.linear import Linear
from isa.verification.softmax_accesses import SOFTMAX_RULES


def accesses(operands: Operands) -> list[Access]:
    """Everything that the instruction touches when none of its counts is zero."""
    if operands.built.spec.unit == "vector":
        return list(_vector(operands))
    return list(_RULES[operands.built.mnemonic](operands))


def counts(operands: Operands) -> list[str]:
    """Operands that say how much the instruction does; with any of them zero it touches nothing.

    A reduction writes its results even when its rows have no elements, a selection even when it is to choose none.
    """
    vector = operands.built.spec.unit == "vector"
    is_reduction = vector and operands.has("len") and operands.has("dst") and not operands.has("dst_step")
    if is_reduction:
        return ["rows"]
    if operands.built.mnemonic in ARRAY_RULES:
        return [name for name in ARRAY_COUNTS if operands.has(name)]
    if operands.built.mnemonic in CROSSBAR_RULES:
        return [name for name in CROSSBAR_COUNTS if operands.has(name)]
    sizes = ["rows", "len", "cols", "outs", "count", "beats"]
    if operands.built.mnemonic == "kselect":
        sizes.remove("count")
    return [name for name in sizes if operands.has(name)]


def _vector(operands: Operands) -> Iterator[Access]:
    for name in ("dst", "a", "b", "src"):
        if operands.has(name):
            yield words(operands, name)


def _wrgb(operands: Operands) -> Iterator[Access]:
    yield transfer(operands, "src", operands.value("cols"), lanes(operands), False)
    yield buffer_columns(operands, operands.value("cols"), True)


def _wracc(operands: Operands) -> Iterator[Access]:
    if operands.word("source") == "buffer":
        yield transfer(operands, "src", operands.value("count"), Linear((), operands.device.banks), False)
    yield accumulators(operands, operands.value("count"), False, True)


def _mac(operands: Operands) -> Iterator[Access]:
    last, columns = operands.value("outs") - 1, operands.value("cols")
    strides = [operands.number(name) for name in ("bstride", "gstride", "astride")]
    yield bank_columns(operands, last * strides[0] + columns, False)
    yield buffer_columns(operands, last * strides[1] + columns, False, strides[1] == 0)
    yield accumulators(operands, last * strides[2] + 1, True, True, strides[2] <= 1)


def _rdacc(operands: Operands) -> Iterator[Access]:
    yield accumulators(operands, operands.value("count"), True, False)
    yield transfer(operands, "dst", operands.value("count"), Linear((), operands.device.banks), True)


def _open(operands: Operands) -> Iterator[Access]:
    yield bank_columns(operands, ONE, False)


def _ldb(operands: Operands) -> Iterator[Access]:
    yield bank_columns(operands, operands.value("cols"), False)
    yield transfer(operands, "dst", operands.value("cols"), lanes(operands), True)


def _stb(operands: Operands) -> Iterator[Access]:
    yield transfer(operands, "src", operands.value("cols"), lanes(operands), False)
    yield bank_columns(operands, operands.value("cols"), True)


def _stlane(operands: Operands) -> Iterator[Access]:
    count = operands.value("count")
    stripes = max(operands.largest(count) - 1, 0) // operands.device.banks
    yield transfer(operands, "src", ONE, count, False)
    yield bank_columns(operands, Linear((), stripes * operands.number("cstride") + 1), True)


def _ewmul(operands: Operands) -> Iterator[Access]:
    yield bank_columns(operands, operands.value("cols"), True)


def _af(operands: Operands) -> Iterator[Access]:
    yield accumulators(operands, ONE, True, False)


def _rdaf(operands: Operands) -> Iterator[Access]:
    yield transfer(operands, "dst", ONE, Linear((), operands.device.banks), True)


def _cpbg(operands: Operands) -> Iterator[Access]:
    yield bank_columns(operands, operands.value("cols"), False)
    yield buffer_columns(operands, operands.value("cols"), True)


def _cpgb(operands: Operands) -> Iterator[Access]:
    yield buffer_columns(operands, operands.value("cols"), False)
    yield bank_columns(operands, operands.value("cols"), True)


_CHANNEL_RULES: dict[str, Callable[[Operands], Iterator[Access]]] = {
    "wrgb": _wrgb,
    "wracc": _wracc,
    "mac": _mac,
    "rdacc": _rdacc,
    "open": _open,
    "ldb": _ldb,
    "stb": _stb,
    "stlane": _stlane,
    "wrab": _stb,
    "ewmul": _ewmul,
    "af": _af,
    "rdaf": _rdaf,
    "cpbg": _cpbg,
    "cpgb": _cpgb,
}

_RULES: Mapping[str, Callable[[Operands], Iterator[Access]]] = {
    **_CHANNEL_RULES,
    **CODEC_RULES,
    **ARRAY_RULES,
    **CAM_RULES,
    **CROSSBAR_RULES,
    **SOFTMAX_RULES,
}
