"""What caches hold, by counting the parts of a small one by hand and by running the policies' rules token by token."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passes import (
    BestKeys,
    BestPages,
    BinaryKeys,
    Cache,
    Compression,
    Levelled,
    Quantized,
    Ring,
    Scored,
    Stored,
    cache_facts,
    cache_from_facts,
    stored,
)

ELEMENTS = 2 * (8 + 4)
"""Elements of a token: two heads, keys of 8 and values of 4."""


def cache(*parts: Ring | Scored | Quantized | Levelled | BestKeys | BestPages | BinaryKeys) -> Cache:
    slots = {
        "retention": [part for part in parts if isinstance(part, Ring | Scored)],
        "encoding": [part for part in parts if isinstance(part, Quantized | Levelled)],
        "selection": [part for part in parts if isinstance(part, BestKeys | BestPages | BinaryKeys)],
    }
    chosen = Compression(**{slot: found[0] for slot, found in slots.items() if found})  # type: ignore[arg-type]
    return Cache("kv", 2, 8, 4, compression=chosen if parts else None)


def test_a_plain_cache_keeps_every_element() -> None:
    assert stored(cache(), 5) == Stored(5, 5 * ELEMENTS * 16)
    assert stored(cache(BestKeys(3)), 5) == stored(cache(), 5)
    assert stored(cache(), 0) == Stored(0, 0)


def test_a_ring_keeps_its_budget() -> None:
    assert [stored(cache(Ring(4, 1)), n).tokens for n in (0, 3, 4, 5, 100)] == [0, 3, 4, 4, 4]


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 60))
def test_eviction_keeps_what_a_list_of_tokens_does(budget: int, interval: int, tokens: int) -> None:
    held = 0
    for _ in range(tokens):
        held += 1
        held = budget if held == budget + interval else held
    assert stored(cache(Scored(budget, interval, 1, 0, 1, True)), tokens).tokens == held


@given(st.integers(0, 300), st.integers(0, 64), st.sampled_from([16, 32]))
def test_quantisation_is_counted_group_by_group(tokens: int, residual: int, group: int) -> None:
    encoding = Quantized(4, 2, "channel", group, 4, residual)
    exact, groups = 0, 0
    for _ in range(tokens):
        exact += 1
        if exact == residual + group:
            exact, groups = exact - group, groups + 1
    keys = group * 8 * 4 + 8 * 32
    values = group * 4 * 2 + group * 32
    assert stored(cache(encoding), tokens) == Stored(tokens, exact * ELEMENTS * 16 + groups * 2 * (keys + values))


def test_exact_keys_and_keys_by_token() -> None:
    by_token = stored(cache(Quantized(8, 16, "token", 16, 4, 0)), 16).bits
    assert by_token == 2 * (16 * 8 * 8 + 16 * 2 * 32 + 16 * 4 * 16)


def test_a_ring_over_groups_keeps_the_first_and_the_latest() -> None:
    both = cache(Ring(36, 4), Quantized(4, 4, "channel", 16, 4, 16))
    assert stored(both, 16 + 4 * 16) == stored(both, 16 + 40 * 16)
    assert stored(both, 16 + 3 * 16).bits < stored(both, 16 + 4 * 16).bits
    assert stored(both, 1000).tokens == 36


def test_levels_are_estimated_from_the_declared_survivors() -> None:
    levelled = Levelled(4, 3, 0.1, 0.2, warmup=8, levels=4, survivors=0.5)
    assert stored(cache(levelled), 7).bits == 7 * ELEMENTS * 16
    record = 24 + 16 + 48  # bitmap of 24 channels; 8 + 4 levels in bytes; 8 * 4 + 4 * 3 bits of payload in bytes
    assert stored(cache(levelled), 8).bits == 8 * record + ELEMENTS * 32
    assert stored(cache(levelled), 16).bits == 16 * record + round(ELEMENTS * 32 * (1 + 2 * math.log(2)))
    assert stored(cache(levelled), 800).bits == 800 * record + ELEMENTS * 32 * 4


def test_pages_keep_extremes_beside_the_keys_and_signs_take_their_place() -> None:
    plain = stored(cache(), 33).bits
    assert stored(cache(BestPages(16, 4)), 33).bits == plain + 3 * 2 * 16 * 16
    assert stored(cache(BinaryKeys(8, 16, 2, 6)), 33).bits == plain


@pytest.mark.parametrize(
    "made",
    [
        cache(),
        cache(Ring(8, 2), Quantized(4, 2, "token", 16, 4, 32), BestKeys(4)),
        cache(Scored(8, 2, 1, 0, 5, False), BinaryKeys(8, 16, 2, 6)),
        cache(Levelled(4, 3, 0.1, 0.2, 8, 4, 0.5)),
        cache(BestPages(16, 4)),
    ],
)
def test_facts_survive_json(made: Cache) -> None:
    assert cache_from_facts(json.loads(json.dumps(cache_facts(made)))) == made
