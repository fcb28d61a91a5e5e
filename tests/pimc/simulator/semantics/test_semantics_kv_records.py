"""Pruned tokens: survivors, levels that grow, records as bytes, and what codes are worth, against plain Python."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import engine

from isa import Indexed, ProgramError, record_bytes

A, B, STATE, TABLE, DST, STREAM = 1000, 2000, 3000, 4000, 6000, 8000
F = np.float32
ELEMENTS = st.integers(-9, 9).map(lambda number: F(number / 4)) | st.floats(width=32, allow_nan=False).map(F)


def half(value):
    try:
        return struct.unpack("<H", struct.pack("<e", float(value)))[0]
    except OverflowError:
        return 0xFBFF if value < 0 else 0x7BFF


def half_value(bits):
    return F(struct.unpack("<e", struct.pack("<H", bits))[0])


def meta_word(low, high, steps):
    with np.errstate(all="ignore"):
        scale = (high - low) / F(steps)
    if math.isnan(scale):
        return 0x7E00 | half(low) << 16
    return half(min(scale, F(65504))) | half(min(max(low, F(-65504)), F(65504))) << 16


class Channel:
    """The levels of one channel: (lowest, highest, meta word) of each."""

    def __init__(self, steps, levels):
        self.steps, self.most, self.levels = steps, levels, []

    def open(self, low, high):
        low, high = low + F(0), high + F(0)
        self.levels.append((low, high, meta_word(low, high, self.steps)))

    def admit(self, value):
        """Whether the survivor opens a level that is not the first."""
        if not self.levels:
            self.open(value, value)
            return False
        low, high, _ = self.levels[-1]
        if low <= value <= high or len(self.levels) == self.most:
            return False
        self.open(min(low, value), max(high, value))
        return True


def with_words(rows, **arrays):
    """A finished run; `arrays` are named by address."""
    made = engine(*rows)
    for name, values in arrays.items():
        array = np.asarray(values).ravel()
        target = made.state.shared if array.dtype.kind == "f" else made.state.shared_integers
        address = int(name[1:])
        target[address : address + array.size] = array.astype(target.dtype)
    made.run(0, timing_only=False)
    return made


@given(st.lists(ELEMENTS | st.just(F(math.nan)), min_size=1, max_size=9), st.sampled_from([0.0, 0.5, 1.75, math.inf]))
def test_survivors(elements, threshold):
    row = ("kprune", {"dst": DST, "a": A, "threshold": threshold, "len": len(elements)})
    found = with_words([row], _1000=np.array(elements, F)).state.shared_integers[DST : DST + len(elements)]
    assert found.tolist() == [int(not math.isnan(each) and abs(each) >= threshold) for each in elements]


@given(
    st.data(), st.integers(1, 5), st.integers(1, 4), st.integers(0, 6), st.integers(1, 3), st.sampled_from([1, 2, 14])
)
def test_levels_grow_with_the_survivors(data, channels, warmup, later, most, steps):
    """The first rows give the range of level 0, each further row may open levels."""
    rows, stride = warmup + later, channels + 2
    elements = np.array(data.draw(st.lists(ELEMENTS, min_size=rows * stride, max_size=rows * stride)), F)
    mask = np.array(data.draw(st.lists(st.integers(-1, 1), min_size=rows * stride, max_size=rows * stride)))
    shape = {"state": STATE, "table": TABLE, "len": channels, "row": stride, "table_row": channels + 1}
    shape |= {"steps": steps, "levels": most}
    first = {"dst": 0, "a": A, "mask": B, "rows": warmup, "mode": "range", **shape}
    further = {"dst": DST, "a": A + warmup * stride, "mask": B + warmup * stride, "rows": later, **shape}
    garbage = np.full(4 * channels, 77)
    state = with_words([("klevel", first), ("klevel", further)], _1000=elements, _2000=mask, _3000=garbage).state

    elements, mask = elements.reshape(rows, stride), mask.reshape(rows, stride)
    flags = np.zeros((later, channels), int)
    models = [Channel(steps, most) for _ in range(channels)]
    for channel, model in enumerate(models):
        survivors = [elements[row, channel] for row in range(warmup) if mask[row, channel]]
        if survivors:
            model.open(min(survivors), max(survivors))
        for row in range(later):
            if mask[warmup + row, channel]:
                flags[row, channel] = model.admit(elements[warmup + row, channel])
    found = state.shared_integers[DST : DST + later * stride].reshape(later, stride)[:, :channels]
    np.testing.assert_array_equal(found, flags)
    latest = [model.levels[-1] if model.levels else (F(0), F(0), 0) for model in models]
    vectors = state.shared_integers[STATE : STATE + 4 * channels].reshape(4, channels)
    assert vectors[0].tolist() == [len(model.levels) for model in models]
    assert vectors[1].tolist() == [int(low.view(np.int32)) for low, _, _ in latest]
    assert vectors[2].tolist() == [int(high.view(np.int32)) for _, high, _ in latest]
    assert vectors[3].view(np.uint32).tolist() == [meta for _, _, meta in latest]
    for channel, model in enumerate(models):
        for level, (_, _, meta) in enumerate(model.levels):
            assert state.shared_integers.view(np.uint32)[TABLE + level * (channels + 1) + channel] == meta


def record(codes, flags, split, bits, bits2):
    """Bytes of a token: three texts of bits, each filled up to a byte, lowest bit first."""
    stored = [channel for channel, code in enumerate(codes) if code]
    widths = [bits if channel < split else bits2 for channel in stored]
    parts = [
        "".join("1" if code else "0" for code in codes),
        "".join("1" if flags[channel] else "0" for channel in stored),
        "".join(
            f"{codes[channel] % (1 << width):0{width}b}"[::-1] for channel, width in zip(stored, widths, strict=True)
        ),
    ]
    padded = "".join(part + "0" * (-len(part) % 8) for part in parts)
    return bytes(int(padded[place : place + 8][::-1], 2) for place in range(0, len(padded), 8))


@st.composite
def tokens(draw):
    channels, rows = draw(st.integers(1, 40)), draw(st.integers(1, 4))
    split = draw(st.integers(0, channels))
    bits, bits2 = draw(st.integers(1, 8)), draw(st.integers(1, 8))

    def code(channel):
        return st.just(0) | st.integers(0, (1 << (bits if channel < split else bits2)) - 1)

    codes = [[draw(code(channel)) for channel in range(channels)] for _ in range(rows)]
    flags = [[draw(st.integers(0, 1)) for _ in range(channels)] for _ in range(rows)]
    return channels, rows, split, bits, bits2, codes, flags


@settings(max_examples=60)
@given(tokens(), st.integers(0, 11))
def test_records_and_back(token, at):
    channels, rows, split, bits, bits2, codes, flags = token
    row = channels + 3
    spread = np.zeros((2, rows, row), int)
    spread[0, :, :channels], spread[1, :, :channels] = codes, flags
    shape = {"len": channels, "split": split, "bits": bits, "bits2": bits2, "rows": rows, "row": row}
    shape["expected"] = record_bytes(channels, split, bits, bits2)[1]
    made = with_words(
        [
            ("li", 3, at),
            ("kappend", {"rd": 1, "dst": STREAM, "at": Indexed(0, 3), "a": A, "flags": B, **shape}),
            ("kfetch", {"rd": 2, "dst": STATE, "flags": TABLE, "src": STREAM, "at": at, **shape}),
        ],
        _1000=spread[0],
        _2000=spread[1],
        _8000=np.full(400, -1),
    )
    expected = b"".join(record(*each, split, bits, bits2) for each in zip(codes, flags, strict=True))
    octets = made.state.shared.view(np.uint8)[4 * STREAM : 4 * STREAM + 1600].tobytes()
    assert octets[at : at + len(expected)] == expected
    assert set(octets[:at] + octets[at + len(expected) :]) == {255}
    assert made.state.registers[1:3] == [at + len(expected)] * 2
    found = made.state.shared_integers[STATE : STATE + rows * row].reshape(rows, row)[:, :channels]
    np.testing.assert_array_equal(found, codes)
    found = made.state.shared_integers[TABLE : TABLE + rows * row].reshape(rows, row)[:, :channels]
    np.testing.assert_array_equal(found, np.array(flags) * (np.array(codes) != 0))
    touched = (at + len(expected) + 3) // 4 - at // 4
    assert made.counters.words_written[1] == made.counters.words_read[2] == touched


@given(st.data(), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4))
def test_codes_are_worth_what_their_level_says(data, channels, rows, levels):
    metas = np.array(data.draw(st.lists(st.integers(0, (1 << 32) - 1), min_size=levels * channels, max_size=99)))
    metas = metas[: levels * channels].astype(np.uint32)
    codes = np.array(data.draw(st.lists(st.integers(0, 9), min_size=rows * channels, max_size=rows * channels)))
    flags = np.zeros((rows, channels), int)
    for channel in range(channels):
        opened = data.draw(st.sets(st.integers(0, rows - 1), max_size=levels - 1))
        flags[sorted(opened), channel] = 1
    row = {"dst": DST, "a": A, "flags": B, "state": STATE, "table": TABLE, "len": channels, "rows": rows}
    row |= {"row": channels, "table_row": channels, "levels": levels}
    state = with_words([("kexpand", row)], _1000=codes, _2000=flags, _4000=metas.view(np.int32)).state
    level = flags.cumsum(axis=0)
    np.testing.assert_array_equal(state.shared_integers[STATE : STATE + channels], level[-1])
    with np.errstate(all="ignore"):
        for place, code in enumerate(codes.tolist()):
            meta = int(metas[level.ravel()[place] * channels + place % channels])
            worth = F(code - 1) * half_value(meta & 0xFFFF) + half_value(meta >> 16) if code else F(0)
            found = state.shared[DST + place]
            assert found == worth or (math.isnan(found) and math.isnan(worth))


def test_runs_without_data_take_the_bytes_that_are_expected():
    shape = {"len": 16, "split": 8, "bits": 4, "bits2": 3, "rows": 5, "row": 16, "expected": 7}
    rows = (
        ("kappend", {"rd": 1, "dst": STREAM, "at": 2, "a": A, "flags": B, **shape}),
        ("kfetch", {"rd": 2, "dst": STATE, "flags": TABLE, "src": STREAM, "at": Indexed(0, 1), **shape}),
    )
    made = engine(*rows)
    made.run(0, timing_only=True)
    assert made.state.registers[1:3] == [37, 72]
    assert made.counters.words_written[0] == 10
    made.run(0, timing_only=False)
    assert made.state.registers[1:3] == [2 + 5 * 2, 12 + 5 * 2]
    assert made.counters.words_written[0] == 3


def test_no_records_end_where_they_begin():
    shape = {"len": 16, "split": 8, "bits": 4, "bits2": 3, "rows": 0, "row": 16, "expected": 7}
    made = engine(("kappend", {"rd": 1, "dst": STREAM, "at": 5, "a": A, "flags": B, **shape}))
    made.run(0, timing_only=False)
    assert made.state.registers[1] == 5


RECORD = {"len": 16, "split": 8, "bits": 4, "bits2": 3, "rows": 1, "row": 16, "expected": 7}
APPEND = {"rd": 1, "dst": STREAM, "at": 0, "a": A, "flags": B, **RECORD}
FETCH = {"rd": 1, "dst": STATE, "flags": TABLE, "src": STREAM, "at": 0, **RECORD}
EXPAND = {
    "dst": DST,
    "a": A,
    "flags": B,
    "state": STATE,
    "table": TABLE,
    "len": 4,
    "row": 4,
    "table_row": 4,
    "levels": 3,
}
LEVEL = {"dst": DST, "a": A, "mask": B, "state": STATE, "table": TABLE, "len": 4, "row": 4, "table_row": 4}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("kappend", APPEND | {"bits": 9}), "'bits' is 9"),
        (("kappend", APPEND | {"bits2": 0}), "'bits2' is 0"),
        (("kappend", APPEND | {"split": 17}), "'split' is 17"),
        (("kappend", APPEND | {"expected": 12}), "'expected' is 12"),
        (("kfetch", FETCH | {"expected": 1}), "'expected' is 1"),
        (("kfetch", FETCH | {"src": (1 << 20) - 1, "at": 3}), "records from byte 3 on leave the shared buffer"),
        (("kappend", APPEND | {"dst": (1 << 20) - 1, "at": 3}), "'dst' covers words 1048575 to 1048576"),
        (("kexpand", EXPAND | {"levels": 0}), "'levels' is 0"),
        (("klevel", LEVEL | {"steps": 0, "levels": 1}), "'steps' is 0"),
        (("klevel", LEVEL | {"steps": 1, "levels": 0}), "'levels' is 0"),
    ],
)
def test_what_is_refused(row, message):
    with pytest.raises(ProgramError, match=message):
        engine(row).run(0, timing_only=False)


def test_a_counter_beyond_the_levels_is_refused():
    with pytest.raises(ProgramError, match="the counter of channel 2 is 3") as caught:
        with_words([("kexpand", EXPAND)], _2000=np.array([0, 0, 1, 0]), _3000=np.array([0, 1, 2, 0]))
    assert "allowed: 0 to 2" in caught.value.notes
