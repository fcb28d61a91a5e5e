"""Crossbars against numpy: exact products, codes and converters; time, energy and writes of their instructions."""

from typing import Any

import numpy as np
import pytest
from machine_programs import code

from isa import Crossbar, Entry, Machine, Program, ProgramError, check_program, load_machine
from pimc.simulator.dram.channel_timing import channels_of_machine
from pimc.simulator.engine.engine import Engine

A, M, OUT, BEGIN = 0, 1000, 100_000, 110_000


def machine(**values: Any) -> Machine:
    base = load_machine("reram-retransformer")
    assert base.crossbar is not None
    small = {"groups": 4, "group_rows": 2, "group_columns": 2, **values}
    return base.model_copy(update={"crossbar": Crossbar(**{**base.crossbar.model_dump(), **small})})


def program(on: Machine, numerics: str, *rows: tuple[Any, ...]) -> Program:
    built = code(*rows, ("halt",))
    return Program(on.name, on.sha256, numerics, built, {"decode": Entry("decode", 0, ())})


def engine(on: Machine, numerics: str, *rows: tuple[Any, ...]) -> Engine:
    return Engine(on, program(on, numerics, *rows), channels_of_machine(on))


def columns(matrix: np.ndarray) -> list[tuple[Any, ...]]:
    """Write a matrix that lies at M row by row."""
    rows, width = matrix.shape
    return [("xprog", 0, column, M + column, rows, {"src_step": width}) for column in range(width)]


def run(
    matrix: np.ndarray, entering: np.ndarray, numerics: str = "fp32", on: Machine | None = None, **more: Any
) -> tuple[np.ndarray, Engine]:
    """A matrix is written, and a vector goes through it."""
    target = on or machine()
    length = matrix.shape[0 if more.get("side") == "transposed" else 1]
    operands = {"group": 0, "inputs": len(entering), "rows": -(-len(entering) // 128), "len": length, **more}
    made = engine(target, numerics, *columns(matrix), ("xmvm", OUT, A, BEGIN, operands))
    made.state.shared[A : A + len(entering)] = entering
    made.state.shared[M : M + matrix.size] = matrix.reshape(-1)
    made.state.shared[BEGIN : BEGIN + length] = np.arange(length)
    made.run(0, timing_only=False)
    step = more.get("dst_step", 1)
    return made.state.shared[OUT : OUT + (length - 1) * step + 1 : step].copy(), made


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(5, 3), (130, 7), (256, 200)])
def test_exact_products_from_both_sides(shape: tuple[int, int]) -> None:
    matrix = random(*shape)
    down, across = random(shape[0]), random(shape[1])
    np.testing.assert_allclose(run(matrix, down)[0], down @ matrix, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run(matrix, across, side="transposed")[0], matrix @ across, rtol=1e-5, atol=1e-5)


def test_scale_addends_and_distance() -> None:
    matrix, vector = random(6, 4), random(6)
    found, _ = run(matrix, vector, add="begin", scale=0.5, dst_step=3)
    np.testing.assert_allclose(found, np.arange(4) + 0.5 * (vector @ matrix), rtol=1e-5)


def codes(values: np.ndarray) -> tuple[np.ndarray, float]:
    scale = np.float32(np.abs(values).max() / np.float32(127)) if np.abs(values).max() else np.float32(1)
    return np.rint(values / scale), scale


@pytest.mark.parametrize("side", ["normal", "transposed"])
def test_wide_converters_leave_the_products_of_codes(side: str) -> None:
    matrix = random(200, 150)
    quantised = [codes(matrix[:, column]) for column in range(150)]
    weights, scales = np.stack([each[0] for each in quantised], axis=1), np.array([each[1] for each in quantised])
    vector = random(200 if side == "normal" else 150)
    found, _ = run(matrix, vector, "machine", machine(adc_bits=12), side=side)
    if side == "normal":
        entering, scale = codes(vector)
        expected = (entering @ weights) * scale * scales
    else:
        entering, scale = codes(vector * scales.astype(np.float32))
        expected = (weights @ entering) * scale
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("bits", "dac"), [(8, 1), (6, 1), (5, 2)])
def test_converters_clip_sums_of_slices_and_digits(bits: int, dac: int) -> None:
    matrix, vector = np.ones((128, 1), np.float32), np.ones(128, np.float32)
    found, _ = run(matrix, vector, "machine", machine(adc_bits=bits, dac_bits=dac))
    digits = [255 >> at & (1 << dac) - 1 for at in range(0, 8, dac)]
    slices = [255 >> at & 3 for at in range(0, 8, 2)]
    seen = sum(
        min(128 * digit * part, (1 << bits) - 1) << dac * n + 2 * m
        for n, digit in enumerate(digits)
        for m, part in enumerate(slices)
    )
    product = seen - 128 * 128 * (127 + 128) - 128 * 128 * 127
    assert found[0] == pytest.approx(product / 127 / 127, rel=1e-5)


