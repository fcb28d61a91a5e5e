"""What records cost: bytes as measured, and runs without data against runs with data."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attention_only import MACHINE, Attention, AttentionUnderTest
from test_levelled_cache import StoredRecords, assert_records, cascade

from isa import ResourceLimitError
from passes import Compression, Levelled
from pimc.simulator import Session, Statistics


def shape(survivors: float = 0.5, context: int = 300) -> Attention:
    encoding = Levelled(4, 3, 0.6, 0.8, 32, 16, survivors)
    return Attention(Compression(encoding=encoding), heads=6, kv_heads=2, context=context)


def last_step(session: Session, test: AttentionUnderTest, tokens: int) -> Statistics:
    """Statistics of the step after so many tokens."""
    for start in range(0, tokens, 60):
        session.run(test.inputs(min(60, tokens - start)), ["result"])
    session.run(test.inputs(1), ["result"])
    return session.statistics


def test_statistics_say_what_is_stored() -> None:
    test = AttentionUnderTest(shape())
    test.run(20)
    exact = test.session.statistics.cache
    assert (exact.bytes, exact.ratio, exact.levels, exact.survivors) == (20 * 128 * 2, 1.0, 0, None)
    test.run(60)
    tokens, cache = assert_records(test), test.session.statistics.cache
    assert tokens is not None
    levels = int(tokens.levels.count.sum())
    assert cache.bytes == StoredRecords(test).octets.size + 4 * levels
    assert (cache.levels, cache.tokens_kept) == (levels, 80)
    assert 0.1 < (cache.survivors or 0) < 0.9


@pytest.mark.parametrize("tokens", [40, 150])
def test_runs_without_data_cost_what_runs_with_data_do(tokens: int) -> None:
    """The share of survivors is measured on one sequence, and another one is run."""
    measured = AttentionUnderTest(shape(), seed=1)
    last_step(measured.session, measured, 80)
    share = measured.session.statistics.cache.survivors
    assert share is not None
    test = AttentionUnderTest(shape(share), seed=2)
    real = last_step(test.session, test, tokens)
    without_data = last_step(Session(test.program, MACHINE, timing_only=True), test, tokens)
    assert without_data.cycles == pytest.approx(real.cycles, rel=0.05)
    assert without_data.energy_j == pytest.approx(real.energy_j, rel=0.05)
    assert without_data.cache.bytes_read == pytest.approx(real.cache.bytes_read, rel=0.05, abs=2 * 1024)
    assert without_data.cache.bytes == pytest.approx(real.cache.bytes, rel=0.05)


def test_any_length_can_be_timed_without_the_runs_before() -> None:
    program = AttentionUnderTest(shape()).program
    simulator = Session(program, MACHINE, timing_only=True).simulator
    costs = [simulator.run("decode", {"kv_length": length}, timing_only=True) for length in (280, 40, 280)]
    assert costs[0].cache.bytes_read == costs[2].cache.bytes_read > 4 * costs[1].cache.bytes_read


def test_fewer_survivors_move_fewer_bytes() -> None:
    few, many = (AttentionUnderTest(Attention(cascade(4, 4, t, t, 16, 16), context=200)) for t in (1.5, 0.1))
    moved = [last_step(test.session, test, 120).cache.bytes_read for test in (few, many)]
    assert moved[0] < 0.6 * moved[1]


def test_what_does_not_fit_is_refused_with_levers() -> None:
    wide = replace(shape(), heads=16, kv_heads=16, head_dim=128)
    with pytest.raises(ResourceLimitError, match="no room for the records of a cache") as caught:
        AttentionUnderTest(replace(wide, context=4096))
    assert [note.split(":")[0] for note in caught.value.notes] == ["demand", "bound"]
    assert caught.value.help == (
        "give cpq fewer levels or bits, lower --max-context, or choose a machine with a larger shared buffer"
    )
    many = Compression(encoding=Levelled(4, 3, 0.6, 0.8, 32, 255, 0.5))
    with pytest.raises(ResourceLimitError, match="no room for the state of the cache 'cache'"):
        AttentionUnderTest(replace(wide, compression=many, context=100))


def test_records_move_fewer_bytes_at_long_contexts() -> None:
    """Heads of SmolLM2 at a context of 2,048, with Titanus' share of survivors and without any pruning."""

    def moved(encoding: Levelled | None) -> int:
        compression = encoding and Compression(encoding=encoding)
        test = AttentionUnderTest(Attention(compression, 9, 3, 64, context=2048, numerics="machine"))
        session = Session(test.program, MACHINE, timing_only=True)
        session.kv_length = 2032
        session.run(test.inputs(16))
        kept = session.statistics.cache
        return kept.bytes_read + kept.bytes_written

    exact = moved(None)
    assert exact > 8 * moved(Levelled(4, 4, 0.0, 0.0, 32, 16, 1.0))
    assert exact > 11 * moved(Levelled(4, 4, 0.3, 0.02, 32, 16, 0.66))
