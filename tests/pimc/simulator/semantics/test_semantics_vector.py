"""Vector instructions against loops over single words."""

from math import erf, inf, sqrt

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import engine, run

from isa import VECTOR_FUNCTIONS
from pimc.simulator.semantics.vector_functions import FUNCTIONS

WINDOW = 96
"""Words that random instructions work on, few enough that their ranges meet."""

START = st.integers(0, WINDOW // 3)
ROW = st.integers(0, 7)
STEP = st.integers(0, 3)

BINARY = {
    "vadd": lambda d, a, b: a + b,
    "vsub": lambda d, a, b: a - b,
    "vmul": lambda d, a, b: a * b,
    "vdiv": lambda d, a, b: a / b,
    "vmax": lambda d, a, b: max(a, b),
    "vmin": lambda d, a, b: min(a, b),
    "vmac": lambda d, a, b: d + a * b,
}
REDUCTIONS = {
    "rsum": sum,
    "rmax": lambda values: max(values, default=np.float32(-inf)),
    "rsumsq": lambda values: sum(value * value for value in values),
}


def window(seed=0):
    return np.random.default_rng(seed).uniform(1, 2, WINDOW).astype(np.float32)


def execute(words, *row):
    made = engine(row)
    made.state.shared[:WINDOW] = words
    made.run(0, timing_only=False)
    assert not made.state.shared[WINDOW:].any()
    return made.state.shared[:WINDOW]


def addresses(start, row, stride, step, length):
    return [start + row * stride + column * step for column in range(length)]


@settings(max_examples=300)
@given(
    mnemonic=st.sampled_from(sorted(BINARY)),
    starts=st.tuples(START, START, START),
    length=st.integers(0, 5),
    rows=st.integers(0, 4),
    strides=st.tuples(ROW, ROW, ROW),
    steps=st.tuples(STEP, STEP, STEP),
)
def test_binary_instructions_row_by_row(mnemonic, starts, length, rows, strides, steps):
    words = window()
    found = execute(words, mnemonic, *starts, length, rows, *strides, *steps)
    for row in range(rows):
        dst, a, b = (addresses(*place, length) for place in zip(starts, (row,) * 3, strides, steps, strict=True))
        results = [BINARY[mnemonic](*words[[d, x, y]]) for d, x, y in zip(dst, a, b, strict=True)]
        for address, value in zip(dst, results, strict=True):
            words[address] = value
    np.testing.assert_array_equal(found, words)


@settings(max_examples=200)
@given(
    starts=st.tuples(START, START),
    length=st.integers(0, 5),
    rows=st.integers(0, 4),
    strides=st.tuples(ROW, ROW),
    steps=st.tuples(STEP, STEP),
)
def test_map_row_by_row(starts, length, rows, strides, steps):
    words = window()
    found = execute(words, "vmap", *starts, "copy", length, rows, 0.5, 3.0, *strides, *steps)
    for row in range(rows):
        dst, a = (addresses(*place, length) for place in zip(starts, (row,) * 2, strides, steps, strict=True))
        for address, value in zip(dst, words[a].tolist() if length else [], strict=True):
            words[address] = np.float32(0.5) * np.float32(value) + np.float32(3.0)
    np.testing.assert_array_equal(found, words)


@settings(max_examples=200)
@given(
    mnemonic=st.sampled_from([*REDUCTIONS, "rargmax"]),
    starts=st.tuples(START, START),
    length=st.integers(0, 5),
    rows=st.integers(0, 4),
    dst_row=ROW,
    a_row=ROW,
    step=STEP,
)
def test_reductions_row_by_row(mnemonic, starts, length, rows, dst_row, a_row, step):
    words = window()
    found = execute(words, mnemonic, *starts, length, rows, dst_row, a_row, step)
    integers = words.view(np.int32)
    for row in range(rows):
        values = [words[address] for address in addresses(starts[1], row, a_row, step, length)]
        if mnemonic == "rargmax":
            integers[starts[0] + row * dst_row] = np.argmax(values) if values else 0
        else:
            words[starts[0] + row * dst_row] = REDUCTIONS[mnemonic](values)
    np.testing.assert_allclose(found, words, rtol=1e-6)


@given(start=START, length=st.integers(0, 5), rows=st.integers(0, 4), stride=ROW, step=STEP)
def test_fill(start, length, rows, stride, step):
    words = window()
    found = execute(words, "vfill", start, 2.5, length, rows, stride, step)
    for row in range(rows):
        words[addresses(start, row, stride, step, length)] = 2.5
    np.testing.assert_array_equal(found, words)


REFERENCE = {
    "copy": lambda x: x,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": lambda x: 1 / x,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "erf": np.vectorize(erf),
    "sin": np.sin,
    "cos": np.cos,
    "abs": np.abs,
    "relu": lambda x: np.maximum(x, 0),
    "floor": np.floor,
    "ceil": np.ceil,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(erf)(x / sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "round": np.round,
    "sign": np.sign,
    "float16": lambda x: x.astype(np.float16).astype(np.float64),
    "bfloat16": lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float64),
}


@pytest.mark.parametrize("name", [name for name in VECTOR_FUNCTIONS if name not in ("from_int", "to_int")])
def test_functions_are_accurate_to_binary32(name):
    low = 0.01 if name in ("log", "sqrt", "rsqrt", "reciprocal") else -9.0
    values = np.linspace(low, 9.0, 4001, dtype=np.float32)
    made = engine(("vmap", 8192, 0, name, values.size))
    made.state.shared[: values.size] = values
    made.run(0, timing_only=False)
    expected = REFERENCE[name](values.astype(np.float64))
    np.testing.assert_allclose(made.state.shared[8192 : 8192 + values.size], expected, rtol=1e-6, atol=5e-7)


def test_every_function_of_the_table_is_known():
    assert {*FUNCTIONS, "from_int", "to_int"} == set(VECTOR_FUNCTIONS)


def test_halves_go_to_the_even_neighbour_and_too_large_numbers_to_infinity():
    made = engine(("vmap", 16, 0, "float16", 5), ("vmap", 32, 0, "bfloat16", 5))
    made.state.shared[:5] = [1 + 2**-11, 1 + 3 * 2**-8, 65520.0, -3.4e38, -3.39e38]
    made.run(0, timing_only=False)
    assert made.state.shared[16:21].tolist() == [1.0, 1 + 3 * 2**-8, inf, -inf, -inf]
    assert made.state.shared[32:37].tolist() == [1.0, 1 + 2**-6, 65536.0, -inf, -(2.0**128 - 2.0**120)]


def test_conversions_change_the_type_of_words():
    made = engine(
        ("vmap", 8, 0, "from_int", 3, {"scale": 2.0, "bias": -1.0}),
        ("vmap", 24, 16, "to_int", 6, {"scale": 10.0}),
    )
    made.state.shared_integers[:3] = [-5, 0, 7]
    made.state.shared[16:22] = [0.19, -0.19, 1e30, -1e30, np.nan, 12.0]
    made.run(0, timing_only=False)
    assert made.state.shared[8:11].tolist() == [-11.0, -1.0, 13.0]
    assert made.state.shared_integers[24:30].tolist() == [1, -1, 2**31 - 1, -(2**31), 0, 120]


def test_argmax_takes_the_first_of_equals():
    made = engine(("rargmax", 0, 16, 4))
    made.state.shared[16:20] = [1, 3, 3, 2]
    made.run(0, timing_only=False)
    assert made.state.shared_integers[0] == 1


def test_division_by_zero_gives_what_binary32_gives():
    made = run(("vfill", 0, 1.0, 1), ("vdiv", 8, 0, 1, 1), ("vdiv", 9, 1, 1, 1))
    assert made.state.shared[8] == inf
    assert np.isnan(made.state.shared[9])


@pytest.mark.parametrize(("a_step", "b_step"), [(1, 1), (1, 0), (2, 1)])
def test_sums_of_many_rows_are_rounded_product_by_product(a_step, b_step):
    length, rows, first, second = 13, 150, 16, 5000
    made = engine(("vmac", 0, first, second, length, rows, 0, 29, 13, 1, a_step, b_step))
    made.state.shared[:8000] = np.random.default_rng(1).standard_normal(8000)
    before = made.state.shared[:8000].copy()
    made.run(0, timing_only=False)
    sums = before[:length].copy()
    for row in range(rows):
        a, b = (before[addresses(*place, length)] for place in ((first, row, 29, a_step), (second, row, 13, b_step)))
        sums += a * b
    np.testing.assert_array_equal(made.state.shared[:length], sums)
    np.testing.assert_array_equal(made.state.shared[length:8000], before[length:])
