"""Words of the codec: scales, codes, packing and selection against plain Python, bit for bit."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_programs import engine, run

from isa import ProgramError

NUMBERS = st.floats(width=32, allow_nan=True, allow_infinity=True)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
F = np.float32


def half_bits(value):
    """Binary16 by the interpreter of Python, which refuses what overflows."""
    if math.isnan(value):
        return 0x7E00
    try:
        return struct.unpack("<H", struct.pack("<e", float(value)))[0]
    except OverflowError:
        return 0xFBFF if value < 0 else 0x7BFF


def half_value(bits):
    return F(struct.unpack("<e", struct.pack("<H", bits))[0])


def meta_word(low, high, steps):
    with np.errstate(all="ignore"):
        scale = (F(high) - F(low)) / F(steps)
    if math.isinf(scale) or math.isinf(low):
        scale, low = (min(max(each, F(-65504)), F(65504)) for each in (scale, F(low)))
    return half_bits(scale) | half_bits(low) << 16


def code(value, meta, steps, base):
    scale, zero = half_value(meta & 0xFFFF), half_value(meta >> 16)
    if scale == 0:
        return base
    with np.errstate(all="ignore"):
        place = (F(value) - zero) / scale
    if math.isnan(place):
        return base
    return base + (0 if place < 0 else steps if place > steps else round(float(place)))


def worth(number, meta, base):
    if base == 1 and number == 0:
        return F(0)
    with np.errstate(all="ignore"):
        return F(number - base) * half_value(meta & 0xFFFF) + half_value(meta >> 16)


def same(found, expected):
    """Equal bits; any NaN is as good as another."""
    found, expected = np.asarray(found, F), np.asarray(expected, F)
    is_nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), is_nan)
    np.testing.assert_array_equal(found[~is_nan].view(np.uint32), expected[~is_nan].view(np.uint32))


def prepared(row, *words):
    """State after a run of one instruction; each array of `words` lies at 1000, 2000, ..."""
    made = engine(row)
    for place, values in enumerate(words, 1):
        array = np.array(values).ravel()
        target = made.state.shared if array.dtype.kind == "f" else made.state.shared_integers
        target[1000 * place : 1000 * place + array.size] = array.astype(target.dtype)
    made.run(0, timing_only=False)
    return made.state


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=9), st.integers(1, 255))
def test_scales_are_binary16_and_finite(pairs, steps):
    low, high = zip(*pairs, strict=True)
    row = ("kscale", {"dst": 0, "lo": 1000, "hi": 2000, "len": len(pairs), "steps": steps})
    found = prepared(row, np.array(low, F), np.array(high, F)).shared_integers[: len(pairs)]
    expected = [meta_word(F(a), F(b), steps) for a, b in pairs]
    assert found.view(np.uint32).tolist() == expected


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero"),
    [
        (0.0, 65504.0 * 15, 65504.0, 0.0),
        (-1e6, 1e6, 65504.0, -65504.0),
        (-3e38, 3e38, 65504.0, -65504.0),
        (2.0, 2.0, 0.0, 2.0),
        (0.0, 1e-9, 0.0, 0.0),
    ],
)
def test_ends_of_binary16(low, high, scale, zero):
    made = prepared(("kscale", {"dst": 0, "lo": 1000, "hi": 2000, "len": 1, "steps": 15}), [low], [high])
    meta = int(made.shared_integers[:1].view(np.uint32)[0])
    assert (half_value(meta & 0xFFFF), half_value(meta >> 16)) == (scale, zero)


@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=8))
def test_halves_of_meta_words(meta):
    words = np.array(meta, np.uint32).view(np.int32)
    for part, shift in (("scale", 0), ("zero", 16)):
        row = ("kunscale", {"dst": 0, "a": 1000, "part": part, "len": len(meta)})
        same(prepared(row, words).shared[: len(meta)], [half_value(each >> shift & 0xFFFF) for each in meta])


METAS = st.builds(meta_word, FINITE, FINITE, st.integers(1, 255)) | st.integers(0, (1 << 32) - 1)


@given(st.data(), st.integers(1, 5), st.integers(1, 4), st.integers(1, 255), st.integers(0, 1))
def test_codes_and_what_they_are_worth(data, length, rows, steps, base):
    """Rows share the meta words of their channels, as keys by channel do."""
    elements = [data.draw(NUMBERS | st.integers(-40, 40).map(lambda n: n / 2)) for _ in range(rows * length)]
    meta = [data.draw(METAS) for _ in range(length)]
    words = np.array(meta, np.uint32).view(np.int32)
    shape = {"len": length, "rows": rows, "dst_row": length, "a_row": length}
    quantise = ("kquant", {"dst": 0, "a": 1000, "meta": 2000, "steps": steps, "base": base, **shape})
    found = prepared(quantise, np.array(elements, F), words).shared_integers[: rows * length]
    expected = [code(F(each), meta[n % length], steps, base) for n, each in enumerate(elements)]
    assert found.tolist() == expected
    dequantise = ("kdequant", {"dst": 0, "a": 1000, "meta": 2000, "base": base, **shape})
    numbers = np.array([0, *expected][: rows * length], np.int32)
    values = prepared(dequantise, numbers, words).shared[: rows * length]
    same(values, [worth(int(each), meta[n % length], base) for n, each in enumerate(numbers)])


def test_halves_go_to_the_even_code():
    meta = half_bits(1.0)
    row = ("kquant", {"dst": 0, "a": 1000, "meta": 2000, "len": 6, "meta_step": 0, "steps": 7})
    found = prepared(row, [0.5, 1.5, 2.5, 3.5, -9.0, 99.0], [meta])
    assert found.shared_integers[:6].tolist() == [0, 2, 2, 4, 0, 7]


def test_runs_of_channels_share_the_scale_of_a_token():
    metas = np.array([half_bits(0.5), half_bits(2.0) | half_bits(1.0) << 16])
    row = ("kquant", {"dst": 0, "a": 1000, "meta": 2000, "len": 2, "rows": 2, "dst_row": 2, "a_row": 2, "steps": 255})
    row[1].update(meta_row=1, meta_step=0)
    assert prepared(row, [1.0, 2.0, 5.0, 7.0], metas).shared_integers[:4].tolist() == [2, 4, 2, 3]


def bit_string(codes, bits):
    number = sum((each & ((1 << bits) - 1)) << index * bits for index, each in enumerate(codes))
    return [number >> 32 * word & 0xFFFFFFFF for word in range(-(-len(codes) * bits // 32))]


@given(st.data(), st.integers(1, 40), st.integers(1, 3), st.integers(1, 16), st.integers(1, 3))
def test_packing_and_back(data, length, rows, bits, step):
    wide = st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(0, (1 << bits) - 1)
    codes = [data.draw(st.lists(wide, min_size=length, max_size=length)) for _ in range(rows)]
    width = -(-length * bits // 32)
    spread = np.zeros((rows, length * step), np.int32)
    spread[:, ::step] = codes
    pack = {"dst": 5, "a": 1000, "len": length, "rows": rows, "bits": bits, "dst_row": width + 1}
    pack |= {"a_row": length * step, "a_step": step}
    packed = prepared(("kpack", pack), spread).shared_integers
    for number in range(rows):
        start = 5 + number * (width + 1)
        assert packed[start : start + width].view(np.uint32).tolist() == bit_string(codes[number], bits)
        assert packed[start + width] == 0
    unpack = {"dst": 5, "a": 1000, "len": length, "rows": rows, "bits": bits, "dst_row": length * step}
    unpack |= {"a_row": width + 1, "dst_step": step}
    words = packed[5 : 5 + rows * (width + 1)].copy()
    found = prepared(("kunpack", unpack), words).shared_integers[5 : 5 + rows * length * step].reshape(rows, -1)
    np.testing.assert_array_equal(found[:, ::step], np.array(codes) & ((1 << bits) - 1))


def test_codes_are_packed_in_place():
    row = ("kpack", {"dst": 1000, "a": 1000, "len": 8, "rows": 2, "bits": 4, "dst_row": 1, "a_row": 8})
    found = prepared(row, list(range(8)) + list(range(8)))
    assert found.shared_integers[1000:1002].view(np.uint32).tolist() == [0x76543210, 0x76543210]


def chosen(values, mask, count, fn):
    """Repeatedly the best of what is left; a NaN is worse than every number."""
    left = [index for index, each in enumerate(mask) if each]
    best = []
    while left and len(best) < count:
        numbers = [index for index in left if not math.isnan(values[index])]
        pool = numbers or left
        compare = max if fn == "largest" else min
        top = compare(values[index] for index in pool) if numbers else None
        best.append(next(index for index in pool if not numbers or values[index] == top))
        left.remove(best[-1])
    return best


FEW = st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, math.inf, -math.inf, math.nan]) | NUMBERS


@given(st.data(), st.integers(1, 9), st.integers(1, 3), st.integers(0, 11), st.sampled_from(["largest", "smallest"]))
def test_selection(data, length, rows, count, fn):
    values = [data.draw(st.lists(FEW, min_size=length, max_size=length)) for _ in range(rows)]
    mask = [
        data.draw(st.lists(st.sampled_from([0, 0, 1, 5, -3]), min_size=length, max_size=length)) for _ in range(rows)
    ]
    best = [chosen(np.array(values[n], F), mask[n], count, fn) for n in range(rows)]
    shape = {"a": 1000, "mask": 2000, "count": count, "len": length, "rows": rows, "a_row": length, "mask_row": length}
    as_list = prepared(("kselect", {"dst": 0, "dst_row": count, "fn": fn, **shape}), np.array(values, F), mask)
    expected = [each + [-1] * (count - len(each)) for each in best]
    assert as_list.shared_integers[: rows * count].reshape(rows, count).tolist() == expected
    row = ("kselect", {"dst": 0, "dst_row": length, "fn": fn, "form": "mask", **shape})
    as_mask = prepared(row, np.array(values, F), mask).shared_integers[: rows * length].reshape(rows, length)
    assert as_mask.tolist() == [[int(index in each) for index in range(length)] for each in best]


def test_one_word_may_mask_everything():
    row = ("kselect", {"dst": 0, "a": 1000, "mask": 2000, "count": 2, "len": 4, "mask_step": 0, "a_step": 2})
    found = prepared(row, [3.0, 9.0, 1.0, 9.0, 7.0, 9.0, 7.0], [1])
    assert found.shared_integers[:2].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("kscale", {"dst": 0, "lo": 9, "hi": 9, "len": 1, "steps": 0}), "'steps' is 0"),
        (("kpack", {"dst": 0, "a": 9, "len": 1, "bits": 0}), "'bits' is 0"),
        (("kunpack", {"dst": 0, "a": 9, "len": 1, "bits": 17}), "'bits' is 17"),
        (("kunpack", {"dst": 0, "a": (1 << 20) - 1, "len": 33, "bits": 1}), "'a' covers words 1048575 to 1048576"),
        (("kselect", {"dst": (1 << 20) - 1, "a": 9, "mask": 9, "count": 2, "len": 1}), "'dst' covers words"),
    ],
)
def test_what_is_refused(row, message):
    with pytest.raises(ProgramError, match=message):
        run(row)


def places(start, row, step, rows, length):
    return [[start + i * row + j * step for j in range(length)] for i in range(rows)]


STRIDED = {
    "kscale": (("lo", "hi"), {"steps": 7}, lambda a, b: meta_word(F(a), F(b), 7)),
    "kquant": (("a", "meta"), {"steps": 7, "base": 1}, lambda a, b: code(F(a), b, 7, 1)),
    "kdequant": (("a", "meta"), {"base": 0}, lambda a, b: worth(a, b, 0)),
    "kunscale": (("a",), {"part": "scale"}, lambda a: half_value(a & 0xFFFF)),
    "kprune": (("a",), {"threshold": 0.75}, lambda a: int(abs(F(a)) >= F(0.75))),
}
FLOATS = {"kscale": ("lo", "hi"), "kquant": ("a",), "kprune": ("a",)}


@pytest.mark.parametrize("mnemonic", STRIDED)
@given(data=st.data(), rows=st.integers(1, 3), length=st.integers(1, 4))
def test_any_ranges_even_where_they_overlap(mnemonic, data, rows, length):
    """Rows one after another; a row reads everything before it writes, and its last write to a word stays."""
    sources, named, compute = STRIDED[mnemonic]
    ranges = {
        name: (data.draw(st.integers(0, 12)), data.draw(st.integers(0, 5)), data.draw(st.integers(0, 3)))
        for name in ("dst", *sources)
    }
    operands = {name: start for name, (start, _, _) in ranges.items()}
    for name, (_, row, step) in ranges.items():
        operands |= {f"{name}_row": row, f"{name}_step": step}
    made = engine((mnemonic, operands | named | {"len": length, "rows": rows}))
    values = np.array([0.0, 0.5, -1.0, 2.0, 0.75] * 8, F)
    metas = np.array([meta_word(F(each), F(each + 1), 7) for each in range(20)], np.uint32)
    made.state.shared[:40] = values
    made.state.shared_integers[1:40:2] = metas.view(np.int32)
    words = made.state.shared[:64].copy()
    for row in range(rows):
        found = []
        for column in range(length):
            inputs = []
            for name in sources:
                place = places(*ranges[name], rows, length)[row][column]
                is_float = name in FLOATS.get(mnemonic, ())
                inputs.append(words[place] if is_float else int(words.view(np.uint32)[place]))
            if mnemonic == "kdequant":
                inputs[0] = int(np.uint32(inputs[0]).astype(np.int32))
            found.append(compute(*inputs))
        for column, value in enumerate(found):
            place = places(*ranges["dst"], rows, length)[row][column]
            target = words if isinstance(value, np.float32) else words.view(np.uint32)
            target[place] = value
    made.run(0, timing_only=False)
    found = made.state.shared[:64]
    is_nan = np.isnan(words)
    np.testing.assert_array_equal(found.view(np.uint32)[~is_nan], words.view(np.uint32)[~is_nan])
    assert np.isnan(found[is_nan]).all()
