"""Hypothesis strategies for operands, instructions and whole programs."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from isa import (
    INSTRUCTIONS,
    Entry,
    Indexed,
    Instruction,
    Kind,
    Operand,
    Port,
    Program,
    Region,
    RegisterLimit,
    RegisterSymbol,
    Segment,
    Source,
    Symbol,
)

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,6}", fullmatch=True).filter(
    lambda name: not (name[0] == "r" and name[1:].isdigit())
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
BINARY32 = (
    st.integers(0, (1 << 32) - 1)
    .filter(lambda bits: not _is_signalling(bits))
    .map(lambda bits: struct.unpack("<f", struct.pack("<I", bits))[0])
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 60), 1 << 60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def _is_signalling(bits: int) -> bool:
    return bits & 0x7F800000 == 0x7F800000 and bits & 0x7FFFFF != 0 and bits & 0x400000 == 0


def operand_values(operand: Operand) -> st.SearchStrategy[Any]:
    if operand.kind is Kind.REGISTER:
        return st.integers(0, 31)
    if operand.kind is Kind.CHOICE:
        return st.sampled_from(operand.choices)
    if operand.kind is Kind.FLOAT:
        return BINARY32
    low, high = 0, (1 << operand.bits) - 1
    if operand.kind is Kind.SIGNED:
        low, high = -(1 << operand.bits - 1), (1 << operand.bits - 1) - 1
    numbers = st.integers(low, high) | st.integers(max(low, -3), min(high, 40))
    if operand.indexed:
        return numbers | st.builds(Indexed, numbers, st.integers(0, 31))
    return numbers


def instructions() -> st.SearchStrategy[Instruction]:
    def of_row(row: Any) -> st.SearchStrategy[Instruction]:
        return st.tuples(*(operand_values(operand) for operand in row.operands)).map(lambda v: Instruction(row, v))

    return st.sampled_from(list(INSTRUCTIONS)).flatmap(of_row)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    numerics = draw(st.sampled_from(["machine", "fp32"]))
    code = tuple(draw(st.lists(instructions(), max_size=12)))
    registers = tuple(
        RegisterSymbol(name, draw(st.integers(0, 31)), -5, draw(st.integers(-5, 99)), draw(TEXTS))
        for name in draw(st.lists(NAMES, max_size=3, unique=True))
    )
    limits = tuple(RegisterLimit((each.name,), draw(st.integers(-9, 99))) for each in registers[:2])
    entries = {}
    if code:
        for name in draw(st.lists(NAMES, max_size=3, unique=True)):
            used = tuple(symbol.name for symbol in registers)
            entries[name] = Entry(name, draw(st.integers(0, len(code) - 1)), used)
    regions, segments = _regions(draw, numerics)
    symbols = tuple(
        Symbol(
            name,
            draw(st.sampled_from(["sb", "bank", "gb", "acc"])),
            draw(st.integers(0, 60)),
            draw(st.integers(0, 50)),
            {**draw(st.dictionaries(TEXTS, JSON, max_size=2)), "strides": [draw(st.integers(0, 1))]},
        )
        for name in draw(st.lists(NAMES, max_size=5, unique=True))
    )
    ports = tuple(
        Port(draw(TEXTS), "input", "float32", (draw(st.integers(0, each.size)),), "whole", each.name)
        if each.space == "sb"
        else Port(draw(TEXTS), "input", "bool", tuple(draw(st.lists(st.integers(0, 9) | TEXTS))), "ignored", "")
        for each in symbols[:2]
    )
    sources = tuple(
        Source(draw(TEXTS), tuple(draw(st.lists(TEXTS, max_size=2)))) for _ in range(draw(st.integers(1, 3)))
    )
    debug = tuple(draw(st.integers(0, len(sources) - 1)) for _ in code) if draw(st.booleans()) else ()
    return Program(
        machine="gddr6-aim",
        machine_sha256="0" * 64,
        numerics=numerics,
        code=code,
        entries=entries,
        registers=registers,
        limits=limits,
        regions=regions,
        symbols=symbols,
        ports=ports,
        segments=segments,
        sources=sources,
        debug=debug,
        metadata=draw(st.dictionaries(TEXTS, JSON, max_size=3)),
    )


def _regions(draw: st.DrawFn, numerics: str) -> tuple[tuple[Region, ...], tuple[Segment, ...]]:
    regions, segments = [], []
    address = {"sb": 0, "bank": 0}
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        space = draw(st.sampled_from(["sb", "bank"]))
        size = draw(st.integers(1, 5))
        element = draw(st.sampled_from(["number", "code"])) if space == "bank" else "number"
        regions.append(Region(name, space, address[space], size, "weights", element))
        address[space] += size + draw(st.integers(0, 2))
        shape: tuple[int, ...] = (size,) if space == "sb" else (2, 2, size * 4)
        dtype = "<u4" if space == "sb" else "<u2" if numerics == "machine" or element == "code" else "<f4"
        if draw(st.booleans()):
            data = np.random.default_rng(draw(st.integers(0, 99))).integers(
                0, 256, int(np.prod(shape)) * np.dtype(dtype).itemsize
            )
            segments.append(Segment(name, data.astype(np.uint8).view(dtype).reshape(shape)))
    return tuple(regions), tuple(segments)
