"""Near-bank instructions against small numpy oracles, under both numerics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import ALL, bfloat16, bfloat16_bits, engine, machine_with, normal

from isa import Region, Segment, load_machine

COLUMNS, LANES, BANKS, CHANNELS = 40, 16, 16, 32
NUMERICS = ("machine", "fp32")
NARROW = 8
"""Channels that masks of random instructions choose from."""

MASKS = st.integers(1, (1 << NARROW) - 1)


def stored(values, numerics):
    return bfloat16_bits(values) if numerics == "machine" else values


def value_of(elements):
    return (elements.astype(np.uint32) << 16).view(np.float32) if elements.dtype == np.uint16 else elements


def rounded(values, numerics):
    return bfloat16(values) if numerics == "machine" else values


def channels_of(mask):
    return [channel for channel in range(CHANNELS) if mask >> channel & 1]


def base(channel, cdiv, si, sj):
    return channel // cdiv * si + channel % cdiv * sj


def loaded(numerics, *rows, on=None):
    """An engine with random banks (weights at 0, scratch at 40), accumulators, global buffers and words."""
    regions = (Region("weights", "bank", 0, COLUMNS, "weights"), Region("scratch", "bank", COLUMNS, COLUMNS, "scratch"))
    weights = stored(normal(CHANNELS, BANKS, COLUMNS * LANES, seed=1), numerics)
    made = engine(*rows, on=on, regions=regions, segments=(Segment("weights", weights),), numerics=numerics)
    state = made.state
    state.bank_region("scratch").data[:] = stored(normal(CHANNELS, BANKS, COLUMNS * LANES, seed=2), numerics)
    state.global_buffer[:] = rounded(normal(*state.global_buffer.shape, seed=3), numerics)
    state.accumulators[:] = normal(*state.accumulators.shape, seed=4)
    state.shared[:8192] = normal(8192, seed=5)
    return made


def run(numerics, *row, on=None):
    made = loaded(numerics, row, on=on)
    made.run(0, timing_only=False)
    return made.state


def before(numerics):
    return loaded(numerics, ("open", ALL, 0)).state


@pytest.mark.parametrize("numerics", NUMERICS)
@settings(max_examples=25)
@given(
    mask=MASKS,
    column=st.integers(0, 4),
    buffer=st.integers(0, 4),
    columns=st.integers(0, 9),
    outputs=st.integers(0, 4),
    first=st.integers(0, 3),
    strides=st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3)),
)
def test_mac(numerics, mask, column, buffer, columns, outputs, first, strides):
    bank_stride, buffer_stride, accumulator_stride = strides
    found = run(numerics, "mac", mask, column, buffer, columns, outputs, first, *strides)
    old = before(numerics)
    weights = value_of(old.bank_region("weights").data).astype(np.float64)
    expected = old.accumulators.astype(np.float64)
    for output in range(outputs):
        left = slice((column + output * bank_stride) * LANES, (column + output * bank_stride + columns) * LANES)
        right = slice((buffer + output * buffer_stride) * LANES, (buffer + output * buffer_stride + columns) * LANES)
        for channel in channels_of(mask):
            product = weights[channel, :, left] @ old.global_buffer[channel, right]
            expected[channel, first + output * accumulator_stride] += product
    np.testing.assert_allclose(found.accumulators, expected, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("numerics", NUMERICS)
@settings(max_examples=15)
@given(
    mask=MASKS,
    first=st.integers(0, 5),
    columns=st.integers(0, 4),
    cdiv=st.integers(1, 5),
    strides=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 20)),
)
def test_wrgb(numerics, mask, first, columns, cdiv, strides):
    si, sj, sn = strides
    found = run(numerics, "wrgb", mask, first, 7, columns, cdiv, si, sj, sn)
    old = before(numerics)
    expected = old.global_buffer.copy()
    for channel in channels_of(mask):
        for n in range(columns):
            word = 7 + base(channel, cdiv, si, sj) + n * sn
            place = (first + n) * LANES
            expected[channel, place : place + LANES] = rounded(old.shared[word : word + LANES], numerics)
    np.testing.assert_array_equal(found.global_buffer, expected)


@pytest.mark.parametrize("numerics", NUMERICS)
@settings(max_examples=20)
@given(
    mask=MASKS,
    first=st.integers(0, 5),
    count=st.integers(0, 4),
    cdiv=st.integers(1, 5),
    strides=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(16, 20)),
    mode=st.sampled_from(["set", "add"]),
)
def test_rdacc_sums_in_ascending_order_of_channels(numerics, mask, first, count, cdiv, strides, mode):
    si, sj, sn = strides
    found = run(numerics, "rdacc", mask, first, count, 7, cdiv, si, sj, sn, mode)
    old = before(numerics)
    expected = old.shared.copy()
    sums: dict[int, np.float32] = {}
    for channel in channels_of(mask):
        for n in range(count):
            for bank in range(BANKS):
                word = 7 + base(channel, cdiv, si, sj) + n * sn + bank
                value = rounded(old.accumulators[channel, first + n, bank : bank + 1], numerics)[0]
                start = expected[word] if mode == "add" else np.float32(0)
                sums[word] = sums.get(word, start) + value
    for word, value in sums.items():
        expected[word] = value
    np.testing.assert_array_equal(found.shared, expected)


def test_32_bit_readout_does_not_round():
    wide = machine_with("near_bank", acc_read_bits=32)
    found = run("machine", "rdacc", 1, 3, 1, 100, on=wide)
    np.testing.assert_array_equal(found.shared[100:116], found.accumulators[0, 3])


@pytest.mark.parametrize("numerics", NUMERICS)
def test_wracc(numerics):
    zero = run(numerics, "wracc", 0b101, 2, 3)
    assert not zero.accumulators[[0, 2], 2:5].any()
    assert zero.accumulators[1].all()
    assert not run(numerics, "wracc", ALL, 2, 3).accumulators[:, 2:5].any()
    found = run(numerics, "wracc", 0b110, 2, 3, "buffer", 50, 2, 100, 16, 32)
    for channel, start in ((1, 66), (2, 150)):
        words = found.shared[start : start + 96].reshape(3, 32)[:, :16]
        np.testing.assert_array_equal(found.accumulators[channel, 2:5], rounded(words, numerics))
    np.testing.assert_array_equal(found.accumulators[0], before(numerics).accumulators[0])


@pytest.mark.parametrize("numerics", NUMERICS)
def test_ldb_reads_elements(numerics):
    found = run(numerics, "ldb", 0b1010, 5, 3, 2, 200, 1, 64, 0, 32)
    values = value_of(found.bank_region("weights").data[[1, 3], 5, 48:80]).reshape(2, 2, 16)
    for number, channel in enumerate((1, 3)):
        words = found.shared[200 + 64 * channel : 264 + 64 * channel].reshape(2, 32)[:, :16]
        np.testing.assert_array_equal(words, values[number])


def test_ldb_sums_channels_that_write_the_same_words():
    found = run("machine", "ldb", 0b111, 5, 3, 1, 200)
    values = value_of(found.bank_region("weights").data[:3, 5, 48:64])
    np.testing.assert_array_equal(found.shared[200:216], values[0] + values[1] + values[2])


@given(
    mask=MASKS,
    columns=st.integers(1, 4),
    cdiv=st.integers(1, 4),
    strides=st.tuples(st.integers(0, 150), st.integers(0, 150)),
    sn=st.integers(0, 600),
)
def test_ldb_gives_sums_where_words_meet_and_all_words_elsewhere(mask, columns, cdiv, strides, sn):
    found = run("fp32", "ldb", mask, 5, 3, columns, 200, cdiv, *strides, sn)
    region, expected = found.bank_region("weights").data, {}
    for channel in (channel for channel in range(NARROW) if mask >> channel & 1):
        first = 200 + channel // cdiv * strides[0] + channel % cdiv * strides[1]
        for number in range(columns * LANES):
            word = first + number // LANES * sn + number % LANES
            expected[word] = expected.get(word, np.float32(0)) + region[channel, 5, 48 + number]
    np.testing.assert_array_equal(found.shared[list(expected)], np.array(list(expected.values())))


@pytest.mark.parametrize("numerics", NUMERICS)
@pytest.mark.parametrize("mask", [0b1, 0b110])
def test_whole_words_survive_the_banks_bit_by_bit(numerics, mask):
    words = np.random.default_rng(0).integers(0, 1 << 32, 48, np.uint32)
    words[:4] = [0x7F800001, 0xFFFFFFFF, 0x80000000, 1]
    made = loaded(
        numerics,
        ("stb", mask, 2, COLUMNS + 1, 3, 100, 1, 24, 0, 8, "word"),
        ("ldb", mask, 2, COLUMNS + 1, 3, 900, 1, 24, 0, 8, "word"),
    )
    first = 100 + 24 * min(channels_of(mask))
    raw = made.state.shared.view(np.uint32)
    count = 24 * len(channels_of(mask))
    raw[first : first + count] = words[:count]
    made.run(0, timing_only=False)
    np.testing.assert_array_equal(raw[first + 800 : first + 800 + count], words[:count])


@pytest.mark.parametrize("numerics", NUMERICS)
def test_stb_writes_elements(numerics):
    found = run(numerics, "stb", 0b101, 7, COLUMNS + 2, 2, 60, 1, 40, 0, 20)
    expected = before(numerics).bank_region("scratch").data.copy()
    for channel in (0, 2):
        for n in range(2):
            word = 60 + 40 * channel + 20 * n
            place = (2 + n) * LANES
            expected[channel, 7, place : place + LANES] = stored(found.shared[word : word + LANES], numerics)
    np.testing.assert_array_equal(found.bank_region("scratch").data, expected)


@pytest.mark.parametrize("numerics", NUMERICS)
@settings(max_examples=20)
@given(mask=MASKS, lane=st.integers(0, 15), count=st.integers(0, 50), stride=st.integers(0, 8), sj=st.integers(0, 80))
def test_stlane(numerics, mask, lane, count, stride, sj):
    found = run(numerics, "stlane", mask, COLUMNS + 3, lane, count, 11, stride, 4, 0, sj)
    expected = before(numerics).bank_region("scratch").data.copy()
    for channel in channels_of(mask):
        for d in range(count):
            word = found.shared[11 + channel % 4 * sj + d]
            place = (3 + d // BANKS * stride) * LANES + lane
            expected[channel, d % BANKS, place] = stored(np.array([word]), numerics)[0]
    np.testing.assert_array_equal(found.bank_region("scratch").data, expected)


@pytest.mark.parametrize("numerics", NUMERICS)
def test_wrab_writes_all_banks_alike(numerics):
    found = run(numerics, "wrab", 0b11, COLUMNS, 2, 30, 1, 100, 0, 16)
    data = found.bank_region("scratch").data
    for channel in (0, 1):
        words = stored(found.shared[30 + 100 * channel : 62 + 100 * channel], numerics)
        assert (data[channel, :, :32] == words).all()
    np.testing.assert_array_equal(data[2:], before(numerics).bank_region("scratch").data[2:])


@pytest.mark.parametrize("numerics", NUMERICS)
def test_ewmul_in_every_bank_group(numerics):
    found = run(numerics, "ewmul", 0b1001, COLUMNS + 1, 2).bank_region("scratch").data
    expected = before(numerics).bank_region("scratch").data.copy()
    for channel in (0, 3):
        for first in (0, 4, 8, 12):
            left, right = (value_of(expected[channel, first + k, 16:48]) for k in (0, 1))
            expected[channel, first + 2, 16:48] = stored(left * right, numerics)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("numerics", NUMERICS)
def test_activation_functions(numerics):
    made = loaded(numerics, ("af", 0b110, 4, "relu"), ("rdaf", 0b110, 500, 2, 100, 16))
    made.run(0, timing_only=False)
    state = made.state
    for channel, word in ((1, 516), (2, 600)):
        expected = rounded(np.maximum(state.accumulators[channel, 4], 0), numerics)
        np.testing.assert_array_equal(state.shared[word : word + 16], expected)


@pytest.mark.parametrize("numerics", NUMERICS)
def test_copies_between_bank_and_global_buffer(numerics):
    made = loaded(numerics, ("cpbg", 0b11, 6, 2, 5, 3), ("cpgb", 0b11, 9, COLUMNS, 5, 3))
    made.run(0, timing_only=False)
    state = made.state
    source = state.bank_region("weights").data[:2, 6, 32:80]
    np.testing.assert_array_equal(state.global_buffer[:2, 80:128], value_of(source))
    np.testing.assert_array_equal(state.bank_region("scratch").data[:2, 9, :48], source)


def test_open_changes_nothing_but_time():
    found, old = run("machine", "open", ALL, 0), before("machine")
    np.testing.assert_array_equal(found.accumulators, old.accumulators)
    np.testing.assert_array_equal(found.shared, old.shared)


def test_rounding_is_to_nearest_even_and_keeps_nan():
    bits = np.array([0x3F808000, 0x3F818000, 0x3F808001, 0xFF800000, 0x7F7FFFFF, 0x7F800001, 0x80000001], np.uint32)
    made = loaded("machine", ("wrgb", 1, 0, 0, 1), ("stb", 1, 0, COLUMNS, 1, 0))
    made.state.shared.view(np.uint32)[: bits.size] = bits
    made.run(0, timing_only=False)
    kept = made.state.global_buffer[0, : bits.size].view(np.uint32)
    assert kept[:5].tolist() == [0x3F800000, 0x3F820000, 0x3F810000, 0xFF800000, 0x7F800000]
    assert np.isnan(kept[5:6].view(np.float32))[0]
    assert kept[6] == 0x80000000
    halves = made.state.bank_region("scratch").data[0, 0, : bits.size]
    assert (halves[[0, 1, 2, 3, 4, 6]] == (kept >> 16)[[0, 1, 2, 3, 4, 6]]).all()
    assert halves[5] & 0x7F80 == 0x7F80
    assert halves[5] & 0x7F


def test_the_bundled_machine_is_what_these_tests_assume():
    part = load_machine("gddr6-aim-acc16").near_bank
    assert (part.channels, part.banks, part.lanes, part.acc_read_bits) == (CHANNELS, BANKS, LANES, 16)
