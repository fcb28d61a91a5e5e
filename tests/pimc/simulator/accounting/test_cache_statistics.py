"""What a KV cache holds and moves, on programs of four instructions and of a small model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isa import load_machine
from pimc.compiler import compile_model
from pimc.simulator import CacheStatistics, Session

MODELS = Path(__file__).parents[4] / "models"
MACHINE = load_machine("gddr6-aim")
TOKEN_BYTES = 3 * 2 * 128 * 2
"""Three layers, keys and values, 128 elements of two bytes."""


def session_of(kv: str | None, timing_only: bool = False) -> Session:
    program = compile_model(MODELS / "tiny-shakespeare.onnx", MACHINE, max_context=128, kv=kv)
    return Session(program, MACHINE, timing_only)


def test_a_plain_cache_grows_with_every_token() -> None:
    session = session_of(None)
    session.step(np.arange(10))
    session.step([1])
    found = session.statistics.cache
    assert (found.tokens_kept, found.bytes, found.ratio) == (11, 11 * TOKEN_BYTES, 1.0)


def test_a_window_stops_growing_and_moving() -> None:
    plain, window = session_of(None, timing_only=True), session_of("window:sink=2,budget=16", timing_only=True)
    for session in (plain, window):
        session.step(np.arange(100) % 60)
        session.step([1])
    found = window.statistics.cache
    assert (found.tokens_kept, found.bytes, found.uncompressed_bytes) == (16, 16 * TOKEN_BYTES, 101 * TOKEN_BYTES)
    assert found.bytes_written == plain.statistics.cache.bytes_written
    assert 0 < found.bytes_read <= plain.statistics.cache.bytes_read


def test_the_rest_of_what_the_banks_move_does_not_depend_on_the_length() -> None:
    session = session_of(None)
    rest, read = [], []
    for tokens in (1, 1, 97, 1):
        session.step(np.arange(tokens) % 60)
        found = session.statistics
        rest.append((found.bytes_by_space["bank_mac"] + found.bytes_by_space["bank_read"]) - found.cache.bytes_read)
        read.append(found.cache.bytes_read)
        assert found.cache.bytes_written == found.bytes_by_space["bank_written"]
    assert rest[0] == rest[1] == rest[3]
    assert 0 < read[0] <= read[3]


def test_runs_add_what_moves_and_keep_the_end() -> None:
    session = session_of(None)
    session.step([1])
    first = session.statistics.cache
    session.step([2])
    second = session.statistics.cache
    assert session.total.cache == CacheStatistics(
        2,
        2 * TOKEN_BYTES,
        2 * TOKEN_BYTES,
        first.bytes_read + second.bytes_read,
        first.bytes_written + second.bytes_written,
    )


@pytest.mark.parametrize("timing_only", [False, True])
def test_data_do_not_change_what_a_plain_cache_moves(timing_only: bool) -> None:
    session = session_of(None, timing_only)
    session.step([1])
    assert session.statistics.to_json()["kv"] == {
        "bytes": TOKEN_BYTES,
        "tokens_kept": 1,
        "ratio": 1.0,
        "bytes_read": session.statistics.cache.bytes_read,
        "bytes_written": session.statistics.cache.bytes_written,
    }


def test_packed_codes_do_not_change_what_is_read_beside_the_cache() -> None:
    """A packed column counts once, however many beats of codes it holds."""
    rest = []
    for kv in (None, "int:bits=8", "int:bits=2"):
        session = session_of(kv, timing_only=True)
        session.kv_length = 100
        session.step([1])
        moved, cache = session.statistics.bytes_by_space, session.statistics.cache
        rest.append(moved["bank_mac"] + moved["bank_read"] - cache.bytes_read)
    assert rest[0] == rest[1] == rest[2]
