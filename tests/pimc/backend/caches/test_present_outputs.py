"""Keys and values as outputs: what the cache holds, as it is worth, for every kind of cache; equal to numpy's."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from attention_only import Attention, AttentionUnderTest

from isa import Port, UnsupportedError
from passes import POLICIES, Compression, interpret, parse_kv
from passes.kv_policies import Layer, resolve
from pimc.simulator.host.memory import cache_array

KEYS_AND_VALUES = ["present.key", "present.value"]
SLOTS = ("window:sink=4,budget=24", "topk:k=8", "quest:pages=2,dense=0", "cam:k=8")
EVICTION = (
    "h2o:budget=24",
    "h2o:budget=24,per=layer,interval=8",
    "tova:budget=24",
    "snapkv:budget=24,window=8",
    "pyramidkv:budget=40,window=8,beta=2",
)
CODES = (
    "int:bits=8",
    "int:bits=4,axis=channel,group=32",
    "int:bits=2,width=16",
    "kivi:bits=4,residual=32",
    "kivi:bits=2,group=16,residual=0",
    "kivi:bits=8,residual=64",
    "window:sink=4,budget=48 + kivi:bits=4,group=16,residual=16",
    "window:sink=9,budget=60 + int:bits=8",
    "kivi:bits=4,residual=32 + topk:k=8",
)
RECORDS = ("cpq:warmup=16,tau_k=0.6,tau_v=0.8", "cpq:warmup=20,bits_k=3,bits_v=2,levels=4")
LENGTHS = (1, 15, 1, 15, 1, 30, 1, 32, 1, 47, 16)
"""Tokens of consecutive runs, which end before, at and behind borders of groups; 160 in all."""


def compression(policies: str, head_dim: int, value_dim: int) -> Compression | None:
    return resolve(parse_kv(policies), [Layer(0, 2, head_dim, value_dim)])[0]


def test_all_policies_are_here() -> None:
    """A new one is added to the lists above."""
    named = " + ".join(("none", *SLOTS, *EVICTION, *CODES, *RECORDS))
    assert [name for name in POLICIES if name not in named] == []


@pytest.mark.parametrize("policies", [*SLOTS, *EVICTION, *CODES, *RECORDS])
def test_keys_and_values_are_those_of_numpy(policies: str) -> None:
    check(policies, "fp32")


@pytest.mark.parametrize("policies", [*SLOTS, *CODES, *RECORDS])
def test_keys_and_values_are_rounded_as_the_machine_does(policies: str) -> None:
    """Not with eviction by attention: near ties of rounded scores evict others."""
    check(policies, "machine")


def check(policies: str, numerics: str) -> None:
    widths = (64, 32)
    shape = Attention(compression(policies, *widths), 4, 2, *widths, context=170, numerics=numerics)
    test = AttentionUnderTest(shape)
    held = (lambda x: x) if numerics == "fp32" else (lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32))
    for tokens in LENGTHS:
        inputs = test.inputs(tokens)
        expected = interpret(test.graph, inputs, caches=test.caches, stored=held)
        found = test.session.run(inputs, KEYS_AND_VALUES)
        for name in KEYS_AND_VALUES:
            np.testing.assert_array_equal(found[name], expected[name])
    assert found["present.key"].shape == (1, 2, *expected["present.key"].shape[2:])


def test_a_fixed_shape_that_does_not_fit_is_refused() -> None:
    test = AttentionUnderTest(Attention(compression("window:sink=4,budget=24", 32, 32), 2, 1, 32, context=40))
    port = Port("present", "output", "float32", (1, 1, 40, 32), "present", "cache.key")
    with pytest.raises(UnsupportedError, match="the cache keeps another number of tokens: 24"):
        cache_array(port, test.program.symbol("cache.key"), np.zeros((1, 1, 24, 32), np.float32))
