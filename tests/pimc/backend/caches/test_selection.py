"""Attention to the best keys, by scores and by signs: outputs against numpy around tiles, slots and evictions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attention_only import MACHINE, Attention, AttentionUnderTest

from isa import UnsupportedError
from passes import BestKeys, BinaryKeys, Compression, Levelled, PlaceWeights, Quantized, Ring, Scored
from pimc.backend import ProgramOptions, build_program

RUNS = (1, 5, 10, 30, 1, 77, 1, 1, 40, 20)
SIGNS = BinaryKeys(8, 16, 2, 6)
SHAPES = {
    "best keys": Attention(Compression(selection=BestKeys(8))),
    "more than there are": Attention(Compression(selection=BestKeys(150)), heads=4, kv_heads=2),
    "one key": Attention(Compression(selection=BestKeys(1)), heads=9, kv_heads=3, head_dim=48),
    "best keys behind a soft cap": Attention(Compression(selection=BestKeys(8)), softcap=1.5),
    "best of a window": Attention(Compression(Ring(40, 4), selection=BestKeys(8)), heads=6, kv_heads=6),
    "best of what was not evicted": Attention(
        Compression(Scored(40, 4, 8, 0, 1, False), selection=BestKeys(12)), heads=4, kv_heads=2
    ),
    "best codes": Attention(Compression(encoding=Quantized(8, 8, "channel", 16, 16, 32), selection=BestKeys(9))),
    "best codes of a window": Attention(
        Compression(Ring(100, 4), Quantized(8, 8, "token", 16, 16, 32), BestKeys(9)), heads=4, kv_heads=2
    ),
    "signs": Attention(Compression(selection=SIGNS), heads=4, kv_heads=2, head_dim=64),
    "signs of 48 channels": Attention(Compression(selection=BinaryKeys(5, 16, 2, 6)), heads=3, kv_heads=3, head_dim=48),
    "signs of 20 channels, which fill no column": Attention(Compression(selection=SIGNS), head_dim=20),
    "tiles that divide no slot": Attention(Compression(selection=BinaryKeys(8, 24, 3, 3)), heads=4, kv_heads=2),
    "whole tiles pass": Attention(Compression(selection=BinaryKeys(8, 16, 16, 16)), head_dim=64),
    "codes of one bit": Attention(Compression(selection=BinaryKeys(8, 16, 2, 1))),
    "signs of a window": Attention(Compression(Ring(40, 4), selection=SIGNS), heads=6, kv_heads=2, head_dim=64),
    "signs of what was not evicted": Attention(
        Compression(Scored(40, 4, 8, 0, 1, True), selection=BinaryKeys(12, 16, 3, 6)), heads=4, kv_heads=2
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_outputs_are_those_of_numpy(name: str) -> None:
    test = AttentionUnderTest(SHAPES[name], seed=3)
    for tokens in RUNS:
        test.run(tokens)
    test.reset()
    test.run(3)


@pytest.mark.parametrize("name", ["more than there are", "signs", "signs of a window", "best codes of a window"])
def test_outputs_with_rounding(name: str) -> None:
    """With few keys of random numbers, rounding turns near ties and with them outputs; these take many, or codes."""
    test = AttentionUnderTest(replace(SHAPES[name], numerics="machine"), seed=3)
    for tokens in RUNS:
        test.run(tokens)


RECORDS = Levelled(4, 4, 0.5, 0.5, 8, 4, 0.5)
REFUSED = {
    "sees all scores of a query": Compression(encoding=RECORDS, selection=BestKeys(8)),
    "cannot be quantised as well": Compression(encoding=Quantized(8, 8, "token", 16, 16, 0), selection=SIGNS),
    "no soft cap": Compression(selection=SIGNS),
}


@pytest.mark.parametrize("words", REFUSED)
def test_refused_with_the_reason(words: str) -> None:
    graph = Attention(REFUSED[words], softcap=1.0).graph()
    PlaceWeights(MACHINE).run(graph)
    with pytest.raises(UnsupportedError) as refusal:
        build_program(graph, MACHINE, ProgramOptions(200, 64, "fp32", {}))
    assert words in "\n".join([str(refusal.value), *refusal.value.notes])