def read_out(part: Crossbar, vector: np.ndarray, matrix: np.ndarray, side: str, has_signs: bool) -> np.ndarray:
    """The text of the instruction table, number by number: drivers, cells, converters, shifts, offsets, scales."""
    columns = [codes(matrix[:, column]) for column in range(matrix.shape[1])]
    weights, scales = np.stack([each[0] for each in columns], axis=1), np.array([each[1] for each in columns])
    if side == "transposed":
        weights, vector = weights.T, vector * scales.astype(np.float32)
    largest = np.abs(vector).max() if has_signs else vector.max()
    worth = np.float32(largest / np.float32(127 if has_signs else 255))
    entering = [int(np.rint(each / worth)) for each in (vector if has_signs else np.maximum(vector, 0))]
    offset = 128 if has_signs else 0
    found = []
    for result in range(weights.shape[1]):
        total = 0
        for start in range(0, len(entering), part.array_rows):
            lines = range(start, min(start + part.array_rows, len(entering)))
            for low in range(0, 8, part.dac_bits):
                for bit in range(0, 8, part.cell_bits):
                    lane = 0
                    for line in lines:
                        digit = (entering[line] + offset) >> low & (1 << part.dac_bits) - 1
                        lane += digit * (int(weights[line, result]) + 128 >> bit & (1 << part.cell_bits) - 1)
                    total += min(lane, (1 << part.adc_bits) - 1) << low + bit
        total -= sum(offset * (int(weight) + 128) for weight in weights[:, result])
        total -= sum(128 * each for each in entering)
        found.append(total * worth * (1 if side == "transposed" else scales[result]))
    return np.array(found)


@pytest.mark.parametrize("side", ["normal", "transposed"])
@pytest.mark.parametrize("vector", ["signed", "unsigned"])
@pytest.mark.parametrize(("cell", "dac", "adc"), [(2, 1, 8), (1, 1, 5), (4, 2, 7), (2, 1, 4)])
def test_random_products_are_those_of_every_line(side: str, vector: str, cell: int, dac: int, adc: int) -> None:
    on = machine(cell_bits=cell, dac_bits=dac, adc_bits=adc)
    assert on.crossbar is not None
    matrix, entering = random(150, 140), random(150 if side == "normal" else 140)
    found, _ = run(matrix, entering, "machine", on, side=side, vector=vector)
    expected = read_out(on.crossbar, entering, matrix, side, vector == "signed")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("numerics", ["fp32", "machine"])
def test_what_was_not_written_is_zero(numerics: str) -> None:
    """Rows below a short column, and columns that none wrote, of a group that was and of one that was not."""
    ends = {"inputs": 40, "len": 6}
    rows = [("xprog", 0, column, M + column, 8, {"src_step": 4}) for column in range(4)]
    on = machine(adc_bits=12)
    products = [("xmvm", OUT + 100 * n, A, BEGIN, {"group": n, **ends}) for n in range(2)]
    made = engine(on, numerics, *rows, *products)
    matrix, vector = random(8, 4), random(40)
    made.state.shared[A : A + 40], made.state.shared[M : M + 32] = vector, matrix.reshape(-1)
    made.run(0, timing_only=False)
    found = made.state.shared[OUT : OUT + 6]
    assert np.abs(found[:4] - vector[:8] @ matrix).max() <= (0.05 if numerics == "machine" else 1e-5)
    assert np.abs(found[4:]).max() == 0
    assert np.abs(made.state.shared[OUT + 100 : OUT + 106]).max() == 0


@pytest.mark.parametrize("side", ["normal", "transposed"])
def test_a_vector_without_signs_has_another_bit_and_no_offset(side: str) -> None:
    """Codes of 0 to 255; with wide converters their products are exact."""
    matrix = random(40, 30)
    stored = [codes(matrix[:, column]) for column in range(30)]
    vector = np.abs(random(40 if side == "normal" else 30))
    entering = vector if side == "normal" else vector * np.array([scale for _, scale in stored], np.float32)
    scale = np.float32(entering.max() / np.float32(255))
    sums = np.rint(entering / scale) @ (
        np.stack([code for code, _ in stored], axis=1) if side == "normal" else np.stack([code for code, _ in stored])
    )
    scales = np.array([each for _, each in stored], np.float32) if side == "normal" else np.ones(40, np.float32)
    found, _ = run(matrix, vector, "machine", machine(adc_bits=16), side=side, vector="unsigned")
    np.testing.assert_allclose(found, sums * scale * scales, rtol=1e-5)


