"""Records of SmolLM2's first four layers, in the banks and in numpy, bit for bit; costs without data."""

from __future__ import annotations

import numpy as np
import pytest
import test_codes_on_smollm2 as codes
from attention_only import MACHINE, Attention, AttentionUnderTest
from test_levelled_cache import assert_records

from passes import Compression, Levelled
from pimc.simulator import Session

pytestmark = [pytest.mark.smollm2, pytest.mark.slow, pytest.mark.soak]

tensors = codes.layers


@pytest.mark.parametrize(
    ("key_bits", "value_bits", "levels", "numerics", "number"),
    [(4, 4, 16, "machine", 0), (4, 3, 16, "fp32", 1), (3, 2, 6, "machine", 2), (8, 8, 40, "fp32", 3)],
)
def test_records_are_those_of_numpy(
    tensors: list[codes.Tensors], key_bits: int, value_bits: int, levels: int, numerics: str, number: int
) -> None:
    layer = tensors[number]
    thresholds = (float(np.quantile(np.abs(layer[name]), 0.34)) for name in ("key", "value"))
    encoding = Levelled(key_bits, value_bits, *thresholds, 32, levels, 0.66)
    shape = Attention(Compression(encoding=encoding), 9, 3, 64, context=512, numerics=numerics)
    test, start = AttentionUnderTest(shape, chunk=256), 0
    for length in codes.LENGTHS:
        test.step({name: array[:, start:length] for name, array in layer.items()})
        start = length
        assert_records(test)
    cache = test.session.statistics.cache
    assert cache.survivors == pytest.approx(0.66, abs=0.01)
    timed = Session(test.program, MACHINE, timing_only=True)
    timed.run({name: array[:, :256] for name, array in layer.items()}, ["result"])
    timed.run({name: array[:, 256:511] for name, array in layer.items()}, ["result"])
    timed.run({name: array[:, 511:] for name, array in layer.items()}, ["result"])
    assert timed.statistics.cycles == pytest.approx(test.session.statistics.cycles, rel=0.05)
    assert timed.statistics.cache.bytes_read == pytest.approx(cache.bytes_read, rel=0.05)


def test_densities_of_one_half_of_a_text_hold_for_the_other(tensors: list[codes.Tensors]) -> None:
    """Thresholds and survivors of the first 256 tokens, costs on the latter 256."""
    layer = tensors[1]
    first, second = ({name: array[:, part] for name, array in layer.items()} for part in (slice(256), slice(256, 512)))
    magnitudes = {name: np.abs(first[name]) for name in ("key", "value")}
    bounds = {name: float(np.quantile(array, 0.34)) for name, array in magnitudes.items()}
    share = float(np.mean([np.mean(array >= bounds[name]) for name, array in magnitudes.items()]))
    encoding = Levelled(4, 4, bounds["key"], bounds["value"], 32, 16, share)
    shape = Attention(Compression(encoding=encoding), 9, 3, 64, context=256, numerics="machine")
    test = AttentionUnderTest(shape, chunk=128)
    timed = Session(test.program, MACHINE, timing_only=True)
    for session in (test.session, timed):
        for start in (0, 128):
            session.run({name: array[:, start : start + 128] for name, array in second.items()}, ["result"])
    real, without_data = test.session.total, timed.total
    assert without_data.cycles == pytest.approx(real.cycles, rel=0.05)
    assert without_data.energy_j == pytest.approx(real.energy_j, rel=0.05)
    assert without_data.cache.bytes_read == pytest.approx(real.cache.bytes_read, rel=0.05)
    assert without_data.cache.bytes == pytest.approx(real.cache.bytes, rel=0.05)
