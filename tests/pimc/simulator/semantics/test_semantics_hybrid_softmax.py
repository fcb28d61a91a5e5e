"""The hybrid softmax against numpy: results, rounded tables, and the rounds of a tournament."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from machine_programs import code
from numpy.typing import NDArray

from isa import Entry, HybridSoftmax, Machine, MachineError, Program, check_program, load_machine
from pimc.backend.crossbar.hybrid_softmax import SoftmaxRows, emit_hybrid_softmax
from pimc.backend.emitter import Emitter
from pimc.simulator import Simulator, Statistics

SCORES, WORK, LARGEST, SUMS = 0, 5000, 10_000, 10_100


def machine(**values: Any) -> Machine:
    base = load_machine("reram-retransformer")
    assert base.hybrid_softmax is not None
    changed = HybridSoftmax(**{**base.hybrid_softmax.model_dump(), **values})
    return base.model_copy(update={"hybrid_softmax": changed})


def softmax(
    scores: NDArray[np.float32], numerics: str = "fp32", scale: float = 1.0, on: Machine | None = None
) -> tuple[NDArray[np.float32], Statistics]:
    """Results of the emitted softmax over rows that lie five words apart, and what it took."""
    target, (rows, length) = on or machine(), scores.shape
    emitter, apart = Emitter(), length + 5
    emit_hybrid_softmax(emitter, SoftmaxRows(SCORES, WORK, LARGEST, SUMS, length, rows, apart, scale))
    emitter.emit("halt")
    program = Program(target.name, target.sha256, numerics, tuple(emitter.code), {"decode": Entry("decode", 0, ())})
    simulator = Simulator(target)
    simulator.load(program)
    words = simulator.state.shared
    for row, own in enumerate(scores):
        words[row * apart : row * apart + length] = own
    statistics = simulator.run("decode")
    return np.stack([words[row * apart : row * apart + length].copy() for row in range(rows)]), statistics


def expected(scores: NDArray[np.float32], scale: float = 1.0) -> NDArray[np.float64]:
    powers = np.exp(scale * (scores.astype(np.float64) - scores.max(axis=1, keepdims=True)))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("shape", [(1, 1), (1, 128), (8, 100), (3, 7)])
@pytest.mark.parametrize("scale", [1.0, 0.125])
def test_nothing_is_divided_and_the_result_is_a_softmax(shape: tuple[int, int], scale: float) -> None:
    scores = (np.random.default_rng(0).standard_normal(shape) * 6).astype(np.float32)
    found, statistics = softmax(scores, scale=scale)
    np.testing.assert_allclose(found, expected(scores, scale), rtol=0, atol=2e-6)
    assert set(statistics.mnemonics) == {"xmax", "xexp", "xlog", "rsum", "halt"}


@pytest.mark.parametrize("bits", [8, 12])
def test_machine_numerics_round_arguments_and_entries_of_tables(bits: int) -> None:
    """Every number is a multiple of 2^-bits; sums are off by what two look-ups can be off."""
    scores = (np.random.default_rng(1).standard_normal((4, 50)) * 3).astype(np.float32)
    found, _ = softmax(scores, "machine", on=machine(fraction_bits=bits))
    steps = found * 2**bits
    np.testing.assert_array_equal(steps, np.rint(steps))
    np.testing.assert_allclose(found, expected(scores), rtol=0, atol=4 * 0.5**bits)
    assert np.abs(found - expected(scores)).max() > 1e-6


def test_the_tables_say_what_the_manual_says() -> None:
    """Eight bits: exp of -0.3 at -77/256, in 256ths; the logarithm of 3.001 at 768/256."""
    target = machine(fraction_bits=8)
    built = code(("xexp", 10, 0, 1, {"len": 1}), ("xlog", 11, 2, 3, 1, 2.0), ("xlog", 12, 2, 4, 1), ("halt",))
    simulator = Simulator(target)
    simulator.load(Program(target.name, target.sha256, "machine", built, {"decode": Entry("decode", 0, ())}))
    simulator.state.shared[:5] = 0.7, 1.0, 5.0, 3.001, 0.0
    simulator.run("decode")
    exponential, logarithm, least = simulator.state.shared[10:13]
    assert exponential == np.rint(np.exp(-77 / 256) * 256) / 256
    assert logarithm == 5 + 2 * np.rint(np.log(3) * 256) / 256
    assert least == 5 + np.rint(np.log(1 / 256) * 256) / 256


@pytest.mark.parametrize(
    ("rows", "length", "rounds"),
    [(1, 1, 1), (1, 2, 1), (1, 128, 7), (8, 128, 18), (3, 5, 3), (64, 2, 1), (65, 2, 2)],
)
def test_a_tournament_takes_a_comparison_and_a_selection_a_round(rows: int, length: int, rounds: int) -> None:
    """64 pairs side by side; 13 and 8 operations of ten cycles."""
    part = machine().hybrid_softmax
    assert part is not None
    assert part.duration("xmax", "", rows, length).latency == rounds * 21 * 10
    assert part.duration("xexp", "", rows, length).latency == -(-rows * length // 64) * 10


def test_energies_are_those_of_elements() -> None:
    _, found = softmax(np.zeros((8, 128), np.float32), on=machine(compare_pj=1.0, select_pj=10.0, table_pj=100.0))
    assert found.energy_by_unit_j["softmax_compare"] == pytest.approx(1024e-12)
    assert found.energy_by_unit_j["softmax_select"] == pytest.approx(10240e-12)
    assert found.energy_by_unit_j["softmax_table"] == pytest.approx((2 * 1024 + 8) * 100e-12)


def test_a_machine_without_the_unit_refuses_its_instructions() -> None:
    bare = load_machine("reram-retransformer").model_copy(update={"hybrid_softmax": None})
    built = code(("xmax", 10, 0, 4), ("halt",))
    program = Program(bare.name, bare.sha256, "fp32", built, {"decode": Entry("decode", 0, ())})
    (found,) = check_program(program, bare)
    assert found.message == "xmax: the machine 'reram-retransformer' has no hybrid softmax"
    with pytest.raises(MachineError, match="no hybrid softmax"):
        Simulator(bare).load(program)


def test_words_outside_of_the_buffer_are_found_before_a_run() -> None:
    target = machine()
    last = target.shared_buffer.capacity_words - 1
    rows = {"len": 8, "rows": 3, "a_row": 16}
    built = code(
        ("xmax", 0, last - 38, rows),
        ("xmax", last - 2, 0, rows),
        ("xexp", 0, 0, last - 1, {**rows, "dst_row": 16}),
        ("xlog", 0, last, 0, 2),
        ("halt",),
    )
    program = Program(target.name, target.sha256, "fp32", built, {"decode": Entry("decode", 0, ())})
    found = [each.message.partition(" can reach ") for each in check_program(program, target)]
    assert [where for where, reach, _ in found if reach] == ["xmax: 'a'", "xexp: 'b'", "xlog: 'a'"]
