"""Bytes that a search moves: signs of tiles, values of candidates, what a new token adds."""

from __future__ import annotations

import numpy as np

from benchmarks.decoder_attention import decoder_attention
from isa import load_machine
from pimc.compiler import compile_model
from pimc.simulator import Session

HEADS, WIDTH, KEYS = 2, 64, 100


def test_a_search_reads_signs_of_its_tiles_and_two_values_of_each() -> None:
    program = compile_model(decoder_attention(HEADS, WIDTH), load_machine("cam-camformer"), max_context=256)
    session, random = Session(program), np.random.default_rng(0)
    row, kept = (1, 1, HEADS * WIDTH), (1, HEADS, KEYS - 1, WIDTH)
    shapes = {"query": row, "key": row, "value": row, "past.key": kept, "past.value": kept}
    session.run({name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}, ["result"])
    cache, tiles = session.statistics.cache, -(-KEYS // 16)
    assert cache.bytes_read == HEADS * tiles * (16 * WIDTH // 8 + 2 * WIDTH * 2)
    assert cache.bytes_written == HEADS * (WIDTH // 8 + WIDTH * 2)
