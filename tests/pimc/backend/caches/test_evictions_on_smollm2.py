"""Tokens that SmolLM2's first four layers keep, in the banks and in numpy, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import test_codes_on_smollm2 as codes
from attention_only import Attention, AttentionUnderTest
from test_evicting_caches import assert_places

from passes import parse_kv
from passes.kv_policies import Layer, resolve

pytestmark = [pytest.mark.smollm2, pytest.mark.slow, pytest.mark.soak]

tensors = codes.layers


@pytest.mark.parametrize(
    ("policies", "number"),
    [
        ("h2o:budget=128", 0),
        ("h2o:budget=100,interval=8,per=layer", 1),
        ("tova:budget=128", 2),
        ("snapkv:budget=128", 3),
        ("pyramidkv:budget=128,interval=48", 1),
    ],
)
def test_kept_tokens_are_those_of_numpy(tensors: list[codes.Tensors], policies: str, number: int) -> None:
    compression = resolve(parse_kv(policies), [Layer(layer, 4, 64, 64) for layer in range(4)])[number]
    test, start = AttentionUnderTest(Attention(compression, 9, 3, 64, context=512), chunk=256), 0
    for length in codes.LENGTHS:
        test.step({name: array[:, start:length] for name, array in tensors[number].items()})
        start = length
        slots = assert_places(test)
        assert np.count_nonzero(slots.positions[0] >= 0) == test.session.statistics.cache.tokens_kept
    assert slots.used < 512
