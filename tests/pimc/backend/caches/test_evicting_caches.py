"""Caches that evict tokens: outputs against numpy; which token lies where, and which places are free, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from attention_only import MACHINE, Attention, AttentionUnderTest

from passes import Compression, Ring, Scored
from passes.interpreter.retention import Slots


def scored(retention: Scored, heads: int = 4, kv_heads: int = 2, head_dim: int = 32) -> Attention:
    return Attention(Compression(retention), heads, kv_heads, head_dim, context=120)


SHAPES = {
    "one at a time": scored(Scored(20, 1, 10, 0, 1, shared=False)),
    "several at once": scored(Scored(17, 6, 8, 0, 1, shared=False)),
    "all heads together": scored(Scored(16, 1, 8, 0, 1, shared=True)),
    "the newest query counts": scored(Scored(24, 1, 1, 1, 1, shared=True)),
    "the newest query counts, several at once": scored(Scored(24, 5, 1, 1, 1, shared=False)),
    "a window of queries": scored(Scored(32, 8, 8, 8, 5, shared=False)),
    "a window of queries, seldom": scored(Scored(32, 11, 7, 7, 3, shared=False)),
    "nothing is protected": scored(Scored(9, 3, 0, 0, 1, shared=False)),
    "only the latest stay": scored(Scored(9, 1, 9, 0, 1, shared=False)),
    "one token": scored(Scored(1, 1, 1, 0, 1, shared=False)),
    "heads of 80": scored(Scored(30, 4, 15, 0, 1, shared=False), heads=6, kv_heads=3, head_dim=80),
    "no head shares keys": scored(Scored(18, 2, 9, 0, 1, shared=True), heads=3, kv_heads=3, head_dim=20),
}
RINGS = {
    "sinks": Ring(20, 4),
    "no sinks": Ring(16, 0),
    "one token behind the sinks": Ring(6, 5),
    "one token": Ring(1, 0),
}


def runs_around(places: int, interval: int) -> list[int]:
    """Single tokens around the first evictions, chunks elsewhere."""
    ends = [1, places - 1, places, places + 1, places + interval, places + interval + 1, 70, 71, 110]
    ends = sorted({end for end in ends if end > 0})
    return list(np.diff([0, *ends]))


def assert_places(test: AttentionUnderTest) -> Slots:
    """The tokens of all places and the free places are numpy's, and so are the statistics but for rounding."""
    slots = test.caches["cache"].sequences[0].tokens  # type: ignore[union-attr]
    assert isinstance(slots, Slots)
    assert isinstance(slots.retention, Scored)
    rows, places = len(slots.positions), slots.retention.budget + slots.retention.interval
    state, program = test.session.simulator.state, test.program

    def words(name: str) -> np.ndarray:
        symbol = program.symbol(f"cache.{name}")
        return state.shared_integers[symbol.address : symbol.address + symbol.size].reshape(rows, -1)

    left = slots.free.shape[1]
    free = words("free_places")[:, slots.retention.interval - left :] if slots.used == places else slots.free
    np.testing.assert_array_equal(free, slots.free)
    positions = words("positions")[:, : slots.used].copy()
    np.put_along_axis(positions, free, -1, axis=1)
    np.testing.assert_array_equal(positions, slots.positions[:, : slots.used])
    if slots.retention.queries == 0:
        found = words("statistics").view(np.float32)[:, : slots.used]
        np.testing.assert_allclose(found, slots.statistic[:, : slots.used], rtol=1e-4, atol=1e-6)
    return slots


def run(test: AttentionUnderTest, counts: Sequence[int]) -> None:
    for count in counts:
        test.run(int(count))
        assert_places(test)


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_tokens_are_kept_as_in_numpy(name: str) -> None:
    test = AttentionUnderTest(SHAPES[name])
    kind = SHAPES[name].compression.retention  # type: ignore[union-attr]
    assert isinstance(kind, Scored)
    run(test, runs_around(kind.budget + kind.interval, kind.interval))
    held = kind.budget + (110 - kind.budget - kind.interval) % kind.interval
    assert np.count_nonzero(assert_places(test).positions >= 0) == held * (1 if kind.shared else SHAPES[name].kv_heads)
    assert test.session.statistics.cache.tokens_kept == held


@pytest.mark.parametrize("name", RINGS)
def test_a_ring_gives_what_numpy_gives(name: str) -> None:
    test = AttentionUnderTest(Attention(Compression(RINGS[name]), heads=4, kv_heads=2, context=120))
    for count in runs_around(RINGS[name].budget, 1):
        test.run(int(count))
    assert test.session.statistics.cache.tokens_kept == RINGS[name].budget


def test_tokens_one_by_one_are_kept_as_those_of_chunks() -> None:
    chunks, single = (AttentionUnderTest(SHAPES["several at once"], seed=3) for _ in range(2))
    for inputs in (chunks.inputs(40), chunks.inputs(37)):
        chunks.step(inputs)
        for token in range(inputs["query"].shape[1]):
            single.step({name: array[:, token : token + 1] for name, array in inputs.items()})
    np.testing.assert_array_equal(assert_places(chunks).positions, assert_places(single).positions)


def test_a_new_sequence_forgets_what_queries_cared_for() -> None:
    test = AttentionUnderTest(SHAPES["a window of queries"])
    run(test, [90])
    test.reset()
    run(test, [3, 36, 1, 1, 20])


def test_a_context_that_never_evicts_keeps_nothing_beside_the_tokens() -> None:
    shape = SHAPES["several at once"]
    short = AttentionUnderTest(replace(shape, context=23))
    assert [region.name for region in short.program.regions if region.role == "cache"] == ["kv_cache"]
    short.run(23)
    one_more = AttentionUnderTest(replace(shape, context=24))
    run(one_more, [23, 1])


@pytest.mark.parametrize("change", [{"channels": 3}, {"accumulators": 8}])
def test_smaller_machines_keep_the_same_tokens(change: dict[str, int]) -> None:
    assert MACHINE.near_bank is not None
    machine = MACHINE.model_copy(update={"near_bank": MACHINE.near_bank.model_copy(update=change)})
    run(AttentionUnderTest(SHAPES["several at once"], machine), [22, 1, 1, 40, 1])