def test_negative_elements_of_a_vector_without_signs_are_nothing() -> None:
    matrix, vector = random(12, 5), random(12)
    cut = run(matrix, np.maximum(vector, 0), "machine", vector="unsigned")[0]
    np.testing.assert_array_equal(run(matrix, vector, "machine", vector="unsigned")[0], cut)
    exact = run(matrix, vector, vector="unsigned")[0]
    np.testing.assert_allclose(exact, vector @ matrix, rtol=1e-5, atol=1e-6)


def test_idle_lines_keep_sums_within_the_converters() -> None:
    """Small values of one sign, and a vector of which two elements count: with signs zeros drive every line, too."""
    matrix, vector = np.full((128, 1), -0.0472, np.float32), np.zeros(128, np.float32)
    matrix[127], vector[:2] = 1, (0.75, 0.25)
    kept, lost = (run(matrix, vector, "machine", vector=kind)[0][0] for kind in ("unsigned", "signed"))
    assert kept == pytest.approx(-0.0472, rel=0.01)
    assert abs(lost + 0.0472) > 1


def test_noise_is_seeded_and_off_by_default() -> None:
    matrix, vector = random(100, 10), random(100)
    plain, again = (run(matrix, vector, "machine")[0] for _ in range(2))
    noisy, same, other = (
        run(matrix, vector, "machine", machine(conductance_noise=0.05, noise_seed=seed))[0] for seed in (1, 1, 2)
    )
    assert np.array_equal(plain, again)
    assert np.array_equal(noisy, same)
    assert not np.array_equal(noisy, other)
    assert 0 < np.abs(noisy - plain).max() < np.abs(vector @ matrix).max()


def test_writes_of_a_column_are_counted_until_a_reset() -> None:
    made = engine(machine(), "fp32", *[("xprog", 0, 3, M, 8)] * 5, ("xprog", 1, 0, M, 8))
    made.run(0, timing_only=False)
    assert made.state.crossbar.most_writes == 5
    made.state.reset()
    assert made.state.crossbar.most_writes == 0


def test_groups_work_side_by_side_and_wait_for_their_columns() -> None:
    """A column takes 72 cycles, a vector 8,000; an instruction is handed over a cycle."""
    product = [("xmvm", OUT + 100 * n, A, BEGIN, {"group": n, "inputs": 8, "len": 8}) for n in range(2)]
    alone, both, same = (
        engine(machine(), "fp32", *rows) for rows in (product[:1], product, [product[0], ("xprog", 0, 1, M, 8)])
    )
    for made in (alone, both, same):
        made.run(0, timing_only=True)
    assert [made.cycle for made in (alone, both, same)] == [8000, 8001, 8072]


def test_energy_is_that_of_slices_digits_and_converters() -> None:
    part = load_machine("reram-retransformer").crossbar
    assert part is not None
    assert (part.slices, part.digits, part.arrays) == (4, 8, 65_536)
    whole = {name: energy * 128 for name, energy in part.energies_pj("xmvm", "").items()}
    assert whole["crossbar_adc"] == pytest.approx(32 * 128 * 1.667)
    assert whole["crossbar_array"] == pytest.approx(32 * 30.0)
    assert whole["crossbar_dac"] == pytest.approx(32 * 128 * 0.41667)
    assert part.energies_pj("xprog", "") == {"crossbar_write": pytest.approx(4 * 1.29)}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("xprog", 4, 0, M, 8), "'group' is 4"),
        (("xprog", 0, 256, M, 8), "'column'"),
        (("xprog", 0, 0, M, 257), "'len'"),
        (("xmvm", OUT, A, BEGIN, {"group": 0, "inputs": 257, "rows": 3, "len": 8}), "'inputs'"),
        (("xmvm", OUT, A, BEGIN, {"group": 0, "inputs": 8, "len": 257}), "'len'"),
        (("xmvm", OUT, A, BEGIN, {"group": 0, "inputs": 129, "len": 8}), "'rows'"),
    ],
)
def test_what_a_group_lacks_is_refused_before_and_while_running(row: tuple[Any, ...], message: str) -> None:
    target = machine()
    (found, *_) = check_program(program(target, "fp32", row), target)
    assert message in found.message
    with pytest.raises(ProgramError, match=message):
        engine(target, "fp32", row).run(0, timing_only=True)


def test_the_other_side_needs_dual_access() -> None:
    target = machine(dual_access=False)
    row = ("xmvm", OUT, A, BEGIN, {"group": 0, "inputs": 8, "len": 8, "side": "transposed"})
    (found, *_) = check_program(program(target, "fp32", row), target)
    assert "no dual access" in found.message
    with pytest.raises(ProgramError, match="enters from the columns"):
        engine(target, "fp32", row).run(0, timing_only=True)


def test_a_machine_without_crossbars_is_told() -> None:
    target = load_machine("dcim-titanus")
    (found, *_) = check_program(program(target, "fp32", ("xprog", 0, 0, M, 8)), target)
    assert "the machine 'dcim-titanus' has no crossbar arrays" in found.message
