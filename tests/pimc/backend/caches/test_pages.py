"""Attention to the best pages: outputs against numpy, and what the banks read for it."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
import pytest
from attention_only import MACHINE, Attention, AttentionUnderTest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa import ResourceLimitError, UnsupportedError
from passes import BestPages, Compression, PlaceWeights, Quantized
from pimc.backend import ProgramOptions, build_program
from pimc.simulator import Session, Statistics

RUNS = (1, 5, 10, 30, 1, 77, 1, 1, 40, 20)


def pages(page: int, count: int) -> Compression:
    return Compression(selection=BestPages(page, count))


SHAPES = {
    "two pages": Attention(pages(16, 2)),
    "heads that share keys": Attention(pages(16, 3), heads=4, kv_heads=2),
    "the latest page alone": Attention(pages(16, 1), heads=6, kv_heads=6),
    "as many as there ever are": Attention(pages(16, 13), heads=4, kv_heads=2),
    "all but one": Attention(pages(16, 12), heads=4, kv_heads=2),
    "heads of 48 channels": Attention(pages(16, 2), heads=9, kv_heads=3, head_dim=48),
    "heads of 20 channels, which fill no column": Attention(pages(16, 3), heads=2, kv_heads=2, head_dim=20),
    "values wider than keys": Attention(pages(16, 2), heads=4, kv_heads=4, head_dim=32, value_dim=80),
    "pages of several channels": Attention(pages(48, 2), heads=4, kv_heads=2),
    "pages of all channels and more": Attention(pages(80, 1), heads=32, kv_heads=16, head_dim=16, context=300),
    "many queries": Attention(pages(16, 4), heads=20, kv_heads=1, head_dim=64),
    "more heads than channels": Attention(pages(32, 2), heads=40, kv_heads=40, head_dim=16),
}


@pytest.mark.parametrize("name", SHAPES)
def test_outputs_are_those_of_numpy(name: str) -> None:
    test = AttentionUnderTest(SHAPES[name], seed=3)
    for tokens in RUNS:
        test.run(tokens)
    test.reset()
    test.run(3)


def test_outputs_with_rounding() -> None:
    test = AttentionUnderTest(replace(SHAPES["heads that share keys"], numerics="machine"), seed=3)
    for tokens in RUNS:
        test.run(tokens)


@settings(max_examples=6)
@given(
    page=st.sampled_from([16, 32, 48, 112]),
    count=st.integers(1, 6),
    queries=st.integers(1, 3),
    kv_heads=st.integers(1, 5),
    head_dim=st.sampled_from([12, 16, 40]),
    seed=st.integers(0, 1 << 16),
)
def test_any_shape(page: int, count: int, queries: int, kv_heads: int, head_dim: int, seed: int) -> None:
    shape = Attention(pages(page, count), queries * kv_heads, kv_heads, head_dim, context=180)
    test = AttentionUnderTest(shape, seed=seed)
    for tokens in (50, 1, 60, 1, 40, 1):
        test.run(tokens)


def test_only_channels_with_chosen_pages_are_read() -> None:
    """Of keys and values the banks read the chosen pages; of extremes all channels of the one slot that they fill."""
    heads, columns = 2, 32 // 16
    test = AttentionUnderTest(Attention(pages(16, 4), heads, heads, 32, context=256))
    for _ in range(4):
        test.session.run(test.inputs(60), ["result"])
    test.session.run(test.inputs(1), ["result"])
    extremes, tokens = 32 * 2 * columns, heads * 4 * 2 * columns
    assert test.session.statistics.cache.bytes_read == (extremes + tokens) * 16 * 32


def test_slots_without_chosen_pages_take_no_time() -> None:
    """A slot has four pages: those that queries like best lie in the first one, or each in another."""
    together, apart = (_after_filling(liked) for liked in ((0, 1, 2), (0, 4, 8)))
    assert together.mnemonics["mac"].count == apart.mnemonics["mac"].count - 2 * 2
    assert together.cycles < apart.cycles - 100
    assert together.cache.bytes_read == apart.cache.bytes_read


def _after_filling(liked: tuple[int, ...]) -> Statistics:
    """What a token takes behind 210 of which those of some pages are like all queries."""
    session = AttentionUnderTest(Attention(pages(16, 4), 8, 8, 16, context=256)).session
    inputs = {name: np.ones((1, 211, 128), np.float32) for name in ("query", "key", "value")}
    inputs["key"][0, np.isin(np.arange(211) // 16, liked)] = 3
    for first in (*range(0, 210, 42), 210):
        session.run({name: array[:, first : min(first + 42, 211)] for name, array in inputs.items()}, ["result"])
    return session.statistics


def test_runs_without_data_read_as_many_pages() -> None:
    """Bytes of the cache are those of runs with data; cycles follow from heads that choose independently."""
    test = AttentionUnderTest(Attention(pages(16, 3), 8, 8, 16, context=300))
    for _ in range(6):
        test.session.run(test.inputs(44), ["result"])
    guess = Session(test.program, MACHINE, timing_only=True)
    guess.kv_length = test.session.kv_length
    real, guessed = (_sixteen_steps(session, test) for session in (test.session, guess))
    assert guessed.cache.bytes_read == real.cache.bytes_read
    assert guessed.cycles == pytest.approx(real.cycles, rel=0.1)


def _sixteen_steps(session: Session, test: AttentionUnderTest) -> Statistics:
    found: list[Statistics] = []
    for _ in range(16):
        session.run(test.inputs(1), ["result"])
        found.append(session.statistics)
    return reduce(add, found)


REFUSED = {
    "pages that are not read have the lowest score": (Compression(selection=BestPages(16, 2)), 1.0),
    "the banks read codes of all slots": (
        Compression(encoding=Quantized(8, 8, "token", 16, 16, 0), selection=BestPages(16, 2)),
        0.0,
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_refused_with_the_reason(words: str) -> None:
    compression, softcap = REFUSED[words]
    graph = Attention(compression, softcap=softcap).graph()
    PlaceWeights(MACHINE).run(graph)
    with pytest.raises(UnsupportedError) as refusal:
        build_program(graph, MACHINE, ProgramOptions(200, 64, "fp32", {}))
    assert words in "\n".join([str(refusal.value), *refusal.value.notes])


def test_heads_whose_extremes_fill_more_than_a_row() -> None:
    graph = Attention(pages(16, 2), head_dim=528).graph()
    PlaceWeights(MACHINE).run(graph)
    with pytest.raises(ResourceLimitError, match="do not fit the banks"):
        build_program(graph, MACHINE, ProgramOptions(200, 64, "fp32", {}))
