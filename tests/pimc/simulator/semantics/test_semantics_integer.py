"""Vector instructions on int32 words, comparisons, selection and moves, against loops over single words."""

import math
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import engine

from isa import COMPARISONS, Region

LOWEST, HIGHEST = -(2**31), 2**31 - 1
WINDOW = 96
START = st.integers(0, WINDOW // 3)
ROW = st.integers(0, 7)
STEP = st.integers(0, 3)
RANGES = {
    "starts": st.tuples(START, START, START),
    "length": st.integers(0, 5),
    "rows": st.integers(0, 4),
    "strides": st.tuples(ROW, ROW, ROW),
    "steps": st.tuples(STEP, STEP, STEP),
}
NUMBERS = st.one_of(st.integers(-3, 3), st.integers(LOWEST, HIGHEST), st.sampled_from([LOWEST, HIGHEST]))
WINDOWS = st.lists(NUMBERS, min_size=WINDOW, max_size=WINDOW)


def wrapped(value):
    return (value - LOWEST) % 2**32 + LOWEST


def quotient(a, b):
    return 0 if b == 0 else (abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1)


BINARY = {
    "vadd": lambda d, a, b: a + b,
    "vsub": lambda d, a, b: a - b,
    "vmul": lambda d, a, b: a * b,
    "vdiv": lambda d, a, b: quotient(a, b),
    "vmax": lambda d, a, b: max(a, b),
    "vmin": lambda d, a, b: min(a, b),
    "vmac": lambda d, a, b: d + a * b,
}
RELATIONS = {
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
}
REDUCTIONS = {
    "rsum": sum,
    "rmax": lambda values: max(values, default=LOWEST),
    "rmin": lambda values: min(values, default=HIGHEST),
    "rargmax": lambda values: values.index(max(values)) if values else 0,
}


def execute(words, *row):
    made = engine(row)
    made.state.shared_integers[:WINDOW] = words
    made.run(0, timing_only=False)
    assert not made.state.shared_integers[WINDOW:].any()
    return made.state.shared_integers[:WINDOW].tolist()


def addresses(start, row, stride, step, length):
    return [start + row * stride + column * step for column in range(length)]


def by_rows(words, function, starts, length, rows, strides, steps):
    """What an element-wise instruction leaves, when function(dst, a, b) computes one word."""
    words = list(words)
    for row in range(rows):
        dst, a, b = (addresses(*place, length) for place in zip(starts, (row,) * 3, strides, steps, strict=True))
        results = [wrapped(function(words[d], words[x], words[y])) for d, x, y in zip(dst, a, b, strict=True)]
        for address, value in zip(dst, results, strict=True):
            words[address] = value
    return words


@settings(max_examples=200)
@given(mnemonic=st.sampled_from(sorted(BINARY)), words=WINDOWS, **RANGES)
def test_arithmetic_wraps_around(mnemonic, words, starts, length, rows, strides, steps):
    found = execute(words, mnemonic, *starts, length, rows, *strides, *steps, "i32")
    assert found == by_rows(words, BINARY[mnemonic], starts, length, rows, strides, steps)


@settings(max_examples=100)
@given(fn=st.sampled_from(COMPARISONS), words=WINDOWS, **RANGES)
def test_comparisons_of_integers(fn, words, starts, length, rows, strides, steps):
    found = execute(words, "vcmp", *starts, length, rows, *strides, *steps, fn, "i32")
    relation = RELATIONS[fn]
    assert found == by_rows(words, lambda d, a, b: int(relation(a, b)), starts, length, rows, strides, steps)


@settings(max_examples=100)
@given(words=WINDOWS, **RANGES)
def test_selection_moves_words_where_another_is_not_zero(words, starts, length, rows, strides, steps):
    found = execute(words, "vsel", *starts, length, rows, *strides, *steps)
    assert found == by_rows(words, lambda d, a, b: a if b else d, starts, length, rows, strides, steps)


@settings(max_examples=100)
@given(words=WINDOWS, **RANGES)
def test_a_plain_copy_moves_any_words(words, starts, length, rows, strides, steps):
    (dst, a, _), (to, by, _), (leap, stride, _) = starts, strides, steps
    found = execute(words, "vmap", dst, a, "copy", length, rows, 1.0, 0.0, to, by, leap, stride)
    places = (dst, a, a), length, rows, (to, by, by), (leap, stride, stride)
    assert found == by_rows(words, lambda d, x, y: x, *places)


@settings(max_examples=200)
@given(
    mnemonic=st.sampled_from(sorted(REDUCTIONS)),
    words=WINDOWS,
    starts=st.tuples(START, START),
    length=st.integers(0, 5),
    rows=st.integers(0, 4),
    dst_row=ROW,
    a_row=ROW,
    step=STEP,
)
def test_reductions_of_integers(mnemonic, words, starts, length, rows, dst_row, a_row, step):
    found = execute(words, mnemonic, *starts, length, rows, dst_row, a_row, step, "i32")
    for row in range(rows):
        values = [words[address] for address in addresses(starts[1], row, a_row, step, length)]
        words[starts[0] + row * dst_row] = wrapped(REDUCTIONS[mnemonic](values))
    assert found == words


@pytest.mark.parametrize("fn", COMPARISONS)
def test_comparisons_of_floats_are_those_of_ieee_754(fn):
    values = [nan, -inf, -1.0, -0.0, 0.0, 1e-40, 1.0, inf]
    count = len(values)
    made = engine(("vcmp", 64, 0, 0, count, count, count, 1, 0, 1, 0, 1, fn))
    made.state.shared[:count] = values
    made.run(0, timing_only=False)
    found = made.state.shared_integers[64 : 64 + count * count].reshape(count, count).tolist()
    assert found == [[int(RELATIONS[fn](a, b)) for b in values] for a in values]
    assert [row[0] for row in found] == [int(fn == "not_equal")] * count


def test_minus_zero_selects():
    made = engine(("vsel", 0, 8, 16, 3))
    made.state.shared[:24] = 5.0
    made.state.shared[8:11] = [1.0, 2.0, 3.0]
    made.state.shared[16:19] = [-0.0, 0.0, nan]
    made.run(0, timing_only=False)
    assert made.state.shared[:3].tolist() == [1.0, 5.0, 3.0]


@pytest.mark.parametrize(("value", "word"), [(-1.0, -1), (2.9, 2), (3e9, HIGHEST), (nan, 0)])
def test_a_constant_becomes_an_integer_word(value, word):
    made = engine(("vfill", 0, value, 2, {"type": "i32"}))
    made.run(0, timing_only=False)
    assert made.state.shared_integers[:3].tolist() == [word, word, 0]


def test_a_copy_that_computes_is_arithmetic():
    made = engine(("vmap", 8, 0, "copy", 2, {"scale": 2.0}))
    made.state.shared[:2] = [1.5, -0.25]
    made.run(0, timing_only=False)
    assert made.state.shared[8:10].tolist() == [3.0, -0.5]


def test_rounding_takes_halves_to_even_and_signs_have_three_values():
    values = [-2.5, -1.5, -0.5, -0.0, 0.5, 1.5, 2.5, 1e30, -inf, nan]
    made = engine(("vmap", 16, 0, "round", len(values)), ("vmap", 32, 0, "sign", len(values)))
    made.state.shared[: len(values)] = values
    made.run(0, timing_only=False)
    rounded = made.state.shared[16 : 16 + len(values)].tolist()
    assert rounded[:-1] == [-2.0, -2.0, -0.0, -0.0, 0.0, 2.0, 2.0, float(np.float32(1e30)), -inf]
    signs = made.state.shared[32 : 32 + len(values)].tolist()
    assert signs[:-1] == [-1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0, 1.0, -1.0]
    assert math.isnan(rounded[-1])
    assert math.isnan(signs[-1])


def test_the_smallest_of_floats_and_of_nothing():
    made = engine(("rmin", 16, 0, 3, 2, 1, 3), ("rmin", 20, 0, 0))
    made.state.shared[:6] = [2.0, -1.0, 0.5, 4.0, nan, 1.0]
    made.run(0, timing_only=False)
    assert made.state.shared[16] == -1.0
    assert math.isnan(made.state.shared[17])
    assert made.state.shared[20] == inf


PATTERNS = [LOWEST, LOWEST + 1, -1, 0, 1, 0x7F800001, 0x7FC00000, 0x007FFFFF, 0x12345678, HIGHEST]
"""Words that are a minus zero, NaNs (a signalling one too) and subnormal numbers of binary32."""


@pytest.mark.parametrize("numerics", ["machine", "fp32"])
def test_integer_words_are_exact_through_banks_and_arithmetic_in_both_numerics(numerics):
    count = len(PATTERNS)
    region = Region("cache", "bank", 0, 8, "cache")
    made = engine(
        ("stb", 0b10, 3, 1, 2, 0, {"form": "word", "sn": 8}),
        ("ldb", 0b10, 3, 1, 2, 64, {"form": "word", "sn": 8}),
        ("vsub", 128, 64, 0, count, {"type": "i32"}),
        ("vadd", 160, 64, 64, count, {"type": "i32"}),
        ("vcmp", 192, 64, 0, count, {"fn": "equal", "type": "i32"}),
        ("vmap", 224, 64, "copy", count),
        regions=(region,),
        numerics=numerics,
    )
    made.state.shared_integers[:count] = PATTERNS
    made.run(0, timing_only=False)
    words = made.state.shared_integers
    assert words[64 : 64 + count].tolist() == PATTERNS
    assert words[128 : 128 + count].tolist() == [0] * count
    assert words[160 : 160 + count].tolist() == [wrapped(2 * each) for each in PATTERNS]
    assert words[192 : 192 + count].tolist() == [1] * count
    assert words[224 : 224 + count].tolist() == PATTERNS
