"""Packed codes in the banks: writing beats and multiplying them, under both numerics, against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_programs import ALL, bfloat16, engine, machine, normal

from isa import ProgramError, Region

COLUMNS, LANES, BANKS, CHANNELS = 24, 16, 16, 32
LOW = 10
CODES = Region("codes", "bank", LOW, COLUMNS, "cache", "code")
NUMBERS = Region("numbers", "bank", LOW + COLUMNS, 4, "cache")
NUMERICS = st.sampled_from(["machine", "fp32"])
BITS = st.sampled_from([8, 4, 2])
F = np.float32


def loaded(numerics, *rows):
    """An engine with random codes, words, global buffers and accumulators."""
    made = engine(*rows, regions=(CODES, NUMBERS), numerics=numerics)
    state, random = made.state, np.random.default_rng(3)
    state.bank_region("codes").data[:] = random.integers(0, 1 << 16, (CHANNELS, BANKS, COLUMNS * LANES))
    state.shared_integers[:20000] = random.integers(-(1 << 31), 1 << 31, 20000)
    values = normal(*state.global_buffer.shape, seed=4)
    state.global_buffer[:] = bfloat16(values) if numerics == "machine" else values
    state.accumulators[:] = normal(*state.accumulators.shape, seed=5)
    return made


def codes_of_beat(row, position, bits):
    """The 16 codes of a beat of a bank, from the beginning of its region: bits of one long number."""
    number = int.from_bytes(np.ascontiguousarray(row).tobytes(), "little")
    return [number >> (position * LANES + lane) * bits & ((1 << bits) - 1) for lane in range(LANES)]


@settings(max_examples=40)
@given(
    NUMERICS,
    BITS,
    st.integers(1, (1 << 8) - 1),
    st.integers(0, 9),
    st.integers(1, 40),
    st.integers(0, 9),
    st.integers(1, 4),
)
def test_beats_are_written_stripe_by_stripe(numerics, bits, mask, beat, count, stride, divisor):
    addr, src, si, sj, sn = LOW + 1, 64, 4000, 1000, 9
    named = {"ch": mask, "addr": addr, "beat": beat, "count": count, "src": src, "bits": bits, "bstride": stride}
    made = loaded(numerics, ("kstore", named | {"cdiv": divisor, "si": si, "sj": sj, "sn": sn}))
    state = made.state
    expected = state.bank_region("codes").data.copy()
    words = state.shared_integers.view(np.uint32).copy()
    for channel in range(8):
        for item in range(count if mask >> channel & 1 else 0):
            first = src + channel // divisor * si + channel % divisor * sj + item * sn
            halves = words[first : first + bits // 2].copy().view(np.uint16)
            start = (addr - LOW) * LANES + (beat + item // BANKS * stride) * bits
            expected[channel, item % BANKS, start : start + bits] = halves
    made.run(0, timing_only=False)
    np.testing.assert_array_equal(state.bank_region("codes").data, expected)


@settings(max_examples=30)
@given(
    NUMERICS,
    BITS,
    st.integers(0, 9),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(0, 7),
    st.integers(0, 3),
    st.data(),
)
def test_products_of_codes(numerics, bits, beat, beats, outputs, stride, gstride, data):
    astride, gb, acc, addr = data.draw(st.integers(0, 3)), 5, 2, LOW + 2
    mask = data.draw(st.integers(1, 3))
    shape = {"beats": beats, "outs": outputs, "bstride": stride, "gstride": gstride, "astride": astride}
    made = loaded(
        numerics, ("kmac", {"ch": mask, "addr": addr, "beat": beat, "gb": gb, "acc": acc, "bits": bits, **shape})
    )
    state = made.state
    expected = state.accumulators.copy()
    for channel in [each for each in range(2) if mask >> each & 1]:
        for bank in range(BANKS):
            row = state.bank_region("codes").data[channel, bank]
            for output in range(outputs):
                sums = [F(0)] * LANES
                for number in range(beats):
                    position = (addr - LOW) * (16 // bits) + beat + output * stride + number
                    values = state.global_buffer[channel, (gb + output * gstride + number) * LANES :]
                    for lane, code in enumerate(codes_of_beat(row, position, bits)):
                        sums[lane] = sums[lane] + F(code) * values[lane]
                total = F(0)
                for each in sums:
                    total = total + each
                expected[channel, acc + output * astride, bank] += total
    made.run(0, timing_only=False)
    np.testing.assert_array_equal(state.accumulators.view(np.int32), expected.view(np.int32))


@pytest.mark.parametrize("numerics", ["machine", "fp32"])
def test_words_of_code_regions_are_exact(numerics):
    rows = (
        ("stb", 1, 3, LOW, 2, 64, {"form": "word", "sn": 8}),
        ("ldb", 1, 3, LOW, 2, 9000, {"form": "word", "sn": 8}),
    )
    made = loaded(numerics, *rows)
    made.run(0, timing_only=False)
    words = made.state.shared_integers
    np.testing.assert_array_equal(words[9000:9016], words[64:80])
    assert made.state.bank_region("codes").data[0, 3, :32].view(np.int32).tolist() == words[64:80].tolist()


KMAC = {"ch": 1, "addr": LOW, "beats": 1, "bits": 4}
KSTORE = {"ch": 1, "addr": LOW, "count": 1, "src": 0, "bits": 4}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("kmac", KMAC | {"bits": 3}), "'bits' is 3"),
        (("kmac", KMAC | {"addr": LOW + COLUMNS}), "it works on codes"),
        (("kmac", KMAC | {"beats": 4 * COLUMNS + 1, "gb": 0}), "leave the region 'codes'"),
        (("kmac", KMAC | {"addr": LOW + COLUMNS - 1, "beat": 3, "outs": 2, "bstride": 1}), "leave the region 'codes'"),
        (("kmac", KMAC | {"gb": 63, "beats": 2}), "'gb' covers 63 to 64"),
        (("kmac", KMAC | {"acc": 31, "outs": 2}), "'acc' covers 31 to 32"),
        (("kmac", KMAC | {"ch": 0}), "'ch' is the mask 0x0"),
        (("kstore", KSTORE | {"bits": 16}), "'bits' is 16"),
        (("kstore", KSTORE | {"addr": LOW + COLUMNS}), "it works on codes"),
        (("kstore", KSTORE | {"addr": LOW + COLUMNS - 1, "beat": 3, "count": 17}), "leave the region 'codes'"),
        (("kstore", KSTORE | {"cdiv": 0}), "'cdiv' is 0"),
        (("mac", {"ch": 1, "addr": LOW, "cols": 1}), "it works on numbers"),
        (("ldb", {"ch": 1, "addr": LOW, "cols": 1, "dst": 0}), "it works on numbers"),
        (("stb", {"ch": 1, "addr": LOW, "cols": 1, "src": 0}), "it works on numbers"),
        (("stlane", {"ch": 1, "addr": LOW, "count": 1, "src": 0}), "it works on numbers"),
        (("wrab", {"ch": 1, "addr": LOW, "cols": 1, "src": 0}), "it works on numbers"),
        (("ewmul", {"ch": 1, "addr": LOW, "cols": 1}), "it works on numbers"),
        (("cpbg", {"ch": 1, "addr": LOW, "cols": 1}), "it works on numbers"),
        (("cpgb", {"ch": 1, "addr": LOW, "cols": 1}), "it works on numbers"),
    ],
)
def test_what_is_refused(row, message):
    with pytest.raises(ProgramError, match=message):
        loaded("fp32", row).run(0, timing_only=False)


def test_a_machine_says_which_codes_its_banks_take():
    target = machine()
    codec = target.kv_codec.model_copy(update={"bank_decode": (8,)})
    made = engine(("kmac", KMAC), on=target.model_copy(update={"kv_codec": codec}), regions=(CODES,))
    with pytest.raises(ProgramError) as caught:
        made.run(0, timing_only=False)
    assert "the banks of this machine hold codes of 8 bits" in caught.value.notes


def test_nothing_is_done_for_no_beats():
    made = loaded("machine", ("kmac", KMAC | {"beats": 0}), ("kstore", KSTORE | {"count": 0}), ("open", ALL, LOW))
    before = made.state.accumulators.copy()
    made.run(0, timing_only=False)
    np.testing.assert_array_equal(made.state.accumulators, before)
    assert made.counters.busy_cycles[:2] == [0, 0]
