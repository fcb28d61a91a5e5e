"""Caches of records: outputs against numpy; records, levels and tables bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from attention_only import Attention, AttentionUnderTest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from passes import Compression, Levelled
from passes.interpreter.levelled import LevelledTokens
from pimc.kv_stream import StreamLayout

Array = NDArray[Any]


def cascade(
    key_bits: int, value_bits: int, key_threshold: float, value_threshold: float, warmup: int, levels: int
) -> Compression:
    """A compression whose declared share of survivors does not matter."""
    return Compression(
        encoding=Levelled(key_bits, value_bits, key_threshold, value_threshold, warmup, levels, survivors=0.5)
    )


SHAPES = {
    "4 bits": Attention(cascade(4, 4, 0.5, 0.5, 32, 16)),
    "nothing is pruned": Attention(cascade(4, 4, 0, 0, 16, 8)),
    "different bits and thresholds": Attention(cascade(3, 8, 1.0, 0.2, 20, 16)),
    "one token of warm-up": Attention(cascade(8, 2, 0.3, 0.3, 1, 40)),
    "levels are used up": Attention(cascade(4, 4, 0.5, 0.5, 2, 2)),
    "query heads share keys": Attention(cascade(4, 4, 0.5, 0.5, 17, 16), heads=6, kv_heads=2),
    "keys and values of different widths": Attention(cascade(5, 3, 0.5, 0.5, 16, 16), head_dim=16, value_dim=48),
    "query heads share keys of another width than values": Attention(
        cascade(4, 4, 0.5, 0.5, 16, 16), heads=8, kv_heads=4, head_dim=48, value_dim=144
    ),
    "heads that fill no column": Attention(cascade(4, 4, 0.5, 0.5, 18, 16), kv_heads=2, head_dim=12, value_dim=20),
    "records of several stripes": Attention(cascade(8, 8, 0, 0, 16, 4), heads=12, kv_heads=12, head_dim=64),
    "the context ends with the warm-up": Attention(cascade(4, 4, 0.5, 0.5, 80, 16), context=80),
}
PRUNED = {
    "almost all is pruned": Attention(cascade(4, 4, 4.0, 4.0, 8, 4)),
    "all is pruned": Attention(cascade(4, 4, 1e4, 1e4, 8, 4)),
}
"""Shapes whose results may be zero."""

RUNS = (1, 15, 1, 1, 14, 1, 1, 38, 1)
"""Runs around the ends of the warm-ups, single tokens and chunks."""


class StoredRecords:
    """What the machine holds of a program's only cache."""

    def __init__(self, test: AttentionUnderTest) -> None:
        program, state = test.program, test.session.simulator.state
        symbol = program.symbol("cache.records")
        words = state.shared.view(np.uint32)
        self.layout = StreamLayout.from_json(symbol.layout)
        size = int(words[program.symbol("cache.record_bytes").address])
        region = state.bank_region("kv_codes")
        self.octets = self.layout.load(region.data, symbol.address - region.low, size)
        table = program.symbol("cache.levels")
        self.table = words[table.address : table.address + table.size].reshape(-1, self.layout.channels)
        latest = [words[program.symbol(f"cache.latest_{part}").address :] for part in ("keys", "values")]
        widths = (self.layout.key_channels, self.layout.value_channels)
        parts = [part[: 4 * width].reshape(4, width) for part, width in zip(latest, widths, strict=True)]
        self.count, self.low, self.high, _ = np.concatenate(parts, axis=1)


def assert_records(test: AttentionUnderTest) -> LevelledTokens | None:
    """The machine's records, levels and table are numpy's; returns the latter."""
    tokens = test.caches["cache"].sequences[0].tokens  # type: ignore[union-attr]
    assert isinstance(tokens, LevelledTokens)
    if not tokens.records or tokens.encoding.warmup == test.attention.context:
        return None
    found, levels = StoredRecords(test), tokens.levels
    np.testing.assert_array_equal(found.octets, np.concatenate(tokens.records))
    np.testing.assert_array_equal(found.count, levels.count)
    np.testing.assert_array_equal(found.low.view(np.float32), levels.low)
    np.testing.assert_array_equal(found.high.view(np.float32), levels.high)
    is_open = np.arange(found.layout.levels)[:, None] < levels.count
    np.testing.assert_array_equal(found.table[is_open], levels.table[is_open])
    return tokens


CASES = [(name, numerics) for name in SHAPES for numerics in ("fp32", "machine")] + [(name, "fp32") for name in PRUNED]


@pytest.mark.parametrize(("name", "numerics"), CASES)
def test_records_and_outputs_are_those_of_numpy(name: str, numerics: str) -> None:
    test = AttentionUnderTest(replace((SHAPES | PRUNED)[name], numerics=numerics))
    for count in RUNS:
        test.run(count)
        assert_records(test)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 99))
def test_any_runs_give_the_same_records(counts: list[int], seed: int) -> None:
    test = _any_runs()
    test.reset()
    test.random = np.random.default_rng(seed)
    for count in counts:
        test.run(count)
    assert_records(test)


def test_a_token_at_a_time() -> None:
    test = AttentionUnderTest(Attention(cascade(4, 3, 0.5, 0.7, 20, 6)))
    for _ in range(80):
        test.run(1)
        assert_records(test)


@pytest.mark.parametrize("tokens", [5, 20, 21, 50])
def test_present_outputs_are_what_records_are_worth(tokens: int) -> None:
    test = AttentionUnderTest(Attention(cascade(4, 3, 0.6, 0.8, 20, 16), heads=4, kv_heads=2, head_dim=16))
    test.step(test.inputs(tokens))
    held = test.caches["cache"].present()  # type: ignore[union-attr]
    found = test.session.run(test.inputs(1), ["present.key", "present.value"])
    for name, array in zip(("present.key", "present.value"), held, strict=True):
        assert found[name].shape == (1, 2, tokens + 1, 16)
        np.testing.assert_array_equal(found[name][:, :, :tokens], array)


def titanus_bytes(channels: int, keys: int, values: int, key_bits: int, value_bits: int) -> int:
    """Bitmap, a level bit for each survivor, and the survivors' codes, each in whole bytes."""
    return sum(-(-bits // 8) for bits in (channels, keys + values, keys * key_bits + values * value_bits))


def test_the_bytes_are_those_of_the_formula_of_titanus() -> None:
    test = AttentionUnderTest(Attention(cascade(4, 3, 0.6, 0.8, 20, 16)))
    test.run(64)
    tokens = assert_records(test)
    assert tokens is not None
    split, channels = tokens.levels.split, tokens.levels.count.size
    most = titanus_bytes(channels, split, channels - split, 4, 3)
    expected = []
    for record in tokens.records:
        survives = np.unpackbits(record[: -(-channels // 8)], bitorder="little")[:channels]
        expected.append(titanus_bytes(channels, int(survives[:split].sum()), int(survives[split:].sum()), 4, 3))
    assert StoredRecords(test).octets.size == sum(expected)
    assert 0.2 < np.mean(expected) / most < 0.9


def test_a_new_sequence_begins_with_new_levels() -> None:
    test = AttentionUnderTest(Attention(cascade(4, 4, 0.5, 0.5, 16, 4)))
    for _ in range(2):
        test.reset()
        test.run(40)
        assert_records(test)


_ANY_RUNS: list[AttentionUnderTest] = []


def _any_runs() -> AttentionUnderTest:
    """One program for all examples."""
    if not _ANY_RUNS:
        _ANY_RUNS.append(AttentionUnderTest(Attention(cascade(4, 5, 0.4, 0.8, 24, 5))))
    return _ANY_RUNS[0]
